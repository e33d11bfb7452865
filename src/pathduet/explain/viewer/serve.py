"""A page's folder over HTTP, on this machine only, for browsers that do not open local files or for a tunnel.

Listens on 127.0.0.1 only and answers only requests with that host name (which prevents DNS rebinding by other pages).
Every user of this machine can reach that address, so each path begins with a random token. Serves files below one
folder, refuses links that lead out of it, lists no folders, and only reads.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pathduet.core.errors import InputError

HOST = "127.0.0.1"


class Server(ThreadingHTTPServer):
    """A server of one folder.

    Attributes
    ----------
    token : str
        First part of every valid path.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        self.token = secrets.token_urlsafe(24)
        super().__init__((HOST, port), partial(_Handler, directory=str(folder.resolve())))

    def address(self, page: str = "") -> str:
        """Return the address of a page, including the token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/{page}"


class _Handler(SimpleHTTPRequestHandler):
    """Serves only files below `directory`."""

    timeout = 60

    def send_head(self) -> Any:
        assert isinstance(self.server, Server)
        port = self.server.server_port
        if self.headers.get("Host") not in {f"{HOST}:{port}", f"localhost:{port}"}:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        token, _, _ = urlsplit(self.path).path.lstrip("/").partition("/")
        known = secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        if not known or not self._is_given_out(Path(self.translate_path(self.path))):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def translate_path(self, path: str) -> str:
        """Return the file for a path that begins with the token."""
        return super().translate_path("/" + urlsplit(path).path.lstrip("/").partition("/")[2])

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
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def pages_below(folder: Path) -> list[str]:
    """Return the pages of a folder, relative to it: its own ``index.html``, or else all below it.

    Raises
    ------
    InputError
        If there are none.
    """
    if (folder / "index.html").is_file():
        return [""]
    found = sorted(page.parent.relative_to(folder).as_posix() + "/" for page in folder.rglob("index.html"))
    if not found:
        raise InputError.of(str(folder), "no index.html in it or below", "give a viewer's folder")
    return found


def server(folder: Path, port: int = 0) -> Server:
    """Return a server of `folder` that listens on 127.0.0.1; port 0 picks any free port.

    Raises
    ------
    InputError
        If the port is taken.
    """
    try:
        return Server(folder, port)
    except OSError as error:
        raise InputError.of(f"port {port}", error.strerror or str(error), "give another one, or 0") from None


@contextmanager
def door(address: str) -> Iterator[str]:
    """Yield the ``file://`` address of a page, readable only by this user, that redirects to `address`.

    Other users can see the arguments of the browser's process, and so any address passed to it.
    """
    with tempfile.TemporaryDirectory(prefix="pathduet-view-") as folder:
        page = Path(folder) / "index.html"
        page.write_text(f'<meta http-equiv="refresh" content="0; url={address}">\n', encoding="utf-8")
        yield page.as_uri()
