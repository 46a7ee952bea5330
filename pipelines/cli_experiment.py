"""``fairtag experiment``: plans live tests of new prices, reads them and stops them."""

from __future__ import annotations

import getpass
import json
import math
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fairtag.base.errors import ConfigError
from pipelines.api_key import Key, KeyFile, read_key
from pipelines.cli_stop import follow, show_change
from pipelines.policy_store import Run, Store, policy_store
from pipelines.run_folder import RunFolder
from pipelines.traffic import OUTCOMES

if TYPE_CHECKING:
    import pandas as pd

    from fairtag.evaluation.experiment_plan import Sampled
    from fairtag.evaluation.experiment_report import ExperimentReport

console = Console()
app = typer.Typer(no_args_is_help=True)


@app.callback()
def experiment() -> None:
    """Plan, read and stop live tests of new prices."""


@app.command()
def plan(
    run: Annotated[
        Path, typer.Argument(help="Run whose log of pages stands for the shop's traffic.", metavar="RUN")
    ] = Path("runs/demo"),
    gain: Annotated[float, typer.Option(help="Gain to be seen, as a share of what a customer earns the shop.")] = 0.05,
    share: Annotated[float, typer.Option(help="Share of the customers who see the new prices.")] = 0.5,
    power: Annotated[float, typer.Option(help="Probability of seeing the gain.")] = 0.8,
    window: Annotated[float, typer.Option(help="Days from a customer's first page that count.")] = 7.0,
    sampled: Annotated[
        str,
        typer.Option(
            help="Of what the log is a sample, where its pages have weights: `pages` or `customers`, each kept with a "
            "chance of one over its weight; `counts`: of nothing, a page is that many visits."
        ),
    ] = "pages",
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

    tables = read_tables(RunFolder(run.absolute()).tables)
    if tables.impressions is None or tables.impressions.empty:
        raise DataError(f"{run}: no table impressions, so nothing is known of the traffic; log pages first")
    cost = tables.latest_items().set_index(schema.ITEM_ID)[schema.UNIT_COST]
    traffic = traffic_of(tables.impressions, cost, window, cast("Sampled", sampled))
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


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run whose endpoint assigns the arms.", metavar="RUN")] = Path(
        "runs/demo"
    ),
    name: Annotated[str, typer.Option(help="Only this experiment; all by default.")] = "",
    quotes: Annotated[
        str | None, typer.Option(help="Quote log instead of the run's: a folder or an fsspec URL.", metavar="URL")
    ] = None,
    outcomes: Annotated[
        str | None, typer.Option(help="Outcomes instead of the run's: a folder or an fsspec URL.", metavar="URL")
    ] = None,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read experiments from the quote log and the outcomes: what each arm earned, and whether to go on.

    The test may be read at any time, every day: its confidence holds over all looks together.
    """
    from fairtag.evaluation.experiment_log import ExperimentLog
    from fairtag.evaluation.experiment_report import report_experiment
    from fairtag.policy.experiments import declared

    folder, now = RunFolder(run.absolute()), datetime.now(UTC)
    history = policy_store(None if store else run, store).history()
    found = declared([each for version in history for each in version.policy.experiments], name)
    log = ExperimentLog(quotes or str(folder.serving / "quotes"), outcomes or str(folder.serving / OUTCOMES))
    groups, names = audit_groups(folder), customer_names(folder)
    reports = [report_experiment(each, log.read(each.name), now=now, groups=groups, names=names) for each in found]
    if as_json:
        print(json.dumps([each.to_json() for each in reports], indent=2))
        return
    for each in reports:
        show_report(each)


def customer_names(folder: RunFolder) -> dict[str, str] | None:
    """Names of the run's customers under each user key, for a test during which it changed; None under one key."""
    from fairtag.base import schema
    from fairtag.base.pseudonym import read_secrets
    from fairtag.base.tables import read_tables
    from fairtag.evaluation.experiment_customers import known_keys

    key = folder.serving / "secrets" / "user_key"
    keys = read_secrets(key) if key.is_file() else ()
    if len(keys) < 2 or not (folder.tables / "metadata.json").is_file():
        return None
    tables = read_tables(folder.tables)
    ids = {name for table in (tables.users, tables.orders, tables.impressions) for name in table[schema.USER_ID]}
    return known_keys(map(str, ids), keys)


def audit_groups(folder: RunFolder) -> pd.DataFrame | None:
    """The run's audit table under the endpoint's pseudonyms; None where there is none, or no key of them."""
    from fairtag.base.tables import read_tables
    from monitoring.jobs.fairness import read_groups

    table, key = folder.tables / "audit_groups.parquet", folder.serving / "secrets" / "user_key"
    if not table.is_file() or not key.is_file() or read_tables(folder.tables).audit_groups is None:
        return None
    return read_groups(table, key, crossed=1)


def show_report(report: ExperimentReport) -> None:
    """Print a report."""
    console.print(f"{report.name}: {report.verdict}", style="bold", highlight=False)
    console.print(report.words, highlight=False, soft_wrap=True)
    audited = any(arm.gap_group for arm in report.arms)
    table = Table("arm", "customers", "counted", "profit", "95 % interval", "buy", "of list", box=SIMPLE_HEAD)
    if audited:
        table.add_column("widest gap")
    for arm in report.arms:
        table.add_row(
            arm.arm,
            f"{arm.customers:,}",
            f"{arm.whole:,}",
            f"{arm.profit:.2f}" if arm.whole else "-",
            f"{arm.low:.2f} to {arm.high:.2f}" if arm.whole > 1 else "-",
            f"{arm.conversion:.1%}" if arm.whole else "-",
            f"{arm.price:.1%}" if arm.pages else "-",
            *([f"{arm.gap:+.2%} {arm.gap_group}" if arm.gap_group else "-"] if audited else []),
        )
    console.print(table)
    split = report.split
    notes = [f"split: p = {split.p_value:.3f} at this look, {'broken' if split.broken else 'as planned'}"]
    notes += [report.guests] if report.guests else []
    notes += report.uncounted.words
    if report.moved:
        notes.append(f"{report.moved:,} customers were seen in two arms and count in the first")
    notes += [f"not readable: {file}" for file in report.unreadable]
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="Name of the experiment.")],
    run: Run = None,
    why: Annotated[str, typer.Option(help="Why, in words; it is kept with the change.")] = "",
    who: Annotated[str, typer.Option(help="Who makes the change; your login by default.")] = "",
    store: Store = None,
    url: Annotated[str | None, typer.Option(help="Endpoint to wait for, until it follows the change.")] = None,
    api_key: Key = None,
    key_file: KeyFile = None,
) -> None:
    """Stop an experiment: from now on nobody is in an arm. `fairtag stop --undo` lets it go on with the same arms.

    Prices that were shown today stay for the price day. A stop asks for nobody's approval.
    """
    from fairtag.policy.experiments import stopped

    versions = policy_store(run, store)
    if not why:
        raise ConfigError("--why is missing; say in words why, for those who read the result")
    current = versions.current().policy
    after = current.changed(experiments=stopped(current.experiments, name))
    change = versions.change(after, who=who or getpass.getuser(), why=why)
    show_change(change, change.difference, versions.missed)
    follow(url, read_key(key_file, api_key), change.version)
