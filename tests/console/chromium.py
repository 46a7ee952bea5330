"""A real browser for tests: Debian's Chromium without a screen, by its DevTools protocol (chromedevtools.github.io)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0  # seconds; a busy machine


class Tab:
    """One tab.

    Args:
        socket: Of its DevTools.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(PATIENCE))
            if message.get("method") == "Log.entryAdded":
                self.complaints.append(message["params"]["entry"]["text"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]["exceptionDetails"])[:500])
            if message.get("id") == self._number:
                assert "error" not in message, (method, message)
                return dict(message["result"])

    def evaluate(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, (script[:200], found)
        return found["result"].get("value")

    def until(self, condition: str, seconds: float = PATIENCE) -> float:
        """Wait until an expression is true; the seconds that it took."""
        started = time.monotonic()
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {condition}"
            time.sleep(0.02)
        return time.monotonic() - started

    def visit(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self.evaluate("window.left = true")
        self.call("Page.navigate", url=address)
        self.loaded()

    def loaded(self) -> None:
        """Wait for the page that follows the one which is marked as left."""
        self.until("!window.left && document.readyState === 'complete'")

    def click(self, selector: str) -> None:
        """Click on what a selector finds first, with the mouse, where a person would, once the page has come to rest.

        Two frames are waited for: before its first paint a page drops input, and what is still moving is missed.
        """
        found = f"document.querySelector({json.dumps(selector)})"
        assert self.evaluate(f"{found} !== null"), f"nothing is {selector}"
        started = time.monotonic()
        place, before = self._place(found), None
        while place is None or place != before:
            assert time.monotonic() - started < PATIENCE, f"{selector} moves, or something lies over it"
            place, before = self._place(found), place
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1, buttons=1
            )

    def _place(self, found: str) -> list[float] | None:
        """The middle of an element after two frames; None while something else lies over it."""
        place = self.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {"
            f"const found = {found}; if (!found) return done(null);"
            "found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect();"
            "const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];"
            "const top = document.elementFromPoint(x, y);"
            "done(top && (found.contains(top) || top.contains(found)) ? [x, y] : null); })))"
        )
        return None if place is None else [float(each) for each in place]

    def type(self, text: str) -> None:
        """Type into the field that has the focus; a page may give it only after it is loaded."""
        self.until("document.activeElement?.matches('input, textarea')")
        self.call("Input.insertText", text=text)
        self.until(f"document.activeElement.value.includes({json.dumps(text)})")

    def press(self, key: str) -> None:
        """Press a key: Tab, Enter, Escape or Space."""
        codes = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), "Space": (32, " ")}
        number, text = codes[key]
        name = " " if key == "Space" else key
        held = {"windowsVirtualKeyCode": number, "key": name, "code": key, **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", type="keyDown", **held)
        self.call("Input.dispatchKeyEvent", type="keyUp", **{**held, "text": ""})

    def size(self, width: int, height: int, scheme: str = "light") -> None:
        """The size of the window, and the colours that the system prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def first_paint(self) -> float:
        """Seconds from the request of this page to its first content."""
        named = "performance.getEntriesByName('first-contentful-paint')"
        self.until(f"{named}.length")
        entries = self.evaluate(f"{named}.map((entry) => entry.startTime)")
        return float(entries[0]) / 1000


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A browser with an empty profile and one tab."""
    assert PROGRAM is not None
    line = [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    line += [f"--user-data-dir={profile}", "--no-first-run", "--hide-scrollbars", "about:blank"]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port_file, started = profile / "DevToolsActivePort", time.monotonic()
            while not (port_file.is_file() and port_file.read_text().count("\n")):
                assert time.monotonic() - started < PATIENCE, "Chromium did not start"
                time.sleep(0.05)
            port = port_file.read_text().splitlines()[0]
            tabs = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            with connect(address, max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
