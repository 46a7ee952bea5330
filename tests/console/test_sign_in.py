"""Signing in and out with an identity provider in a real browser: the provider is another site to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from support.loading import load

from console.app import console_app
from console.settings import ConsoleSettings

HERE = Path(__file__).parent


CHROMIUM = load("console/chromium.py")
OIDC = load("console/oidc_provider.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM.PROGRAM is None, reason="chromium is not installed"),
]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """A console at 127.0.0.1 and its provider at localhost: addresses of two sites."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    (tmp_path / "client-secret").write_text(OIDC.SECRET)
    with OIDC.provider(address, host="localhost") as provider:
        settings = ConsoleSettings(
            url="http://127.0.0.1:1",
            port=port,
            state_dir=tmp_path / "state",
            public_url=address,
            oidc_issuer=provider.issuer,
            oidc_client_id=OIDC.CLIENT,
            oidc_client_secret_file=tmp_path / "client-secret",
        )
        server = uvicorn.Server(uvicorn.Config(console_app(settings), port=port, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield address, provider
        server.should_exit = True
        thread.join()


def test_somebody_signs_in_at_another_site_comes_back_and_signs_out_of_both(opened: Any, tmp_path: Path) -> None:
    address, provider = opened
    with CHROMIUM.browser(tmp_path / "profile") as tab:
        tab.visit(f"{address}/fairness")
        assert tab.evaluate("location.pathname") == "/login"
        tab.evaluate("window.left = true")
        tab.click("main a.button")
        tab.loaded()
        assert tab.evaluate("location.pathname") == "/fairness", "back where they wanted to go"
        assert tab.evaluate("document.querySelector('.user').textContent") == "ada@example.com viewer"
        assert tab.evaluate("document.cookie") == "", "no script sees the session"
        tab.evaluate("window.left = true")
        tab.click("form[action='/logout'] button")
        tab.until("location.pathname === '/login' && location.search.startsWith('?state=')")
        tab.loaded()
        assert len(provider.ended) == 1
        tab.visit(f"{address}/fairness")
        assert tab.evaluate("location.pathname") == "/login", "signed out here as well"
        assert tab.complaints == [], "the content security policy let all of it happen"
