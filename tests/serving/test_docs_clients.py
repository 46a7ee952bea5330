"""docs/how-to/api-clients.md: each client asks a running endpoint for a page and honours its price."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
