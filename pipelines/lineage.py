"""Where each registered model comes from, as a table. Reads the registry and changes nothing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from components.adapters.mlflow import DATA_FINGERPRINT, DECISION_HASH, REPLACED, RUN, Registry


def show_versions(registry: Registry, console: Console) -> None:
    """One row a version, newest first."""
    champion, challenger = registry.champion(), registry.challenger()
    table = Table(title="Registered models", title_justify="left")
    for heading in ("version", "alias", "bundle", "data", "decision", "replaced", "run"):
        table.add_column(heading, overflow="fold")
    for version in registry.versions():
        aliases = [
            name
            for name, holder in (("champion", champion), ("challenger", challenger))
            if holder is not None and holder.number == version.number
        ]
        tags = (version.lineage.get(name, "")[:12] for name in (DATA_FINGERPRINT, DECISION_HASH, REPLACED))
        table.add_row(
            version.number, ", ".join(aliases), version.bundle_digest[:12], *tags, version.lineage.get(RUN, "")
        )
    console.print(table)
