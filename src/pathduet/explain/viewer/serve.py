"""A page's folder over HTTP, for this machine only: browsers that do not open local files, or a remote desktop's tunnel.

Listens on 127.0.0.1 alone and answers only requests that name it so (a page elsewhere cannot have its own name point
here). Gives out files below one folder, links that lead out of it refused; lists no folders; only reads.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pathduet.core.errors import InputError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Files below `directory`, and nothing else."""

    def send_head(self) -> Any:
        assert isinstance(self.server, ThreadingHTTPServer)
        port = self.server.server_port
        if self.headers.get("Host") not in {f"{HOST}:{port}", f"localhost:{port}"}:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        if not self._is_given_out(Path(self.translate_path(urlsplit(self.path).path))):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def _is_given_out(self, path: Path) -> bool:
        root = Path(self.directory)
        try:
            path = path / "index.html" if path.is_dir() else path
            inside = path.resolve().is_relative_to(root) and path.is_file()
        except ValueError:  # a zero byte in the name
            return False
        return inside and not any(part.startswith(".") for part in path.parts[len(root.parts) :])

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def pages_below(folder: Path) -> list[str]:
    """Return the pages of a folder, relative to it: its own ``index.html``, else all below it.

    Raises
    ------
    InputError
        If there is none.
    """
    if (folder / "index.html").is_file():
        return [""]
    found = sorted(page.parent.relative_to(folder).as_posix() + "/" for page in folder.rglob("index.html"))
    if not found:
        raise InputError.of(str(folder), "no index.html in it or below", "give a viewer's folder")
    return found


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of `folder` on 127.0.0.1, listening; 0 takes any free port.

    Raises
    ------
    InputError
        If the port is taken.
    """
    handler = partial(_Handler, directory=str(folder.resolve()))
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise InputError.of(f"port {port}", error.strerror or str(error), "give another one, or 0") from None
