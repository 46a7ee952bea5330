"""The decision document: may this model be registered, deployed and served, and what may it do?

It accepts capabilities one by one (:mod:`fairtag.model.capabilities`): a model may serve search while its prices stay
at list, and the document says what would be needed for more.

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
from fairtag.model.capabilities import CAPABILITIES, PASSING, SEARCH, accepted_by, capability_of
from fairtag.model.manifest import DECISION, read_manifest
from fairtag.model.signature import SIGNATURE, TrustedKeys, require_signature

SCHEMA = "fairtag.decision/3"
GateStatus = Literal["pass", "fail", "could not tell", "not applicable"]


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
        needs: What would let the gate pass, in words: how many more products, pages or purchases. Empty where it
            passes.
    """

    name: str
    value: float | None
    rule: str
    status: GateStatus
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    needs: str = ""


def make_decision(
    *,
    challenger: Mapping[str, str],
    champion: Mapping[str, str] | None,
    data_fingerprint: str,
    gates: Sequence[GateResult],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the document: accepted if every gate of search passes, with a hash over all of it.

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
    accepted = accepted_by({gate.name: gate.status for gate in gates})
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "accepted": SEARCH in accepted,
        "capabilities": _capabilities(gates, accepted),
        "challenger": dict(challenger),
        "champion": dict(champion) if champion else None,
        "data_fingerprint": data_fingerprint,
        "gates": [asdict(gate) for gate in gates],
        "metrics": dict(metrics),
    }
    return {**body, "hash": content_hash(body)}


def _capabilities(gates: Sequence[GateResult], accepted: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Each capability with its outcome, the gates that stand against it, and what would be needed."""
    found: dict[str, dict[str, Any]] = {}
    for capability in CAPABILITIES:
        failed = [g for g in gates if capability_of(g.name) == capability.name and g.status not in PASSING]
        needs = [gate.needs for gate in failed if gate.needs]
        if capability.rests_on and capability.rests_on not in accepted:
            needs.append(f"{capability.rests_on.replace('_', ' ')} to be accepted first")
        found[capability.name] = {
            "accepted": capability.name in accepted,
            "title": capability.title,
            "failed": [gate.name for gate in failed],
            "needs": list(dict.fromkeys(needs)),
        }
    return found


def capability_rows(decision: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and outcome of each capability, from the first rung to the last."""
    return [(each.name, decision["capabilities"][each.name]) for each in CAPABILITIES]


def accepted_capabilities(decision: Mapping[str, Any]) -> frozenset[str]:
    """The capabilities that a document accepts, by its gates: a line that says more than they do counts for nothing."""
    by_gates = accepted_by({gate["name"]: gate["status"] for gate in decision["gates"]})
    said = decision.get("capabilities", {})
    return frozenset(name for name in by_gates if said.get(name, {}).get("accepted") is True)


def content_hash(decision: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of everything in the document except its own hash and the signature over it."""
    return sha256_text(canonical_json({k: v for k, v in decision.items() if k not in ("hash", SIGNATURE)}))


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
    """One line for each gate that refuses the model: those of search that did not pass."""
    failed = (
        gate for gate in decision["gates"] if gate["status"] not in PASSING and capability_of(gate["name"]) == SEARCH
    )
    return [f"{gate['name']}: {gate['status']} (value {gate['value']}, rule: {gate['rule']})" for gate in failed]


def require_accepted(decision: Mapping[str, Any], model_folder: Path, trusted: TrustedKeys | None = None) -> None:
    """Raise unless the document is an accepted decision about exactly this model folder.

    Args:
        decision: The document.
        model_folder: The model folder.
        trusted: Keys one of which must have signed the document; None asks for no signature.

    Raises:
        DecisionMismatch: The document was altered, is about another model folder, or no trusted key signed it.
        DecisionRejected: The document says rejected, or a gate of search did not pass.
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


def keep_decision(decision: Mapping[str, Any], model_folder: Path) -> Path:
    """Put an accepted decision into the model folder that it is about, so that it travels with it to the endpoint.

    Raises:
        DecisionRejected, DecisionMismatch: As :func:`require_accepted`.
    """
    require_accepted(decision, model_folder)
    return write_decision(model_folder / DECISION, decision)


def decision_of(model_folder: Path) -> dict[str, Any] | None:
    """The decision that lies in a model folder; None where there is none, as before the evaluation.

    Raises:
        DecisionRejected, DecisionMismatch: It does not accept exactly this model folder.
    """
    if not (model_folder / DECISION).is_file():
        return None
    decision = read_decision(model_folder / DECISION)
    require_accepted(decision, model_folder)
    return decision


def required_decision(model_folder: Path, path: Path | None, trusted: TrustedKeys | None) -> dict[str, Any]:
    """The decision with which an endpoint may serve a model folder: the one at the path, by default the one in it.

    Raises:
        DecisionError: There is no readable document.
        DecisionRejected, DecisionMismatch: As :func:`require_accepted`.
        ModelFolderMissing: There is no model folder.
    """
    read_manifest(model_folder)
    if path is None and not (model_folder / DECISION).is_file():
        raise DecisionError(
            f"{model_folder}: no decision about this model (it has no {DECISION}), and only an accepted model is "
            "served; `fairtag run` and the deploy step put it there"
        )
    decision = read_decision(path or model_folder / DECISION)
    require_accepted(decision, model_folder, trusted)
    return decision
