"""Watches the priced quotes of a shop: drift, performance, price fairness, log quality, stock; and the retrain trigger.

Exit codes: 0 pass, 1 warn, 2 page, 3 could not tell. Whatever keeps a job from telling (a wrong option, a missing
model folder, an unexpected error) ends with 3 as well: no failure can be read as a verdict.
"""

# Parses, wires, calls; the clock and the environment are read here and nowhere else in the package.
from __future__ import annotations

import argparse
import re
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from fairtag.base.errors import ConfigError, FairtagError
from fairtag.base.types import Status, worst
from monitoring import runner
from monitoring.detect.window import Window
from monitoring.inputs import Inputs
from monitoring.job_report import JobReport, exit_code
from monitoring.report.exporter import write_rules
from monitoring.report.html_page import write_report
from monitoring.settings import read_settings
from monitoring.trigger.targets import target_of
from monitoring.trigger.trigger import Trigger
from monitoring.trigger.trigger_policy import read_policy

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.URGENT: "red", Status.UNKNOWN: "magenta"}


def parse_length(text: str) -> timedelta:
    """A length of time such as 90m, 24h, 7d or 2w.

    Raises:
        ConfigError: The text is no such length, or it is zero.
    """
    match = _LENGTH.fullmatch(text.strip())
    if match is None or float(match.group(1)) == 0:
        raise ConfigError(f"--window {text!r}: write a length such as 90m, 24h, 7d or 2w")
    return timedelta(**{_UNITS[match.group(2)]: float(match.group(1))})


def parse_time(text: str) -> datetime:
    """An ISO time; without a zone it is UTC.

    Raises:
        ConfigError: The text is no time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no ISO time such as 2026-11-22T16:00:00Z") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors end with 3: argparse's own 2 would read as a page."""

    def error(self, message: str) -> NoReturn:
        """Show the usage and the error, and exit."""
        self.print_usage(sys.stderr)
        self.exit(exit_code(Status.UNKNOWN), f"{self.prog}: {message}\n")


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="python -m monitoring", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="JOB", parser_class=Parser)
    for name, purpose in runner.PURPOSE.items():
        _job_options(commands.add_parser(name, help=purpose, description=purpose))
    purpose = "Start a training run when verdicts ask for it: once, with a cooldown, on the record."
    _trigger_options(commands.add_parser("trigger", help=purpose, description=purpose))
    purpose = "Write the Prometheus alert rules of every check."
    rules = commands.add_parser("rules", help=purpose, description=purpose)
    rules.add_argument("--out", required=True, type=Path, metavar="FILE", help="YAML file to write")
    return top


def _job_options(job: argparse.ArgumentParser) -> None:
    add = job.add_argument
    add("--quotes", required=True, metavar="URL", help="quote log: folder, file or fsspec URL")
    add("--model-folder", required=True, type=Path, help="model folder that the window is held against")
    add("--out", required=True, type=Path, help="folder for verdicts and reports")
    add(
        "--window", default="24h", metavar="LENGTH", help="length of the window: 90m, 24h, 7d, 2w (default %(default)s)"
    )
    add("--end", metavar="TIME", help="end of the window, ISO time (default now)")
    add("--outcomes", "--orders", metavar="URL", help="outcomes that the shop reported, like --quotes")
    add("--audit", type=Path, metavar="FILE", help="parquet file of audit groups, for fairness alone")
    add("--secret", type=Path, metavar="FILE", help="secret of the pseudonyms, as the endpoint has it")
    add("--tables", type=Path, metavar="DIR", help="folder of the shop's tables, for stock")
    add("--state", type=Path, metavar="DIR", help="memory of hourly runs; without it the window is judged as one look")
    add("--workspace", type=Path, metavar="DIR", help="Evidently workspace that keeps a snapshot of each run")
    add("--ledger", type=Path, metavar="DIR", help="folder of the trigger's ledger, shown on the report")
    add("--push", metavar="HOST:PORT", help="Prometheus push gateway")
    add("--settings", type=Path, metavar="FILE", help="YAML file of settings")
    add("--no-evidently", dest="evidently", action="store_false", help="make no Evidently reports")


def _trigger_options(job: argparse.ArgumentParser) -> None:
    add = job.add_argument
    add("--policy", required=True, type=Path, metavar="FILE", help="YAML file of the trigger policy")
    add("--out", required=True, type=Path, metavar="DIR", help="folder where the jobs wrote their verdicts")
    add("--ledger", required=True, type=Path, metavar="DIR", help="folder of the ledger, the lock and the evidence")
    add("--dry-run", action="store_true", help="decide and record, start nothing")


def inputs_of(options: argparse.Namespace, now: datetime) -> Inputs:
    """What the options mean."""
    until = parse_time(options.end) if options.end else now
    return Inputs(
        options.quotes,
        Window(until - parse_length(options.window), until, now),
        options.model_folder,
        options.out,
        read_settings(options.settings),
        outcomes=options.outcomes,
        audit=options.audit,
        secret=options.secret,
        tables=options.tables,
        state=options.state,
        workspace=options.workspace,
        evidently=options.evidently,
    )


def show(verdicts: tuple[JobReport, ...], console: Console) -> None:
    """Print each verdict: the status, then what did not pass."""
    for verdict in verdicts:
        colour = _COLOURS[verdict.status]
        console.print(f"[bold {colour}]{verdict.status.value.upper():8}[/] {verdict.job}", highlight=False)
        for check in verdict.failing:
            console.print(f"         [{_COLOURS[check.status]}]{check.status.value}[/] {check.name}: {check.summary}",
                          highlight=False, soft_wrap=True)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    options = parser().parse_args(arguments)
    now = datetime.now(UTC)
    try:
        if options.command == "rules":
            print(write_rules(options.out, read_settings().runbook))
            return exit_code(Status.PASS)
        return _trigger(options, now) if options.command == "trigger" else _jobs(options, now)
    except FairtagError as error:
        print(f"could not tell: {error}", file=sys.stderr)
    except Exception:  # an unexpected error must not end with 1, which would read as a warning
        traceback.print_exc()
    return exit_code(Status.UNKNOWN)


def _jobs(options: argparse.Namespace, now: datetime) -> int:
    inputs = inputs_of(options, now)
    names = runner.jobs_for(inputs) if options.command == "all" else (options.command,)
    verdicts = runner.run_jobs(names, inputs)
    told = runner.publish(verdicts, inputs, ledger=options.ledger, push=options.push)
    show(verdicts, Console())
    for update in told:
        print(f"alert {update.event}: {update.alert.key}: {update.alert.summary}")
    print(f"report: {inputs.out / runner.REPORT}")
    return exit_code(worst(verdict.status for verdict in verdicts))


def _trigger(options: argparse.Namespace, now: datetime) -> int:
    """0 when the decision was carried out, whatever it was; 3 when the target failed and the start is still due."""
    policy = read_policy(options.policy)
    if options.dry_run:
        policy = policy.model_copy(update={"dry_run": True})
    trigger = Trigger(policy, options.ledger, target_of(policy.target))
    verdicts = runner.read_verdicts(options.out)
    decision = trigger.call(verdicts, now)
    write_report(verdicts, options.out, now=now, runbook=read_settings().runbook, ledger=trigger.ledger.entries())
    print(f"{decision.event}: {decision.reason}" + (f" -> {decision.run}" if decision.run else ""))
    return exit_code(Status.UNKNOWN if decision.event == "failed" else Status.PASS)


if __name__ == "__main__":
    sys.exit(main())
