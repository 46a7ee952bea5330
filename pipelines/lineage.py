"""Shows and checks where each registered and each live model comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from components.adapters.mlflow import DATA_FINGERPRINT, DECISION_HASH, REPLACED, RUN, Registry
from fairtag.base.errors import DecisionMismatch, DecisionRejected
from fairtag.model.decision import content_hash, reasons

FACTS = ("model-version", "model-digest", "data-fingerprint", "decision-hash", "run")


def registered(registry: Registry) -> list[dict[str, str]]:
    """The registered versions, newest first, each with its alias and where it comes from."""
    holders = {"champion": registry.champion(), "challenger": registry.challenger()}
    return [
        {
            "version": version.number,
            "alias": ", ".join(name for name, holder in holders.items() if holder and holder.number == version.number),
            "model-digest": version.model_digest,
            "data-fingerprint": version.lineage.get(DATA_FINGERPRINT, ""),
            "decision-hash": version.lineage.get(DECISION_HASH, ""),
            "replaced": version.lineage.get(REPLACED, ""),
            "run": version.lineage.get(RUN, ""),
        }
        for version in registry.versions()
    ]


def show(models: list[dict[str, str]], console: Console) -> None:
    """Print one fact a line, so that an address can be copied, whatever the width of the terminal."""
    if not models:
        console.print("no model is registered")
    width = max((len(name) for model in models for name in model), default=0) + 2
    for number, model in enumerate(models):
        if number:
            console.print()
        for name, value in model.items():
            if value:
                text = f"{value} %" if name == "traffic" else value
                console.print(f"{name:<{width}}{text}", highlight=False, markup=False, soft_wrap=True)


def registered_facts(registry: Registry, storage_uri: str) -> dict[str, str]:
    """Lineage of a stored model folder from the registry, which holds only accepted models.

    Raises:
        DecisionMismatch: No registered version is that model folder.
    """
    number = _version(storage_uri)
    for version in registry.versions():
        if version.model_digest.startswith(number) and number:
            noted = version.lineage
            return _facts(version.model_digest, noted[DATA_FINGERPRINT], noted[DECISION_HASH], noted.get(RUN, ""))
    raise DecisionMismatch(
        f"{storage_uri}: no registered version has that model folder; only a registered, accepted one may go live"
    )


def champion_follows(registry: Registry, storage_uri: str) -> str:
    """Make the live model champion, which the next challenger is compared with; returns what was done."""
    number = _version(storage_uri)
    for version in registry.versions():
        if number and version.model_digest.startswith(number):
            return f"version {registry.promote(version.number).number} is champion"
    return f"{storage_uri} is not registered, so the champion stays as it is"


def decided_facts(decision: Mapping[str, Any], storage_uri: str) -> dict[str, str]:
    """Lineage of a stored model folder from the decision about it.

    Raises:
        DecisionRejected: The decision says rejected.
        DecisionMismatch: The decision was altered, or is about another model folder.
    """
    if decision.get("hash") != content_hash(decision):
        raise DecisionMismatch("the decision document does not match its hash; it was altered after the evaluation")
    if not decision["accepted"] or reasons(decision):
        raise DecisionRejected(f"the decision is rejected: {'; '.join(reasons(decision)) or 'it says so'}")
    digest = decision["challenger"]["model_digest"]
    if not _version(storage_uri) or not digest.startswith(_version(storage_uri)):
        raise DecisionMismatch(f"the decision is about model folder {digest[:12]}, {storage_uri} is another")
    return _facts(digest, decision["data_fingerprint"], decision["hash"], "")


def _version(storage_uri: str) -> str:
    return storage_uri.rstrip("/").rpartition("/")[2]


def _facts(digest: str, data: str, decision: str, run: str) -> dict[str, str]:
    return dict(zip(FACTS, (digest[:12], digest, data, decision, run), strict=True))
