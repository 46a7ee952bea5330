"""The decision document: may this model be registered, deployed and served?

The document alone carries the safety property, in every mode of running: whatever moves a model calls
:func:`require_accepted` with the model folder in hand, and the digests decide.
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
    """One condition a challenger must meet.

    Args:
        name: What is judged.
        value: The measured figure, None when it could not be measured.
        rule: The condition in words, with its thresholds.
        status: ``could not tell`` never passes; ``not applicable`` passes and its note says why.
        threshold: The figure the value is held against.
        low: Lower end of the value's interval.
        high: Upper end of the value's interval.
        note: What a reader must know about this figure.
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
    """Build the document; it is accepted when every gate passes, and its hash covers all of it.

    Args:
        challenger: ``version`` and ``model_digest`` of the model on trial.
        champion: The same of the model it was held against, None when there is none yet.
        data_fingerprint: Fingerprint of the tables both were scored on.
        gates: At least one.
        metrics: Figures of challenger and champion for the report; JSON values.

    Raises:
        DecisionError: No gates were measured; an unmeasured model is not accepted by silence.
    """
    if not gates:
        raise DecisionError("a decision needs at least one gate; none was measured")
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
    """Hex SHA-256 over everything in the document but its own hash."""
    return sha256_text(canonical_json({key: value for key, value in decision.items() if key != "hash"}))


def write_decision(path: Path, decision: Mapping[str, Any]) -> Path:
    """Write the document atomically."""
    return write_json(path, dict(decision))


def read_decision(path: Path) -> dict[str, Any]:
    """Read a document and check its hash and its schema.

    Raises:
        DecisionError: There is no readable document at the path.
        DecisionMismatch: The document was altered, or is of another schema.
    """
    try:
        decision = read_json(path)
    except (OSError, ValueError) as error:
        raise DecisionError(f"{path}: no readable decision document ({error})") from error
    if decision.get("schema") != SCHEMA:
        raise DecisionMismatch(f"{path}: schema {decision.get('schema')!r}, this code reads {SCHEMA!r}")
    if decision.get("hash") != content_hash(decision):
        raise DecisionMismatch(f"{path}: the document does not match its hash; it was altered after the evaluation")
    return decision


def reasons(decision: Mapping[str, Any]) -> list[str]:
    """One line for each gate that did not pass."""
    failed = (gate for gate in decision["gates"] if gate["status"] not in PASSING)
    return [f"{gate['name']}: {gate['status']} (value {gate['value']}, rule: {gate['rule']})" for gate in failed]


def require_accepted(decision: Mapping[str, Any], model_folder: Path) -> None:
    """Refuse anything but an accepted decision about exactly this model folder.

    Raises:
        DecisionMismatch: The document was altered, or speaks of another model folder.
        DecisionRejected: The document says rejected, or a gate in it did not pass.
        ModelFolderError: The model folder has no readable manifest.
    """
    if decision.get("hash") != content_hash(decision):
        raise DecisionMismatch("the decision document does not match its hash; it was altered after the evaluation")
    failed = reasons(decision)
    if not decision["accepted"] or failed:
        raise DecisionRejected(f"the decision is rejected: {'; '.join(failed) or 'it says so'}")
    digest = read_manifest(model_folder)["digest"]
    if decision["challenger"]["model_digest"] != digest:
        raise DecisionMismatch(
            f"the decision is about model folder {decision['challenger']['model_digest'][:12]}, "
            f"{model_folder} is {digest[:12]}"
        )
