"""Only an accepted decision about exactly these files gets into the registry, once; what comes out is what went in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fairtag.base.errors import ConfigError, DecisionMismatch, DecisionRejected, DigestMismatch, UnavailableError
from fairtag.model.decision import GateResult, make_decision
from fairtag.model.manifest import read_manifest, write_manifest

if TYPE_CHECKING:
    from components.adapters.mlflow import Registry


@pytest.fixture
def registry(tmp_path: Path, empty_registry: Callable[[Path], Path]) -> Registry:
    from components.adapters.mlflow import Registry

    return Registry.local(empty_registry(tmp_path / "registry"))


def _model_folder(folder: Path, content: str = "weights") -> Path:
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "model.txt").write_text(content)
    write_manifest(folder, {"code_version": "1"})
    return folder


def _decision(model_folder: Path, *, accepted: bool = True) -> dict[str, Any]:
    manifest = read_manifest(model_folder)
    gate = GateResult("relevance", 0.5, ">= 0.4", "pass" if accepted else "fail")
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    return make_decision(challenger=challenger, champion=None, data_fingerprint="f" * 64, gates=[gate], metrics={})


def _run(registry: Registry, key: str = "k") -> str:
    return registry.log_run(key, params={"seed": 1}, metrics={"loss": 0.5})


def test_an_accepted_model_folder_is_registered_with_its_lineage_and_comes_back_whole(tmp_path: Path) -> None:
    from components.adapters.mlflow import Registry

    folder = tmp_path / "läden 50%20 ?#1 a&b" / "registry"  # made from nothing, as a first run makes it
    registry = Registry.local(folder)
    assert (folder / "mlflow.db").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {folder.parent.name}
    model_folder = _model_folder(tmp_path / "model_folder")
    decision = _decision(model_folder)
    version = registry.register(model_folder, decision, _run(registry), pipeline_run="run-7")
    assert (version.number, version.created) == ("1", True)
    assert version.lineage["fairtag.data_fingerprint"] == "f" * 64
    assert version.lineage["fairtag.decision_hash"] == decision["hash"]
    assert version.lineage["fairtag.run"] == "run-7"
    assert registry.challenger() == registry.find(version.model_digest)
    assert registry.champion() is None
    assert registry.champion_model_folder(tmp_path / "none") is None
    registry.promote(version.number)
    fetched = registry.champion_model_folder(tmp_path / "champion")
    assert fetched is not None
    assert (fetched / "encoder" / "model.txt").read_text() == "weights"
    assert read_manifest(fetched) == read_manifest(model_folder)


def test_a_rejected_decision_registers_nothing(registry: Registry, tmp_path: Path) -> None:
    model_folder = _model_folder(tmp_path / "model_folder")
    with pytest.raises(DecisionRejected, match="relevance"):
        registry.register(model_folder, _decision(model_folder, accepted=False), _run(registry))
    assert registry.versions() == []


def test_a_rejection_turned_into_an_acceptance_by_hand_registers_nothing(registry: Registry, tmp_path: Path) -> None:
    model_folder = _model_folder(tmp_path / "model_folder")
    forged = {**_decision(model_folder, accepted=False), "accepted": True}
    with pytest.raises(DecisionMismatch, match="hash"):
        registry.register(model_folder, forged, _run(registry))
    assert registry.versions() == []


def test_a_decision_about_another_model_folder_registers_nothing(registry: Registry, tmp_path: Path) -> None:
    other = _decision(_model_folder(tmp_path / "other", "other weights"))
    with pytest.raises(DecisionMismatch, match="is about model folder"):
        registry.register(_model_folder(tmp_path / "model_folder"), other, _run(registry))
    assert registry.versions() == []


def test_a_model_folder_altered_after_the_decision_registers_nothing(registry: Registry, tmp_path: Path) -> None:
    model_folder = _model_folder(tmp_path / "model_folder")
    decision = _decision(model_folder)
    (model_folder / "encoder" / "model.txt").write_text("wicked")
    with pytest.raises(DigestMismatch, match=r"model\.txt"):
        registry.register(model_folder, decision, _run(registry))
    assert registry.versions() == []


def test_the_same_model_folder_is_registered_once_and_the_same_run_logged_once(
    registry: Registry, tmp_path: Path
) -> None:
    model_folder = _model_folder(tmp_path / "model_folder")
    first = registry.register(model_folder, _decision(model_folder), _run(registry))
    second = registry.register(model_folder, _decision(model_folder), _run(registry))
    assert (first.number, second.number, second.created) == ("1", "1", False)
    assert len(registry.versions()) == 1
    assert _run(registry) == _run(registry)
    assert _run(registry) != _run(registry, "another")


def test_promotion_remembers_what_it_replaced_and_rollback_returns_to_it(registry: Registry, tmp_path: Path) -> None:
    for number, content in (("1", "old"), ("2", "new")):
        model_folder = _model_folder(tmp_path / number, content)
        assert registry.register(model_folder, _decision(model_folder), _run(registry, content)).number == number
        registry.promote(number)
        registry.promote(number)
    champion = registry.champion()
    assert champion is not None
    assert (champion.number, champion.lineage["fairtag.replaced"]) == ("2", "1")
    assert registry.rollback().number == "1"
    fetched = registry.champion_model_folder(tmp_path / "out")
    assert fetched is not None
    assert (fetched / "encoder" / "model.txt").read_text() == "old"
    with pytest.raises(ConfigError, match="no earlier champion"):
        registry.rollback()


def test_what_the_registry_lost_or_altered_is_not_handed_out(registry: Registry, tmp_path: Path) -> None:
    model_folder = _model_folder(tmp_path / "model_folder")
    version = registry.register(model_folder, _decision(model_folder), _run(registry))
    stored = next((tmp_path / "registry").rglob("model.txt"))
    stored.write_text("wicked")
    with pytest.raises(DigestMismatch, match=r"model\.txt"):
        registry.fetch(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_curves_are_kept_step_by_step(registry: Registry, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    curves = [{"step": step, "loss": 1.0 / (1 + step)} for step in range(1_200)]
    run_id = registry.log_run("curve", params={"epochs": 2}, metrics={"ndcg10": 0.4}, curves=curves)
    client = MlflowClient(f"sqlite:///{tmp_path}/registry/mlflow.db")
    history = client.get_metric_history(run_id, "loss")
    assert sorted((m.step, m.value) for m in history) == [(row["step"], row["loss"]) for row in curves]
    assert client.get_run(run_id).data.params == {"epochs": "2"}


def test_a_registry_that_does_not_answer_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from components.adapters.mlflow import Registry

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with pytest.raises(UnavailableError, match="did not answer"):
        Registry("http://127.0.0.1:1")


def test_a_registry_that_asks_for_a_login_says_which_variables_hold_it(listen: Any) -> None:
    from components.adapters.mlflow import Registry

    class Closed:
        url: str

        def answer(self, _asked: Any) -> tuple[int, dict[str, Any]]:
            return 401, {"message": "You are not authenticated."}

    with pytest.raises(ConfigError, match="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        Registry(listen(Closed()).url)


def test_behind_a_login_a_model_that_is_not_there_yet_has_no_champion(listen: Any) -> None:
    """MLflow 3.17 with a login refuses the call for an alias, with status 403, until model and alias are there."""
    from components.adapters.mlflow import MODEL, Registry

    class FirstRun:
        url: str

        def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
            call = asked.path.rpartition("/mlflow/")[2]
            if call.startswith("experiments"):
                return 200, {"experiment": {"experiment_id": "1", "name": "fairtag", "lifecycle_stage": "active"}}
            if call.startswith("registered-models/alias"):
                return 403, {"message": "Permission denied"}
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{MODEL} not found"}

    assert Registry(listen(FirstRun()).url).champion() is None
