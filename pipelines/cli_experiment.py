"""``fairtag experiment``: how many customers and days a live test of new prices needs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

console = Console()
app = typer.Typer(no_args_is_help=True)


@app.callback()
def experiment() -> None:
    """Plan live tests of new prices."""


@app.command()
def plan(
    run: Annotated[
        Path, typer.Argument(help="Run whose log of pages stands for the shop's traffic.", metavar="RUN")
    ] = Path("runs/demo"),
    gain: Annotated[float, typer.Option(help="Gain to be seen, as a share of what a customer earns the shop.")] = 0.05,
    share: Annotated[float, typer.Option(help="Share of the customers who see the new prices.")] = 0.5,
    power: Annotated[float, typer.Option(help="Probability of seeing the gain.")] = 0.8,
    window: Annotated[float, typer.Option(help="Days from a customer's first page that count.")] = 7.0,
    days: Annotated[float, typer.Option(help="Days at hand: the smallest gain that they show is printed.")] = 28.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the customers and days that a test needs, and the gain that the days at hand would show.

    The customer is the unit, so pages of one customer do not count as independent.
    """
    from fairtag.base import schema
    from fairtag.base.errors import DataError
    from fairtag.base.tables import read_tables
    from fairtag.evaluation.experiment_plan import detectable_gain, traffic_of
    from fairtag.evaluation.experiment_plan import plan as planned
    from pipelines.run_folder import RunFolder

    tables = read_tables(RunFolder(run.absolute()).tables)
    if tables.impressions is None or tables.impressions.empty:
        raise DataError(f"{run}: no table impressions, so nothing is known of the traffic; log pages first")
    cost = tables.latest_items().set_index(schema.ITEM_ID)[schema.UNIT_COST]
    traffic = traffic_of(tables.impressions, cost, window)
    found = planned(traffic, gain, share=share, power=power)
    smallest = detectable_gain(traffic, days, share=share, power=power)
    if as_json:
        figures = {**asdict(found), "detectable_gain": smallest, "days_at_hand": days}
        console.print_json(json.dumps({k: v if math.isfinite(v) else None for k, v in figures.items()}))
        return
    enough = f"{found.days:,.0f}" if math.isfinite(found.days) else "never: too few new customers come"
    shown = f"{smallest:.1%}" if math.isfinite(smallest) else "none"
    table = Table(box=SIMPLE_HEAD, show_header=False)
    for row in (
        (
            "earned from a customer",
            f"{traffic.mean:.2f} in {window:g} days, standard deviation {traffic.deviation:.2f}",
        ),
        ("customers for one look at the end", f"{found.fixed:,}"),
        ("customers for a look every day", f"{found.sequential:,}"),
        ("days of this shop's traffic", enough),
        ("scale of the deciding metric", f"{found.effect:.4g}"),
        (f"smallest gain that {days:g} days show", shown),
    ):
        table.add_row(*row)
    console.print(f"A gain of {gain:.1%}, seen with {power:.0%} power, {share:.0%} of the customers treated:")
    console.print(table)
