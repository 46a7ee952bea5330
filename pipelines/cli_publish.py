"""``fairtag publish``: a shop's own files go where the monitors of a cluster read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fairtag.base.errors import ConfigError
from pipelines.cli_cluster import PANEL

console = Console()


def publish(
    data: Annotated[Path, typer.Argument(help="Folder of your tables, or a file of outcomes.", metavar="DATA")],
    dataset: Annotated[str, typer.Option(help="How the tables are written: csv or parquet.")] = "csv",
    tables: Annotated[str, typer.Option(help="Folder or URL for items and orders, which the stock job reads.")] = "",
    audit: Annotated[str, typer.Option(help="Folder or URL for audit groups, which the fairness job reads.")] = "",
    outcomes: Annotated[str, typer.Option(help="Folder or URL for outcomes, which the performance job reads.")] = "",
) -> None:
    """Check your own files and publish what the monitors of a cluster read; the pipeline does the same on each run.

    The object store's key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, its address from AWS_ENDPOINT_URL.
    """
    from components.adapters import monitor_inputs
    from fairtag.base import schema
    from fairtag.base.tables import Tables, coerce
    from fairtag.data import load

    if not (tables or audit or outcomes):
        raise ConfigError("nothing is published: name an address with --tables, --audit or --outcomes")
    if tables or audit:
        raw = load(dataset, data)
        shop = Tables(
            **{name: coerce(frame, schema.table(name)) for name, frame in raw.frames().items()}, metadata=raw.metadata
        )
        if tables:
            _said(monitor_inputs.publish_tables(shop, tables), "rows of items and orders", tables)
        if audit:
            _said(monitor_inputs.publish_audit_groups(shop, audit), "audit groups", audit)
    if outcomes:
        rows = monitor_inputs.publish_outcomes(monitor_inputs.read_outcomes(data), outcomes)
        _said(rows, "outcomes", outcomes)


def _said(rows: int, what: str, address: str) -> None:
    console.print(f"{rows:,} {what} to {address}", highlight=False, soft_wrap=True)


def add_publish(app: typer.Typer) -> None:
    """Put the command on a command line."""
    app.command(rich_help_panel=PANEL)(publish)
