"""Nothing but an accepted decision about exactly this model folder moves a model on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fairtag.base.errors import (
    DecisionError,
    DecisionMismatch,
    DecisionRejected,
    DigestMismatch,
    ModelFolderError,
    ModelFolderMissing,
)
from fairtag.base.files import read_json, write_json
from fairtag.model.capabilities import PERSONAL_PRICES, SEARCH, UNIFORM_PRICES
from fairtag.model.decision import (
    GateResult,
    accepted_capabilities,
    content_hash,
    decision_of,
    keep_decision,
    make_decision,
    read_decision,
    require_accepted,
    write_decision,
)
from fairtag.model.manifest import MANIFEST, FolderSeal, read_manifest, verify_files, write_manifest

PASSED = GateResult("relevance", 0.8, "nDCG@10 >= 0.7", "pass", threshold=0.7)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model_folder"
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "config.json").write_text("{}")
    (folder / "catalogue.parquet").write_bytes(b"rows")
    write_manifest(folder, {"code_version": "1"})
    return folder


def decide(model_folder: Path, *gates: GateResult) -> dict[str, Any]:
    manifest = read_manifest(model_folder)
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    return make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=gates, metrics={})


def test_an_accepted_decision_about_this_model_folder_is_let_through(model_folder: Path, tmp_path: Path) -> None:
    path = write_decision(tmp_path / "DECISION.json", decide(model_folder, PASSED))
    require_accepted(read_decision(path), model_folder)


@pytest.mark.parametrize("status", ["fail", "could not tell"])
def test_one_gate_that_does_not_pass_rejects(model_folder: Path, status: Any) -> None:
    decision = decide(model_folder, PASSED, GateResult("fairness", None, "gap <= 1 %", status))
    assert decision["accepted"] is False
    with pytest.raises(DecisionRejected, match="fairness"):
        require_accepted(decision, model_folder)


def test_a_gate_of_prices_leaves_search_and_says_what_prices_need(model_folder: Path) -> None:
    uplift = GateResult("profit_uplift", None, "gain > 0", "could not tell", needs="about 800 more pages")
    decision = decide(model_folder, PASSED, uplift)
    require_accepted(decision, model_folder)
    assert accepted_capabilities(decision) == {SEARCH}
    uniform, personal = (decision["capabilities"][name] for name in (UNIFORM_PRICES, PERSONAL_PRICES))
    assert (uniform["failed"], uniform["needs"]) == (["profit_uplift"], ["about 800 more pages"])
    assert personal["needs"] == ["uniform prices to be accepted first"]


@pytest.mark.parametrize("name", ["price_gaps", "behaviour_known", "opt_out"])
def test_a_gate_of_customers_leaves_uniform_prices(model_folder: Path, name: str) -> None:
    decision = decide(model_folder, PASSED, GateResult(name, None, "a rule", "fail"))
    assert accepted_capabilities(decision) == {SEARCH, UNIFORM_PRICES}


def test_a_capability_that_the_gates_do_not_bear_out_counts_for_nothing(model_folder: Path) -> None:
    decision = decide(model_folder, PASSED, GateResult("profit_uplift", -1.0, "gain > 0", "fail"))
    decision["capabilities"][UNIFORM_PRICES]["accepted"] = True
    assert accepted_capabilities(decision) == {SEARCH}


def test_a_decision_travels_in_the_model_folder_and_is_checked_there(model_folder: Path) -> None:
    assert decision_of(model_folder) is None
    keep_decision(decide(model_folder, PASSED), model_folder)
    verify_files(model_folder, read_manifest(model_folder))
    assert decision_of(model_folder) is not None
    (model_folder / "catalogue.parquet").write_bytes(b"other rows")
    write_manifest(model_folder, {})
    with pytest.raises(DecisionMismatch, match="is about model folder"):
        decision_of(model_folder)


def test_a_rejected_decision_is_not_put_into_a_model_folder(model_folder: Path) -> None:
    with pytest.raises(DecisionRejected):
        keep_decision(decide(model_folder, GateResult("relevance", 0.1, "at least 0.7", "fail")), model_folder)
    assert decision_of(model_folder) is None


def test_a_decision_of_an_earlier_version_says_to_evaluate_again(model_folder: Path, tmp_path: Path) -> None:
    older = {**decide(model_folder, PASSED), "schema": "fairtag.decision/2"}
    path = write_decision(tmp_path / "DECISION.json", {**older, "hash": content_hash(older)})
    with pytest.raises(DecisionMismatch, match="evaluate the model again"):
        read_decision(path)


def test_no_gates_is_an_error_not_a_pass(model_folder: Path) -> None:
    with pytest.raises(DecisionError, match="at least one gate"):
        decide(model_folder)


def test_a_rejection_turned_into_an_acceptance_by_hand_is_caught(model_folder: Path, tmp_path: Path) -> None:
    decision = decide(model_folder, GateResult("fairness", 0.05, "gap <= 1 %", "fail"))
    forged = {**decision, "accepted": True}
    with pytest.raises(DecisionMismatch, match="hash"):
        require_accepted(forged, model_folder)
    with pytest.raises(DecisionMismatch, match="altered"):
        read_decision(write_decision(tmp_path / "DECISION.json", forged))
    rehashed = {**forged, "hash": content_hash(forged)}
    with pytest.raises(DecisionRejected, match="fairness"):
        require_accepted(rehashed, model_folder)


def test_a_decision_about_another_model_folder_is_refused(model_folder: Path) -> None:
    decision = decide(model_folder, PASSED)
    (model_folder / "catalogue.parquet").write_bytes(b"other rows")
    write_manifest(model_folder, {"code_version": "1"})
    with pytest.raises(DecisionMismatch, match="is about model folder"):
        require_accepted(decision, model_folder)


def test_a_missing_or_broken_decision_says_so(tmp_path: Path) -> None:
    with pytest.raises(DecisionError, match="no readable decision"):
        read_decision(tmp_path / "DECISION.json")
    (tmp_path / "DECISION.json").write_text("{")
    with pytest.raises(DecisionError, match="no readable decision"):
        read_decision(tmp_path / "DECISION.json")


def test_the_same_files_have_the_same_digest_whatever_the_facts(model_folder: Path) -> None:
    first = read_manifest(model_folder)
    assert write_manifest(model_folder, {"created_at": "later"})["digest"] == first["digest"]


@pytest.mark.parametrize("harm", ["change", "remove", "add"])
def test_a_tampered_model_folder_is_refused(model_folder: Path, harm: str) -> None:
    if harm == "change":
        (model_folder / "encoder" / "config.json").write_text("{ }")
    elif harm == "remove":
        (model_folder / "encoder" / "config.json").unlink()
    else:
        (model_folder / "extra.bin").write_bytes(b"x")
    with pytest.raises(DigestMismatch):
        verify_files(model_folder, read_manifest(model_folder))


def test_a_manifest_edited_to_fit_a_tampered_file_is_refused(model_folder: Path) -> None:
    manifest = read_json(model_folder / MANIFEST)
    manifest["files"]["catalogue.parquet"]["sha256"] = "0" * 64
    write_json(model_folder / MANIFEST, manifest)
    with pytest.raises(DigestMismatch, match="list of files"):
        read_manifest(model_folder)


def test_a_missing_or_foreign_model_folder_is_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderMissing, match="no model folder"):
        read_manifest(tmp_path / "nothing")
    write_json(model_folder / MANIFEST, {"schema": "other/1"})
    with pytest.raises(ModelFolderError, match="schema"):
        read_manifest(model_folder)


def test_a_file_edited_in_place_is_noticed_and_one_replaced_or_removed_is_not(model_folder: Path) -> None:
    seal = FolderSeal(model_folder, read_manifest(model_folder))
    catalogue, config = model_folder / "catalogue.parquet", model_folder / "encoder" / "config.json"
    catalogue.chmod(0o600)
    assert seal.altered() == ""
    (model_folder / "fresh").write_bytes(b"other rows")
    (model_folder / "fresh").replace(catalogue)
    assert seal.altered() == ""
    with config.open("r+") as stream:
        stream.write("[]")
    os.utime(config, ns=(0, 0))  # the time of the last write can be set back
    assert seal.altered() == "encoder/config.json"
    config.unlink()
    assert seal.altered() == ""
