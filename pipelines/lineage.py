"""Shows and checks where each registered and each live model comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from components.adapters.inference_service import PREFIX
from components.adapters.mlflow import DATA_FINGERPRINT, DECISION_HASH, REPLACED, RUN, Registry
from fairtag.base.errors import DecisionMismatch, DecisionRejected
from fairtag.model.decision import content_hash, reasons

FACTS = ("model-version", "model-digest", "data-fingerprint", "decision-hash", "run")


def show_versions(registry: Registry, console: Console) -> None:
    """Print one row for each version, newest first."""
    champion, challenger = registry.champion(), registry.challenger()
    table = Table(title="Registered models", title_justify="left")
    for heading in ("version", "alias", "model folder", "data", "decision", "replaced", "run"):
        table.add_column(heading, overflow="fold")
    for version in registry.versions():
        aliases = [
            name
            for name, holder in (("champion", champion), ("challenger", challenger))
            if holder is not None and holder.number == version.number
        ]
        tags = (version.lineage.get(name, "")[:12] for name in (DATA_FINGERPRINT, DECISION_HASH, REPLACED))
        table.add_row(
            version.number, ", ".join(aliases), version.model_digest[:12], *tags, version.lineage.get(RUN, "")
        )
    console.print(table)


def show_live(models: list[dict[str, str]], console: Console) -> None:
    """Print what serves now, as its deployment recorded it on the service."""
    table = Table(title="Live models", title_justify="left")
    for heading in ("role", "traffic", *FACTS, "storage-uri"):
        table.add_column(heading, overflow="fold")
    for model in models:
        facts = (model.get(name, "")[:12] if name != "run" else model.get(name, "") for name in FACTS)
        table.add_row(model["role"], f"{model['traffic']} %", *facts, model["storage-uri"])
    console.print(table)


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
    return {PREFIX + name: value for name, value in zip(FACTS, (digest[:12], digest, data, decision, run), strict=True)}
