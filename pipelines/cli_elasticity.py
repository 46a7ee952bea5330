"""``fairtag elasticity``: the own-price elasticity of any table of sales, by three estimators side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pandas as pd
import pyarrow as pa
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fairtag.base.errors import ConfigError, DataError, MissingDataError
from fairtag.data.amounts import plain_numbers
from fairtag.data.csv_files import SEPARATORS
from fairtag.demand import ChoicePanel, NestedLogit, Panel, PanelElasticity, compare_elasticities, nested_logit

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
    nests: Annotated[
        str | None, typer.Option(help="Column of nests: adds a nested logit; needs --page and --outside.")
    ] = None,
    page: Annotated[str, typer.Option(help="Columns that name what competes, by comma: store,week.")] = "",
    outside: Annotated[
        str | None, typer.Option(help="Column of how often nothing on the page was bought.", metavar="COLUMN")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Estimate an own-price elasticity by log-log regression, control function and double machine learning.

    Intervals are 95 %, errors clustered; F is that of the instruments in the first stage. With --nests, a nested logit
    of the counts as well, tested against the plain one.
    """
    if nests and not (page and outside):
        raise ConfigError("elasticity: --nests needs --page, the columns that name a page, and --outside, its column")
    joint = [name for name in _listed(effects) if "*" in name]
    if nests and joint:
        raise ConfigError(
            f"elasticity: --effects {', '.join(joint)}: a nested logit takes no joint effects, whose levels are too "
            "many for it; name single columns, or leave --nests out"
        )
    numbers = [price, quantity, *_listed(covariates), *_listed(instruments), *filter(None, [weight, outside])]
    rows = _read(data, numbers)
    panel = Panel.of(
        rows,
        price=price,
        quantity=quantity,
        effects=_listed(effects),
        covariates=_listed(covariates),
        instruments=_listed(instruments),
        weight=weight,
        cluster=cluster,
    )
    found = compare_elasticities(panel)
    nested, left_out = None, 0
    if nests and outside:
        choices = ChoicePanel.of(
            rows,
            page=_listed(page),
            quantity=quantity,
            outside=outside,
            nests=nests,
            price=price,
            covariates=_listed(covariates),
            effects=_listed(effects),
            weight=weight,
            cluster=cluster,
        )
        nested, left_out = nested_logit(choices), choices.left_out
    if as_json:
        estimates: list[dict[str, object]] = [_plain(each) for each in found]
        typer.echo(json.dumps([*estimates, *([_nested(nested, left_out)] if nested else [])], indent=2))
        return
    show(found, panel.left_out, panel.notes)
    if nested:
        show_nested(nested, left_out)


def show(found: tuple[PanelElasticity, ...], left_out: dict[str, int], notes: tuple[str, ...]) -> None:
    """Print the estimates as a table, what was left out, and what to look at."""
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
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def show_nested(found: NestedLogit, left_out: int) -> None:
    """Print a nested logit, and what the plain one says to it."""
    (value, low, high), (zeta, zeta_low, zeta_high) = found.elasticity, found.dissimilarity
    lines = [
        f"nested logit: elasticity {value:.3f}, {low:.3f} to {high:.3f}; dissimilarity {zeta:.3f}, {zeta_low:.3f} to "
        f"{zeta_high:.3f} (1 is the plain logit)",
        f"likelihood ratio against the plain logit: {found.ratio.statistic:.2f}, p = {found.ratio.p_value:.2g}",
    ]
    if not math.isnan(found.independence.statistic):
        test = found.independence
        lines.append(
            f"plain logit with one alternative of each nest (Hausman and McFadden): {test.statistic:.2f} on "
            f"{test.freedom} degrees of freedom, p = {test.p_value:.2g}"
        )
    if left_out:
        lines.append(f"{left_out:,} rows without a positive price, or with an unknown value, are not among its choices")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _nested(found: NestedLogit, left_out: int) -> dict[str, object]:
    document = {"method": "nested logit", **asdict(found), "left_out": left_out}
    if math.isnan(found.independence.statistic):
        document["independence"] = None
    return document


def _read(file: Path, numbers: Sequence[str]) -> pd.DataFrame:
    if not file.is_file():
        raise MissingDataError(f"{file}: there is no such file; name a CSV or Parquet file with --data")
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        rows = pd.read_csv(file)
        if len(rows.columns) > 1 or not (mark := next((m for m in SEPARATORS if m in rows.columns[0]), None)):
            return rows
        rows = pd.read_csv(file, sep=mark, dtype=str)
    except (ValueError, OSError, pa.ArrowException, pd.errors.ParserError) as error:
        kind = "Parquet" if file.suffix == ".parquet" else "CSV in UTF-8"
        raise DataError(
            f"{file}: cannot be read as {kind} ({type(error).__name__}: {error}); export it anew"
        ) from error
    try:
        return plain_numbers(file, rows, numbers, None, mark)[0]
    except DataError as error:
        raise DataError(f"{error}; or, of a panel without one, write no sign between thousands") from error


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _plain(each: PanelElasticity) -> dict[str, object]:
    return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(each).items()}


def add_command(app: typer.Typer) -> None:
    """Add ``fairtag elasticity``."""
    app.command()(elasticity)
