"""Nothing but an accepted decision about exactly this bundle moves a model on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairtag.base.errors import (
    BundleError,
    BundleMissing,
    DecisionError,
    DecisionMismatch,
    DecisionRejected,
    DigestMismatch,
)
from fairtag.base.files import read_json, write_json
from fairtag.model.decision import (
    GateResult,
    content_hash,
    make_decision,
    read_decision,
    require_accepted,
    write_decision,
)
from fairtag.model.manifest import MANIFEST, read_manifest, verify_files, write_manifest

PASSED = GateResult("relevance", 0.8, "nDCG@10 >= 0.7", "pass", threshold=0.7)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "config.json").write_text("{}")
    (folder / "catalogue.parquet").write_bytes(b"rows")
    write_manifest(folder, {"code_version": "1"})
    return folder


def decide(bundle: Path, *gates: GateResult) -> dict[str, Any]:
    manifest = read_manifest(bundle)
    challenger = {"version": manifest["version"], "bundle_digest": manifest["digest"]}
    return make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=gates, metrics={})


def test_an_accepted_decision_about_this_bundle_is_let_through(bundle: Path, tmp_path: Path) -> None:
    path = write_decision(tmp_path / "DECISION.json", decide(bundle, PASSED))
    require_accepted(read_decision(path), bundle)


@pytest.mark.parametrize("verdict", ["fail", "could not tell"])
def test_one_gate_that_does_not_pass_rejects(bundle: Path, verdict: Any) -> None:
    decision = decide(bundle, PASSED, GateResult("fairness", None, "gap <= 1 %", verdict))
    assert decision["accepted"] is False
    with pytest.raises(DecisionRejected, match="fairness"):
        require_accepted(decision, bundle)


def test_no_gates_is_an_error_not_a_pass(bundle: Path) -> None:
    with pytest.raises(DecisionError, match="at least one gate"):
        decide(bundle)


def test_a_rejection_turned_into_an_acceptance_by_hand_is_caught(bundle: Path, tmp_path: Path) -> None:
    decision = decide(bundle, GateResult("fairness", 0.05, "gap <= 1 %", "fail"))
    forged = {**decision, "accepted": True}
    with pytest.raises(DecisionMismatch, match="hash"):
        require_accepted(forged, bundle)
    with pytest.raises(DecisionMismatch, match="altered"):
        read_decision(write_decision(tmp_path / "DECISION.json", forged))
    rehashed = {**forged, "hash": content_hash(forged)}
    with pytest.raises(DecisionRejected, match="fairness"):
        require_accepted(rehashed, bundle)


def test_a_decision_about_another_bundle_is_refused(bundle: Path) -> None:
    decision = decide(bundle, PASSED)
    (bundle / "catalogue.parquet").write_bytes(b"other rows")
    write_manifest(bundle, {"code_version": "1"})
    with pytest.raises(DecisionMismatch, match="speaks of bundle"):
        require_accepted(decision, bundle)


def test_a_missing_or_broken_decision_says_so(tmp_path: Path) -> None:
    with pytest.raises(DecisionError, match="no readable decision"):
        read_decision(tmp_path / "DECISION.json")
    (tmp_path / "DECISION.json").write_text("{")
    with pytest.raises(DecisionError, match="no readable decision"):
        read_decision(tmp_path / "DECISION.json")


def test_the_same_files_have_the_same_digest_whatever_the_facts(bundle: Path) -> None:
    first = read_manifest(bundle)
    assert write_manifest(bundle, {"created_at": "later"})["digest"] == first["digest"]


@pytest.mark.parametrize("harm", ["change", "remove", "add"])
def test_a_tampered_bundle_is_refused(bundle: Path, harm: str) -> None:
    if harm == "change":
        (bundle / "encoder" / "config.json").write_text("{ }")
    elif harm == "remove":
        (bundle / "encoder" / "config.json").unlink()
    else:
        (bundle / "extra.bin").write_bytes(b"x")
    with pytest.raises(DigestMismatch):
        verify_files(bundle, read_manifest(bundle))


def test_a_manifest_edited_to_fit_a_tampered_file_is_refused(bundle: Path) -> None:
    manifest = read_json(bundle / MANIFEST)
    manifest["files"]["catalogue.parquet"]["sha256"] = "0" * 64
    write_json(bundle / MANIFEST, manifest)
    with pytest.raises(DigestMismatch, match="list of files"):
        read_manifest(bundle)


def test_a_missing_or_foreign_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleMissing, match="no model bundle"):
        read_manifest(tmp_path / "nothing")
    write_json(bundle / MANIFEST, {"schema": "other/1"})
    with pytest.raises(BundleError, match="schema"):
        read_manifest(bundle)
