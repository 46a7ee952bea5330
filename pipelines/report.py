"""The end of a run on the screen: what was validated, learnt, decided, priced and found. Computes no figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from fairtag.base import schema
from fairtag.base.files import read_json
from pipelines.display import gates_table, monitoring_table, page_table, training_table, validation_table
from pipelines.loop import LoopReport
from pipelines.settings import RunLayout


def show_run(layout: RunLayout, report: LoopReport, console: Console) -> None:
    """Everything, in the order of the loop."""
    if report.again:
        console.print("data, code and settings are those of the finished run: it was not run again (--force does)")
    show_pipeline(layout, console)
    console.print(page_table(report.request, report.page, _titles(layout)))
    console.print(monitoring_table(report.verdicts))
    if note := _provenance(layout):
        console.print(f"[dim]{note}[/]")
    show_links(layout, console)


def show_trained(layout: RunLayout, console: Console) -> None:
    """What there is to see of a run that ended before an endpoint was asked."""
    show_pipeline(layout, console)
    show_links(layout, console)


def show_pipeline(layout: RunLayout, console: Console) -> None:
    """What the pipeline's steps left: validation, training, decision."""
    if (found := layout.root / "validation" / "report.json").is_file():
        console.print(validation_table(read_json(found)))
    if (found := layout.root / "training_report.json").is_file():
        console.print(training_table(read_json(found)))
    if layout.decision.is_file():
        console.print(gates_table(read_json(layout.decision)))


def show_links(layout: RunLayout, console: Console) -> None:
    """Where the pages are that a person reads."""
    pages: Sequence[tuple[str, Path]] = (
        ("validation", layout.root / "validation.html"),
        ("data docs", layout.root / "validation" / "docs" / "index.html"),
        ("decision", layout.root / "DECISION.html"),
        *((page.stem, page) for page in sorted(layout.reports.glob("**/*.html"))),
        ("log", layout.root / "pipeline.log"),
    )
    for name, page in pages:
        if page.is_file():
            console.print(f"{name:>14}  {page}", highlight=False, soft_wrap=True)


def _titles(layout: RunLayout) -> dict[str, str]:
    items = pd.read_parquet(layout.live / "catalogue.parquet", columns=[schema.ITEM_ID, schema.TITLE])
    return dict(zip(items[schema.ITEM_ID], items[schema.TITLE], strict=True))


def _provenance(layout: RunLayout) -> str:
    """What of the data was derived or simulated: each note once, with the tables that it is about."""
    tables: dict[str, list[str]] = {}
    for table, what in read_json(layout.tables / "metadata.json").get("provenance", {}).items():
        if what != "recorded":
            tables.setdefault(what, []).append(table)
    return "; ".join(f"{', '.join(names)}: {what}" for what, names in tables.items())
