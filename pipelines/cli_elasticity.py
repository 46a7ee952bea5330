"""``fairtag elasticity``: the own-price elasticity of any table of sales, by three estimators side by side."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fairtag.base.errors import MissingDataError
from fairtag.demand import Panel, PanelElasticity, compare_elasticities

console = Console()


def elasticity(
    data: Annotated[Path, typer.Option(help="CSV or Parquet file, one row for each price and quantity.")],
    price: Annotated[str, typer.Option(help="Column of the price.")] = "price",
    quantity: Annotated[str, typer.Option(help="Column of the quantity.")] = "quantity",
    effects: Annotated[
        str, typer.Option(help="Columns with a fixed effect for each value, by comma; a*b for each pair of values.")
    ] = "",
    covariates: Annotated[str, typer.Option(help="Columns that shift demand, by comma: display, feature, deal.")] = "",
    instruments: Annotated[str, typer.Option(help="Columns that shift the price alone, by comma: cost.")] = "",
    weight: Annotated[str | None, typer.Option(help="Column of weights.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column within which errors may be correlated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Estimate an own-price elasticity by log-log regression, control function and double machine learning.

    Intervals are 95 %, errors clustered; F is that of the instruments in the first stage.
    """
    panel = Panel.of(
        _read(data),
        price=price,
        quantity=quantity,
        effects=_listed(effects),
        covariates=_listed(covariates),
        instruments=_listed(instruments),
        weight=weight,
        cluster=cluster,
    )
    found = compare_elasticities(panel)
    if as_json:
        typer.echo(json.dumps([_plain(each) for each in found], indent=2))
        return
    show(found, panel.left_out)


def show(found: tuple[PanelElasticity, ...], left_out: dict[str, int]) -> None:
    """Print the estimates as a table, and what was left out."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("estimator", "elasticity", "95 % interval", "first-stage F", "note"):
        table.add_column(column, justify="left" if column in ("estimator", "note") else "right")
    for each in found:
        interval = f"{each.low:.3f} to {each.high:.3f}"
        first = "" if math.isnan(each.first_stage_f) else f"{each.first_stage_f:,.1f}"
        known = not math.isnan(each.elasticity)
        table.add_row(
            each.method, f"{each.elasticity:.3f}" if known else "", interval if known else "", first, each.note
        )
    console.print(table)
    console.print(f"{found[0].rows:,} rows in {found[0].clusters:,} clusters", highlight=False)
    for why, count in left_out.items():
        if count:
            console.print(f"{count:,} rows left out: {why}", highlight=False)


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise MissingDataError(f"{file}: there is no such file; name a CSV or Parquet file with --data")
    return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _plain(each: PanelElasticity) -> dict[str, object]:
    return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(each).items()}


def add_command(app: typer.Typer) -> None:
    """Add ``fairtag elasticity``."""
    app.command()(elasticity)
