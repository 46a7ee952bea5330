"""`fairtag rollback --run`: the model that was live before goes live again, checked as at its deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.adapters.kserve import deploy_model_folder, deployments, live_model_folder
from fairtag.model.decision import GateResult, make_decision
from fairtag.model.manifest import write_manifest
from pipelines.cli import main


def deploy(run: Path, name: str) -> str:
    """A model folder with an accepted decision goes live in a run; its version."""
    folder = run.parent / name
    folder.mkdir()
    (folder / "weights").write_text(name)
    manifest = write_manifest(folder, {})
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    gate = GateResult("relevance", 1.0, "any", "pass")
    decision = make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=[gate], metrics={})
    deploy_model_folder(folder, decision, str(run), timeout=1.0)
    return str(manifest["version"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def back(run: Path) -> int:
    return main(["rollback", "--run", str(run), "--why", "it priced too low", "--who", "ada"])


def test_each_rollback_goes_one_model_further_back(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (deploy(run, name) for name in ("a", "b", "c"))
    assert back(run) == 0
    assert live_model_folder(run).name == second
    assert f"model {second} is live again" in capsys.readouterr().out
    assert back(run) == 0
    assert live_model_folder(run).name == first
    assert back(run) == 2
    assert "there is none to go back to" in capsys.readouterr().err
    entry = deployments(run)[-2]
    assert (entry["rolled_back"], entry["who"], entry["why"]) == (third, "ada", "it priced too low")


def test_a_new_model_after_a_rollback_goes_back_to_the_one_it_replaced(run: Path) -> None:
    first, _second = deploy(run, "a"), deploy(run, "b")
    back(run)
    deploy(run, "c")
    back(run)
    assert live_model_folder(run).name == first


def test_an_altered_earlier_model_does_not_go_live(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = deploy(run, "a"), deploy(run, "b")
    (run / "models" / first / "weights").write_text("wicked")
    assert back(run) == 6
    assert "weights" in capsys.readouterr().err
    assert live_model_folder(run).name == second
    (run / "models" / first / "decision.json").unlink()
    assert back(run) == 5
    assert live_model_folder(run).name == second
