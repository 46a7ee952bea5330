"""The decision document: may this model be registered, deployed and served?

Every step that moves a model calls :func:`require_accepted` with the document and the model folder. The document alone
carries this safety property, however the pipeline is run. The decision travels with the model folder
(:func:`enclose_decision`), so that an endpoint finds it wherever the folder is copied to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fairtag.base.errors import DecisionError, DecisionMismatch, DecisionRejected
from fairtag.base.files import canonical_json, read_json, sha256_text, write_json
from fairtag.model.manifest import DECISION, read_manifest
from fairtag.model.signature import SIGNATURE, TrustedKeys, require_signature

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
    """SHA-256 (hex) of everything in the document except its own hash and the signature over it."""
    return sha256_text(canonical_json({k: v for k, v in decision.items() if k not in ("hash", SIGNATURE)}))


def write_decision(path: Path, decision: Mapping[str, Any]) -> Path:
    """Write the document atomically."""
    return write_json(path, dict(decision))


def enclose_decision(model_folder: Path, decision: Mapping[str, Any]) -> Path:
    """Write the document into the model folder that it is about; the manifest does not list it.

    Raises:
        DecisionMismatch: The document was altered, or is about another model folder.
        DecisionRejected: The document says rejected, or one of its gates did not pass.
    """
    require_accepted(decision, model_folder)
    return write_decision(model_folder / DECISION, decision)


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


def decision_about(model_folder: Path, path: Path | None = None) -> dict[str, Any]:
    """The document at the path, by default the one enclosed in the model folder.

    Raises:
        DecisionError: There is no readable document.
        DecisionMismatch: The document was altered, or has another schema.
        ModelFolderMissing: There is no model folder.
    """
    read_manifest(model_folder)
    if path is None and not (model_folder / DECISION).is_file():
        raise DecisionError(
            f"{model_folder}: no decision about this model (it has no {DECISION}), and only an accepted model is "
            "served; `fairtag run` and the deploy step enclose it"
        )
    return read_decision(path or model_folder / DECISION)


def reasons(decision: Mapping[str, Any]) -> list[str]:
    """One line for each gate that did not pass."""
    failed = (gate for gate in decision["gates"] if gate["status"] not in PASSING)
    return [f"{gate['name']}: {gate['status']} (value {gate['value']}, rule: {gate['rule']})" for gate in failed]


def require_accepted(decision: Mapping[str, Any], model_folder: Path, trusted: TrustedKeys | None = None) -> None:
    """Raise unless the document is an accepted decision about exactly this model folder.

    Args:
        decision: The document.
        model_folder: The model folder.
        trusted: Keys one of which must have signed the document; None asks for no signature.

    Raises:
        DecisionMismatch: The document was altered, is about another model folder, or no trusted key signed it.
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
    if trusted is not None:
        require_signature(decision, trusted)
    failed = reasons(decision)
    if not decision["accepted"] or failed:
        raise DecisionRejected(f"the decision is rejected: {'; '.join(failed) or 'the document says so'}")
    digest = read_manifest(model_folder)["digest"]
    if decision["challenger"]["model_digest"] != digest:
        raise DecisionMismatch(
            f"the decision is about model folder {decision['challenger']['model_digest'][:12]}, "
            f"{model_folder} is {digest[:12]}"
        )
