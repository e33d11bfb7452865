"""Robust HTTP requests: retries with back-off, Retry-After, redirects without leaking the token.

The standard library's urllib suffices: streaming reads, ranges, redirects, proxies from the environment and TLS.
A client library would add connection pooling, which saves one handshake per file while the files are slides of
hundreds of megabytes, and one more dependency to maintain.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import IO, Any, TypeVar

from pathduet.core.errors import PathDuetError

T = TypeVar("T")
TOKEN_HEADER = "X-Auth-Token"
_LONGEST_WAIT = 600.0
_LONGEST_ANSWER = 64 * 2**20
_SLOWEST = 1024  # bytes a second
_BLOCK = 2**18


class DownloadError(PathDuetError):
    """A request that failed permanently.

    Parameters
    ----------
    message : str
    temporary : bool
        Whether a retry may help.
    wait : float or None
        Seconds that the server asks to wait.
    status : int
        HTTP status, 0 if there was no answer.
    """

    def __init__(
        self, message: str, *, temporary: bool = False, wait: float | None = None, status: int = 0
    ) -> None:
        super().__init__(message)
        self.temporary, self.wait, self.status = temporary, wait, status


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects; the token is sent only to its own host, and never over plain HTTP."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        target = urllib.parse.urlsplit(newurl)
        if target.scheme not in ("http", "https"):
            raise DownloadError(f"redirect to {target.scheme or 'nowhere'}: refused")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        origin = urllib.parse.urlsplit(req.full_url)
        downgraded = origin.scheme == "https" and target.scheme != "https"
        if following is not None and (origin.netloc != target.netloc or downgraded):
            # urllib stores header names capitalised
            following.remove_header(TOKEN_HEADER.capitalize())
        return following


@dataclass
class Client:
    """Requests to one API.

    Attributes
    ----------
    base : str
        URL without a trailing slash.
    token : str
        Sent as X-Auth-Token if not empty.
    timeout : float
        Seconds without a byte after which a connection counts as dead.
    retries : int
        Consecutive failures, without any new byte, before a file is given up.
    backoff : float
        Seconds before the first retry; doubled each time, up to 60, plus up to a quarter at random.
    """

    base: str
    token: str = field(default="", repr=False)
    timeout: float = 60.0
    retries: int = 6
    backoff: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @contextmanager
    def open(
        self, path: str, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield the response to a request.

        Raises
        ------
        DownloadError
            ``temporary`` for 408, 429, 5xx and broken connections; not for other client errors.
        """
        request = urllib.request.Request(
            f"{self.base}/{path.lstrip('/')}", data=data, headers=dict(headers or {})
        )
        if self.token:
            request.add_header(TOKEN_HEADER, self.token)
        request.add_header("User-Agent", "pathduet")
        opener = urllib.request.build_opener(_Redirects)
        try:
            with opener.open(request, timeout=self.timeout) as response:
                yield response
        except urllib.error.HTTPError as error:
            raise _from_status(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"connection: {error or type(error).__name__}", temporary=True) from None

    def blocks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield a response's bytes as they arrive.

        Raises
        ------
        DownloadError
            If fewer than 1 KiB/s arrive over `timeout` seconds: a trickling connection would never end.
        """
        since, came = time.monotonic(), 0
        while block := response.read1(_BLOCK):
            yield block
            came += len(block)
            now = time.monotonic()
            if now - since > self.timeout:
                if came < _SLOWEST * (now - since):
                    raise DownloadError(f"{came:,} bytes in {now - since:.0f} s", temporary=True)
                since, came = now, 0

    def answer(self, path: str, headers: Mapping[str, str], data: bytes) -> bytes:
        """Return the whole response to a request, at most 64 MiB."""
        whole = bytearray()
        with self.open(path, headers, data) as response:
            for block in self.blocks(response):
                whole += block
                if len(whole) > _LONGEST_ANSWER:
                    raise DownloadError(f"an answer of more than {_LONGEST_ANSWER // 2**20} MiB")
        return bytes(whole)

    def again(self, attempt: Callable[[], T], progressed: Callable[[], bool] = lambda: False) -> T:
        """Return what `attempt` returns, retrying after temporary failures.

        Parameters
        ----------
        attempt : callable
            Raises DownloadError on failure.
        progressed : callable
            Whether the last attempt brought new data; then the count of failures starts over.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except DownloadError as error:
                if not error.temporary or self.stop.is_set():
                    raise
                failures = 1 if progressed() else failures + 1
                if failures > self.retries:
                    raise DownloadError(f"{error}; given up after {self.retries} retries") from None
                wait = min(60.0, self.backoff * 2 ** (failures - 1)) * random.uniform(1.0, 1.25)
                if error.wait is not None:
                    wait = max(error.wait, 0.0)
                if self.stop.wait(min(wait, _LONGEST_WAIT)):
                    raise


def _from_status(error: urllib.error.HTTPError) -> DownloadError:
    with error:
        code = error.code
    if code in (401, 403):
        return DownloadError(
            f"HTTP {code}: not allowed; controlled files need a current token (--token-file)"
        )
    if code == 404:
        return DownloadError("HTTP 404: no such file on the server; build the manifest anew")
    if code == 416:
        return DownloadError("HTTP 416: range not satisfiable", temporary=True, status=code)
    temporary = code in (408, 429) or code >= 500
    return DownloadError(
        f"HTTP {code}",
        temporary=temporary,
        wait=retry_after(error.headers.get("Retry-After")) if temporary else None,
    )


def retry_after(value: str | None) -> float | None:
    """Return the seconds in a Retry-After header (a number or a date), None if it has no usable value."""
    if value is None:
        return None
    try:
        return (
            float(int(value))
            if value.strip().isdecimal()
            else max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        )
    except (TypeError, ValueError, OverflowError):
        return None
