"""The local server gives out its folder's files, and nothing else."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathduet.core.errors import InputError
from pathduet.explain.viewer.serve import pages_below, server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    root = tmp_path / "viewer"
    (root / "slide_files" / "0").mkdir(parents=True)
    (root / "index.html").write_text("<p>page</p>")
    (root / "slide_files" / "0" / "0_0.jpeg").write_bytes(b"picture")
    (root / ".hidden").write_text("no")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path)
    running = server(root)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield root, running.server_address[1]
    running.shutdown()
    thread.join()
    running.server_close()


def ask(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_and_its_pictures_are_served(served: tuple[Path, int]):
    _, port = served
    assert ask(port, "/") == ask(port, "/index.html?x=1") == (200, b"<p>page</p>")
    assert ask(port, "/slide_files/0/0_0.jpeg") == (200, b"picture")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//etc/passwd", "/slide_files/../../secret.txt",
        "/link.txt", "/out/secret.txt", "/.hidden", "/slide_files/", "/nothing", "/%00",
    ],
)  # fmt: skip
def test_nothing_outside_the_folder_no_listing_and_nothing_hidden(served: tuple[Path, int], path: str):
    status, body = ask(served[1], path)
    assert status in {400, 404} and b"secret" not in body and b"0_0.jpeg" not in body


def test_other_names_and_writing_are_refused(served: tuple[Path, int]):
    _, port = served
    assert ask(port, "/", host="evil.example")[0] == 421
    assert ask(port, "/", host=f"localhost:{port}")[0] == 200
    assert ask(port, "/index.html", method="POST")[0] == 501 and ask(port, "/x", method="PUT")[0] == 501


def test_it_listens_on_this_machine_alone_and_says_when_a_port_is_taken(tmp_path: Path):
    first = server(tmp_path)
    try:
        assert first.server_address[0] == "127.0.0.1"
        with pytest.raises(InputError, match="give another one"):
            server(tmp_path, first.server_address[1])
    finally:
        first.server_close()


def test_pages_are_found_below_a_folder(tmp_path: Path):
    with pytest.raises(InputError, match="no index"):
        pages_below(tmp_path)
    for name in ("b", "a/viewer"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "index.html").write_text("")
    assert pages_below(tmp_path) == ["a/viewer/", "b/"] and pages_below(tmp_path / "b") == [""]
