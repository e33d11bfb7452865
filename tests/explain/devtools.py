"""A headless Chromium driven over a pipe with the DevTools protocol: real input, no library, no open port."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

#: axe-core 4.10.3 (MPL-2.0), as `npm pack axe-core@4.10.3` has it.
AXE = Path(__file__).parent.parent / "vendor" / "axe.min.js"
AXE_SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"
# A figure with a name counts as one picture: its tens of thousands of paths, put aside meanwhile, would take minutes.
_SEVERE = """(() => {
  const figures = [...document.querySelectorAll("svg[aria-label]")].map((svg) => [svg, [...svg.childNodes]]);
  figures.forEach(([svg]) => svg.replaceChildren());
  const wanted = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
  return axe.run({resultTypes: ["violations"], elementRef: false, runOnly: wanted}).then((found) => {
    figures.forEach(([svg, parts]) => svg.replaceChildren(...parts));
    return found.violations.filter((rule) => ["serious", "critical"].includes(rule.impact)).flatMap(
      (rule) => rule.nodes.map((node) => rule.id + ": " + node.target.join(" ") + ": " + node.html.slice(0, 150)));
  });
})()"""


class Browser:
    """One page. Everything it asks for, and everything it complains about, is kept.

    Attributes
    ----------
    requests : list of str
        Addresses of all requests.
    complaints : list of str
        Console lines, uncaught errors, refused and failed loads.
    """

    def __init__(self, chromium: str, profile: Path, size: tuple[int, int] = (1200, 800)) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        wanted = {3: to_browser, 4: from_browser}

        def hand_over() -> None:
            # out of the way first: a pipe's own end may be number 3 or 4
            copies = {number: fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for number, fd in wanted.items()}
            for number, fd in copies.items():
                os.dup2(fd, number)

        self._process = subprocess.Popen(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
                f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}", "about:blank",
            ],
            preexec_fn=hand_over, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        arguments = {"targetId": page["targetId"], "flatten": True}
        self._session = self.call("Target.attachToTarget", **arguments)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(300)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], seconds)
            data = os.read(self._in, 1 << 16) if ready else b""
            assert data, "the browser does not answer"
            self._buffer += data
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Network.loadingFailed" and not parameters.get("canceled"):
            self.complaints.append(f"load failed: {parameters.get('errorText')}")
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(a.get("value", a)) for a in parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif method == "Log.entryAdded":
            text = parameters["entry"]["text"]
            # advice about the tests' own reading of pixels
            if not text.startswith("Canvas2D: Multiple readback"):
                self.complaints.append(text)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """Return what an expression gives, JSON-like."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 120) -> Any:
        """Return an expression's first true value."""
        end = time.monotonic() + seconds
        while not (
            value := self.value(
                f"(() => {{ try {{ return {expression}; }} catch (e) {{ return null; }} }})()"
            )
        ):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector: str) -> None:
        """Click with the mouse on what stands there."""
        box = self.value(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, *box, button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        """Press a key, such as ``Tab`` (9), ``Enter`` (13) or ``ArrowDown`` (40)."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text
            )

    def inaccessible(self) -> list[str]:
        """Return what axe-core calls serious or critical on the page."""
        source = AXE.read_bytes()
        assert hashlib.sha256(source).hexdigest() == AXE_SHA256
        self.call("Runtime.evaluate", expression=source.decode())
        found = self.call("Runtime.evaluate", expression=_SEVERE, awaitPromise=True, returnByValue=True)
        return list(found["result"]["value"])

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
