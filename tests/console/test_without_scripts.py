"""The stop in a real browser whose scripts are off or did not load: by keyboard, and on a phone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from support.loading import load

from console.app import console_app
from console.endpoint import Endpoint
from console.settings import ConsoleSettings
from fairtag.policy.live_policy import LivePolicyStore, open_store

CHROMIUM = load("console/chromium.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM.PROGRAM is None, reason="chromium is not installed"),
]


@pytest.fixture
def store(tmp_path: Path) -> LivePolicyStore:
    return open_store(tmp_path / "policy")


@pytest.fixture
def address(endpoint: Any, tmp_path: Path) -> Iterator[str]:
    """A console over a stand-in for the endpoint, on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ConsoleSettings(port=port, policy_store=str(tmp_path / "policy"), state_dir=tmp_path / "state")
    asked = Endpoint("http://endpoint", transport=httpx.MockTransport(endpoint.answer))
    server = uvicorn.Server(uvicorn.Config(console_app(settings, endpoint=asked), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(params=["off", "not loaded"])
def tab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with CHROMIUM.browser(tmp_path / "profile") as found:
        found.size(1280, 900)
        if request.param == "off":
            found.call("Emulation.setScriptExecutionDisabled", value=True)
        else:
            found.call("Network.enable")
            found.call("Network.setBlockedURLs", urls=["*console.js*"])
        yield found


def focus(tab: Any, selector: str) -> None:
    """Reach an element by the Tab key alone, as somebody without a mouse does."""
    for _ in range(60):
        tab.press("Tab")
        if tab.evaluate(f"Boolean(document.activeElement?.matches({selector!r}))"):
            return
    raise AssertionError(f"the Tab key does not reach {selector}")


def press(tab: Any, key: str, path: str) -> None:
    """Press a key that loads another page, and wait for it."""
    tab.press(key)
    tab.until(f"location.pathname === {path!r} && document.readyState === 'complete'")


def test_stop_and_undo_by_keyboard(address: str, tab: Any, store: LivePolicyStore) -> None:
    tab.visit(f"{address}/fairness")
    focus(tab, "form[action='/stop'] button.stop")
    press(tab, "Space", "/stop")
    assert tab.evaluate("document.querySelector('h1').textContent") == "Stop learned prices"
    assert tab.evaluate("document.querySelector('label[for=stop-why]').textContent").startswith("Why")
    focus(tab, "#stop-why")
    tab.type("costs are wrong")
    press(tab, "Enter", "/fairness")
    tab.until("document.getElementById('notice').textContent.includes('Version 1')")
    assert tab.evaluate("document.getElementById('notice').getAttribute('role')") == "status"
    assert store.current().policy.at_list
    focus(tab, "form[action='/undo'] button")
    press(tab, "Enter", "/undo")
    assert "costs are wrong" in tab.evaluate("document.querySelector('main').textContent")
    focus(tab, "#undo-why")
    tab.type("they are right")
    press(tab, "Enter", "/fairness")
    tab.until("document.getElementById('notice').textContent.includes('Version 2')")
    assert store.current().undoes == 1


def test_the_menu_of_a_phone_opens(address: str, tab: Any) -> None:
    tab.size(390, 844)
    tab.visit(f"{address}/fairness")
    assert tab.evaluate("getComputedStyle(document.getElementById('menu')).display") == "none"
    focus(tab, ".menu-button")
    tab.press("Enter")
    tab.until("getComputedStyle(document.getElementById('menu')).display !== 'none'")
    assert not tab.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
