"""The decision document: may this model be registered, deployed and served?

Every step that moves a model calls :func:`require_accepted` with the document and the model folder. The document alone
carries this safety property, however the pipeline is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fairtag.base.errors import DecisionError, DecisionMismatch, DecisionRejected
from fairtag.base.files import canonical_json, read_json, sha256_text, write_json
from fairtag.model.manifest import read_manifest

SCHEMA = "fairtag.decision/2"
GateStatus = Literal["pass", "fail", "could not tell", "not applicable"]
PASSING: tuple[GateStatus, ...] = ("pass", "not applicable")


@dataclass(frozen=True)
class GateResult:
    """Result of one gate, a condition that a challenger must meet.

    Args:
        name: Name of the gate.
        value: The measured figure; None if it could not be measured.
        rule: The condition in words, with its thresholds.
        status: ``could not tell`` does not pass; ``not applicable`` passes, and the note gives the reason.
        threshold: The figure with which the value is compared.
        low: Lower end of the value's interval.
        high: Upper end of the value's interval.
        note: What a reader must know about the figure.
    """

    name: str
    value: float | None
    rule: str
    status: GateStatus
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


def make_decision(
    *,
    challenger: Mapping[str, str],
    champion: Mapping[str, str] | None,
    data_fingerprint: str,
    gates: Sequence[GateResult],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the document: accepted if every gate passes, with a hash over all of it.

    Args:
        challenger: ``version`` and ``model_digest`` of the model on trial.
        champion: The same of the model that serves; None if there is none.
        data_fingerprint: Fingerprint of the tables on which both were scored.
        gates: At least one.
        metrics: Figures of challenger and champion for the report; JSON values.

    Raises:
        DecisionError: There is no gate.

    >>> gate = GateResult("relevance", 0.93, "nDCG@10 at least 0.9", "pass", threshold=0.9)
    >>> model = {"version": "5f2c", "model_digest": "5f2c"}
    >>> make_decision(challenger=model, champion=None, data_fingerprint="", gates=[gate], metrics={})["accepted"]
    True
    """
    if not gates:
        raise DecisionError("a decision needs at least one gate; none was evaluated")
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "accepted": all(gate.status in PASSING for gate in gates),
        "challenger": dict(challenger),
        "champion": dict(champion) if champion else None,
        "data_fingerprint": data_fingerprint,
        "gates": [asdict(gate) for gate in gates],
        "metrics": dict(metrics),
    }
    return {**body, "hash": content_hash(body)}


def content_hash(decision: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of everything in the document except its own hash."""
    return sha256_text(canonical_json({key: value for key, value in decision.items() if key != "hash"}))


def write_decision(path: Path, decision: Mapping[str, Any]) -> Path:
    """Write the document atomically."""
    return write_json(path, dict(decision))


def read_decision(path: Path) -> dict[str, Any]:
    """Read a document; check its schema and its hash.

    Raises:
        DecisionError: There is no readable document at the path.
        DecisionMismatch: The document was altered, or has another schema.
    """
    try:
        decision = read_json(path)
    except (OSError, ValueError) as error:
        raise DecisionError(f"{path}: no readable decision document ({error})") from error
    if decision.get("schema") != SCHEMA:
        raise DecisionMismatch(
            f"{path}: schema {decision.get('schema')!r}, this version reads {SCHEMA!r}; evaluate the model again"
        )
    if decision.get("hash") != content_hash(decision):
        raise DecisionMismatch(f"{path}: the document does not match its hash; it was altered after the evaluation")
    return decision


def reasons(decision: Mapping[str, Any]) -> list[str]:
    """One line for each gate that did not pass."""
    failed = (gate for gate in decision["gates"] if gate["status"] not in PASSING)
    return [f"{gate['name']}: {gate['status']} (value {gate['value']}, rule: {gate['rule']})" for gate in failed]


def require_accepted(decision: Mapping[str, Any], model_folder: Path) -> None:
    """Raise unless the document is an accepted decision about exactly this model folder.

    Raises:
        DecisionMismatch: The document was altered, or is about another model folder.
        DecisionRejected: The document says rejected, or one of its gates did not pass.
        ModelFolderError: The model folder has no readable manifest.

    Example: a document that says accepted although a gate failed is refused before any file is read.

        >>> gate = {"name": "relevance", "value": 0.4, "rule": "at least 0.9", "status": "fail"}
        >>> forged = {"accepted": True, "gates": [gate]}
        >>> require_accepted(forged | {"hash": content_hash(forged)}, Path("model"))
        Traceback (most recent call last):
        ...
        fairtag.base.errors.DecisionRejected: the decision is rejected: relevance: fail (value 0.4, rule: at least 0.9)
    """
    if decision.get("hash") != content_hash(decision):
        raise DecisionMismatch("the decision document does not match its hash; it was altered after the evaluation")
    failed = reasons(decision)
    if not decision["accepted"] or failed:
        raise DecisionRejected(f"the decision is rejected: {'; '.join(failed) or 'the document says so'}")
    digest = read_manifest(model_folder)["digest"]
    if decision["challenger"]["model_digest"] != digest:
        raise DecisionMismatch(
            f"the decision is about model folder {decision['challenger']['model_digest'][:12]}, "
            f"{model_folder} is {digest[:12]}"
        )
