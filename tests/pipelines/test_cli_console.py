"""The models of a run, promoted and rolled back in a browser: the endpoint answers with the new one, then the old."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from support.loading import load

from console.app import console_app
from console.audit import AuditLog
from console.settings import ConsoleSettings
from fairtag.model.decision import read_decision
from fairtag.model.manifest import DECISION, read_manifest, write_manifest
from pipelines.cli_console import RunDeployment
from pipelines.run_folder import RunFolder

TESTS = Path(__file__).parents[1]


CHROMIUM = load("console/chromium.py")
_SERVING = load("serving/conftest.py")
materialised, shop = _SERVING.materialised, _SERVING.shop


@pytest.fixture
def run(
    shop: Any, accepted: Callable[[Path], None], empty_registry: Callable[[Path], Path], tmp_path: Path
) -> tuple[RunFolder, list[str]]:
    """A run with two registered models, the first of which is live; their versions."""
    from components.adapters.kserve import deploy_model_folder
    from components.adapters.mlflow import Registry

    folder = RunFolder(tmp_path / "run")
    registry = Registry.local(empty_registry(folder.registry))
    made = []
    for number in ("1", "2"):
        model = tmp_path / f"model-{number}"
        shutil.copytree(shop.model_folder, model)
        (model / "note.txt").write_text(f"model {number}")  # another content, another version
        facts = {name: value for name, value in read_manifest(model).items() if name not in ("files", "digest")}
        made.append(str(write_manifest(model, facts)["version"]))
        accepted(model)
        decision = read_decision(model / DECISION)
        registry.register(model, decision, registry.log_run(number, params={}, metrics={}))
        if number == "1":
            deploy_model_folder(model, decision, str(folder.root), timeout=0)
            registry.promote(number)
    return folder, made


def test_promote_and_rollback_move_the_pointer_and_the_champion_and_are_noted(run: Any) -> None:
    from components.adapters.mlflow import open_registry

    folder, (first, second) = run
    deployment = RunDeployment(folder)
    assert deployment.before() == ""
    assert "Version 2 is live" in deployment.promote("2", "ada", "it earns more")
    assert folder.live.resolve().name == second
    assert {each["version"]: each["alias"] for each in deployment.versions()}["2"].startswith("champion")
    assert deployment.before() == first
    assert f"Model {first} is live again" in deployment.rollback("bo", "it sells less")
    assert folder.live.resolve().name == first
    champion = open_registry(str(folder.registry)).champion()
    assert champion is not None
    assert champion.number == "1"
    noted = [json.loads(line) for line in (folder.root / "deployments.jsonl").read_text().splitlines()]
    assert noted[1]["run"] == "console: ada: it earns more"
    assert (noted[2]["who"], noted[2]["why"]) == ("bo", "it sells less")


@pytest.fixture
def opened(run: Any, shop: Any) -> Iterator[tuple[str, str, ConsoleSettings]]:
    """A console over the run and an endpoint process that follows it: both addresses, and the settings."""
    from pipelines.endpoint import serve

    folder, _ = run
    with serve(folder.live, shop.features, folder.serving) as endpoint, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = ConsoleSettings(
            url=endpoint, port=port, model_folder=folder.live, state_dir=folder.root / "console", place="US-NY"
        )
        app = console_app(settings, deployment=RunDeployment(folder))
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", endpoint, settings
        server.should_exit = True
        thread.join()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM.PROGRAM is None, reason="chromium is not installed")
def test_clicking_promote_and_roll_back_changes_the_model_of_the_endpoints_pages(
    opened: Any, run: Any, tmp_path: Path
) -> None:
    address, endpoint, settings = opened
    _, (first, second) = run

    def answering() -> str:
        body = {"instances": [{"query": "garden"}]}
        page = httpx.post(f"{endpoint}/v1/models/fairtag:predict", json=body).json()["predictions"][0]
        return str(page["model_version"])

    assert answering() == first
    with CHROMIUM.browser(tmp_path / "profile") as tab:
        tab.size(1280, 900)

        def follow(selector: str) -> None:
            tab.evaluate("window.left = true")
            tab.click(selector)
            tab.loaded()

        tab.visit(f"{address}/models")
        tab.until("document.querySelector('#registry a.button')")
        follow("#registry a.button")
        assert "Make version 2 live?" in tab.evaluate("document.querySelector('h1').textContent")
        tab.until("document.activeElement.id === 'models-why'")  # a reason can be typed at once
        tab.type("it earns more on the hold-out")
        follow("main form button.act")
        assert "Version 2 is live" in tab.evaluate("document.getElementById('notice').textContent")
        tab.until("!document.getElementById('served') || document.getElementById('served').dataset.done")
        assert answering() == second
        tab.visit(f"{address}/models")
        follow("a[href='/models/rollback']")
        tab.type("it sells less than it said")
        follow("main form button.act")
        assert f"Model {first} is live again" in tab.evaluate("document.getElementById('notice').textContent")
        tab.until("!document.getElementById('served') || document.getElementById('served').dataset.done")
        assert answering() == first
        assert tab.complaints == []
    entries = AuditLog(settings.state_dir).entries()
    assert [(each.action, each.outcome) for each in entries] == [
        ("models/promote", "done"),
        ("models/rollback", "done"),
    ]
