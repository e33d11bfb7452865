"""The local server gives out its folder's files, and nothing else."""

from __future__ import annotations

import http.client
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathduet.core.errors import InputError
from pathduet.explain.viewer.serve import Server, door, pages_below, server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "viewer"
    (root / "slide_files" / "0").mkdir(parents=True)
    (root / "index.html").write_text("<p>page</p>")
    (root / "slide_files" / "0" / "0_0.jpeg").write_bytes(b"picture")
    (root / ".hidden").write_text("no")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path)
    running = server(root)
    running.root = root
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def ask(served: Server, path: str, method: str = "GET", host: str | None = None, token: str | None = None):
    connection = http.client.HTTPConnection("127.0.0.1", served.server_port, timeout=10)
    prefix = f"/{served.token}" if token is None else token
    connection.putrequest(method, prefix + path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_and_its_pictures_are_served(served: Server):
    assert ask(served, "/") == ask(served, "/index.html?x=1") == (200, b"<p>page</p>")
    assert ask(served, "/slide_files/0/0_0.jpeg") == (200, b"picture")
    with urllib.request.urlopen(served.address(), timeout=10) as answer:
        assert answer.read() == b"<p>page</p>" and answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "token", ["", "/", "//", "/wrong", "/" + "A" * 32, "/%00", "/%e9", "/index.html", "/.."]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_does_not_know_the_token_gets_nothing(served: Server, token: str, method: str):
    """Every user of the machine reaches 127.0.0.1; the files themselves are closed to them."""
    for path in ("/", "/index.html", "/slide_files/0/0_0.jpeg", f"/x/../{served.token}/index.html"):
        status, body = ask(served, path, method, token=token)
        assert status in {400, 404} and b"page" not in body and b"picture" not in body
    for part in (served.token[:-1], served.token + "x", served.token.swapcase()):
        assert ask(served, "/index.html", method, token=f"/{part}")[0] == 404


def test_a_folder_is_redirected_within_the_token(served: Server):
    (served.root / "sub").mkdir()
    (served.root / "sub" / "index.html").write_text("sub")
    with urllib.request.urlopen(served.address("sub"), timeout=10) as answer:
        assert answer.read() == b"sub" and answer.url == served.address("sub/")


def test_the_browser_is_not_started_with_the_token(served: Server):
    with door(served.address("a/")) as page:
        file = Path(page.removeprefix("file://"))
        assert served.token not in page and served.address("a/") in file.read_text()
        assert file.parent.stat().st_mode & 0o077 == 0
    assert not file.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//etc/passwd", "/slide_files/../../secret.txt",
        "/link.txt", "/out/secret.txt", "/.hidden", "/slide_files/", "/nothing", "/%00", "/..%5csecret.txt", "/~root/.bashrc",
        "/index.html%00.txt", "/index.html/", "/slide_files", "/../../secret.txt", "/%2e%2e%2f%2e%2e%2fsecret.txt",
    ],
)  # fmt: skip
def test_nothing_outside_the_folder_no_listing_and_nothing_hidden(served: Server, path: str):
    status, body = ask(served, path)
    assert status in {400, 404} and b"secret" not in body and b"0_0.jpeg" not in body


def test_other_names_and_writing_are_refused(served: Server):
    port = served.server_port
    assert ask(served, "/", host="evil.example")[0] == 421
    assert ask(served, "/", host=f"localhost:{port}")[0] == 200
    assert ask(served, "/index.html", method="POST")[0] == 501 and ask(served, "/x", method="PUT")[0] == 501


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
