"""A server on 127.0.0.1 that behaves like the GDC API, on good and on bad days."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def uuid(number: int) -> str:
    return f"{number:08x}-3f2a-4c1d-9b7e-{number:012x}"


class GdcServer:
    """Files by UUID; `faults` of a file are used up one a request, then it is served well.

    Faults: ``("status", 500)``, ``("status", 429, "1")`` (Retry-After), ``("cut", n)`` closes after n bytes, ``("garble",)``
    flips a byte, ``("no_range",)`` ignores the range, ``("wrong_range",)`` answers another one, ``("redirect", url)``, ``("slow", s)``
    sends 64 KiB every s seconds, ``("trickle", s)`` a byte. Of "files": ``("answer", bytes)``.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.faults: dict[str, deque[tuple[Any, ...]]] = defaultdict(deque)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.entries: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.token = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                server._get(self)

            def do_POST(self) -> None:
                server._post(self)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def add(self, number: int, content: bytes, name: str = "") -> str:
        self.files[uuid(number)] = (name or f"slide-{number}.svs", content)
        return uuid(number)

    def manifest(self, path: Path, **changes: dict[str, str]) -> Path:
        lines = ["id\tfilename\tmd5\tsize\tstate\n"]
        for key, (name, content) in self.files.items():
            md5 = changes.get("md5", {}).get(key) or hashlib.md5(content).hexdigest()
            lines.append(f"{key}\t{name}\t{md5}\t{len(content)}\treleased\n")
        path.write_text("".join(lines))
        return path

    def ranges(self, key: str) -> list[str]:
        return [
            h.get("Range", "") for method, path, h in self.requests if method == "GET" and path.endswith(key)
        ]

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.title(): value for name, value in handler.headers.items()}
        self.requests.append(("GET", handler.path, headers))
        key = handler.path.rsplit("/", 1)[-1]
        if self.token and headers.get("X-Auth-Token") != self.token:
            return self._send(handler, 403)
        fault = self.faults[key].popleft() if self.faults[key] else ("none",)
        if fault[0] == "status":
            extra = {"Retry_After": fault[2]} if len(fault) > 2 else {}
            return self._send(handler, fault[1], b"sorry", **extra)
        if fault[0] == "redirect":
            return self._send(handler, 302, Location=fault[1])
        if key not in self.files:
            return self._send(handler, 404)
        name, content = self.files[key]
        start = 0
        if (match := re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))) and fault[0] != "no_range":
            start = int(match[1]) + (7 if fault[0] == "wrong_range" else 0)
            if start >= len(content):
                return self._send(handler, 416)
        body = content[start:]
        if fault[0] == "garble":
            body = body[:-1] + bytes([body[-1] ^ 1])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Disposition", f"attachment; filename={name}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault[0] == "cut":
            handler.wfile.write(body[: fault[1]])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.close()
            return None
        step = {"slow": 65536, "trickle": 1}.get(fault[0], len(body) or 1)
        for i in range(0, len(body), step):
            try:
                handler.wfile.write(body[i : i + step])
                handler.wfile.flush()
            except OSError:
                return None
            if fault[0] in ("slow", "trickle"):
                time.sleep(fault[1])
        return None

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.requests.append(("POST", handler.path, {}))
        self.bodies.append(body)
        if self.faults["files"]:
            fault = self.faults["files"].popleft()
            if fault[0] == "answer":
                return self._send(handler, 200, fault[1], Content_Type="application/json")
            return self._send(handler, fault[1])
        wanted = {c["content"]["field"]: c["content"]["value"] for c in body["filters"]["content"]}
        hits = [e for e in self.entries if e["data_type"] in wanted["data_type"]]
        page = hits[body["from"] : body["from"] + min(body["size"], 2)]
        answer = {
            "data": {
                "hits": page,
                "pagination": {"total": len(hits), "from": body["from"], "count": len(page)},
            }
        }
        return self._send(handler, 200, json.dumps(answer).encode(), Content_Type="application/json")
