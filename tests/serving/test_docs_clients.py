"""docs/how-to/api-clients.md: each client asks a running endpoint for a page and honours its price."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "api-clients.md"
ADDRESS = "http://localhost:8080"


@pytest.mark.parametrize("language", ["bash", "python", "js"])
def test_every_client_gets_a_page(serve: Callable[..., Any], tmp_path: Path, language: str) -> None:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert ADDRESS in code
    with serve() as running:
        code = code.replace(ADDRESS, running.http)
        if language == "bash":
            line = ["bash", "-c", code]
        elif language == "python":
            line = [sys.executable, "-c", code]
        else:
            if shutil.which("node") is None:
                pytest.skip("node is not installed")
            (tmp_path / "page.mjs").write_text(code)
            line = ["node", str(tmp_path / "page.mjs")]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    if language == "bash":
        assert json.loads(done.stdout)["predictions"][0]["items"]
    else:
        assert "honoured until" in done.stdout


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class QuietPages(http.server.SimpleHTTPRequestHandler):
    """A shop's web server."""

    def log_message(self, *_: object) -> None:
        pass


def shown(address: str, profile: Path) -> str:
    """What a browser shows at an address, once its scripts have run."""
    assert CHROMIUM is not None
    line = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    line += ["--virtual-time-budget=20000", "--dump-dom", address]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.fixture
def shop_pages(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server of a shop: its origin, and the folder that it serves."""
    folder = tmp_path / "pages"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(QuietPages, directory=os.fspath(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.slow
def test_a_browser_gets_a_page_with_a_token_and_without_the_key(
    serve: Callable[..., Any], shop_pages: tuple[str, Path], tmp_path: Path
) -> None:
    origin, folder = shop_pages
    text = PAGE.read_text(encoding="utf-8")
    (on_server,) = re.findall(r"^```python server\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (in_page,) = re.findall(r"^```js browser\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "keys").write_text("right-key\n")
    with serve(api_keys_file=tmp_path / "keys", allowed_origins=(origin,)) as running:
        code = on_server.replace(ADDRESS, running.http).replace("https://shop.example", origin)
        environment = {**os.environ, "FAIRTAG_API_KEY": "right-key"}
        issued = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        script = in_page.replace(ADDRESS, running.http).replace("TOKEN", issued.stdout.strip())
        (folder / "shop.html").write_text(f"<!doctype html><body><script>{script}</script>", encoding="utf-8")
        assert "right-key" not in (folder / "shop.html").read_text(encoding="utf-8")
        assert re.search(r"item-\d+ \d+\.\d\d EUR", shown(f"{origin}/shop.html", tmp_path / "profile"))
        elsewhere = origin.replace("127.0.0.1", "localhost")
        assert "Failed to fetch" in shown(f"{elsewhere}/shop.html", tmp_path / "other")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.slow
def test_the_docs_page_shows_every_operation_and_loads_nothing_from_elsewhere(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    with serve() as running:
        page = httpx.get(f"{running.http}/docs")
        assert not re.findall(r"""(?:src|href)=["']?https?:|@import|url\(""", page.text)
        paths = httpx.get(f"{running.http}/openapi.json").json()["paths"]
        dom = shown(f"{running.http}/docs", tmp_path / "profile")
    assert 'aria-busy="false"' in dom
    assert all(f">{path}<" in dom for path in paths)
    assert "Copy as curl" in dom
