"""Watches the quotes of a shop (drift, performance, price fairness, log quality, stock) and triggers retraining.

Exit codes: 0 pass, 1 warn, 2 urgent, 3 cannot tell. An hourly job (--state) that has never had anything to read says
what it waits for and ends with 0. A wrong option, a missing model folder and an unexpected error end
with 3 as well, so that no failure looks like a result.
"""

# The clock and the environment are read in this module and nowhere else in the package.
from __future__ import annotations

import argparse
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from fairtag.base.errors import ConfigError, FairtagError
from fairtag.base.types import Status, worst
from fairtag.model.signature import TrustedKeys, pem_of, signing_key, trusted_keys
from monitoring import runner
from monitoring.detect.window import Window
from monitoring.inputs import Inputs
from monitoring.job_report import JobReport, exit_code
from monitoring.report.html_report import FILE, write_html_report
from monitoring.report.prometheus import write_rules
from monitoring.settings import PREFIX, read_settings, settings_table
from monitoring.trigger.ledger import Ledger
from monitoring.trigger.targets import target_of
from monitoring.trigger.trigger import LEDGER, Trigger
from monitoring.trigger.trigger_policy import read_policy

POLICY_KEYS = "FAIRTAG_POLICY_KEYS"
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.URGENT: "red", Status.UNKNOWN: "magenta"}


def parse_length(text: str) -> timedelta:
    """Parse a length of time such as 90m, 24h, 7d or 2w.

    >>> parse_length("2w").days
    14

    Raises:
        ConfigError: The text has another form, or the length is zero.
    """
    match = _LENGTH.fullmatch(text.strip())
    if match is None or float(match.group(1)) == 0:
        raise ConfigError(f"--window {text!r} is not a length of time; write for instance 90m, 24h, 7d or 2w")
    return timedelta(**{_UNITS[match.group(2)]: float(match.group(1))})


def parse_time(text: str) -> datetime:
    """Parse an ISO time; a time without a zone is UTC.

    Raises:
        ConfigError: The text is not an ISO time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--end {text!r} is not an ISO time; write for instance 2026-11-22T16:00:00Z") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors end with 3, because argparse's own 2 would mean urgent."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, then exit."""
        self.print_usage(sys.stderr)
        self.exit(exit_code(Status.UNKNOWN), f"{self.prog}: {message}\n")


def parser() -> Parser:
    """The parser of the command line."""
    top = Parser(prog="python -m monitoring", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="JOB", parser_class=Parser)
    for name, purpose in runner.PURPOSE.items():
        _job_options(commands.add_parser(name, help=purpose, description=purpose))
    purpose = "Start a training run if the job reports call for one: once per finding, with a cooldown and a ledger."
    _trigger_options(commands.add_parser("trigger", help=purpose, description=purpose))
    purpose = "Check that the trigger's ledger is whole, and print its head."
    ledger = commands.add_parser("ledger", help=purpose, description=purpose)
    ledger.add_argument("--ledger", required=True, type=Path, metavar="DIR", help="folder of the ledger")
    ledger.add_argument("--sign", action="store_true", help="sign a ledger from before there was a key; once")
    purpose = "Write the Prometheus alert rules for all checks."
    rules = commands.add_parser("rules", help=purpose, description=purpose)
    rules.add_argument("--out", required=True, type=Path, metavar="FILE", help="YAML file to write")
    purpose = "Print all settings and default tolerances as Markdown tables."
    commands.add_parser("settings", help=purpose, description=purpose)
    return top


def _job_options(job: argparse.ArgumentParser) -> None:
    add = job.add_argument
    add("--quotes", required=True, metavar="URL", help="quote log: folder, file or fsspec URL")
    add("--model-folder", required=True, type=Path, help="model folder to compare the window with")
    add("--out", required=True, type=Path, help="folder for the reports")
    add("--window", default="24h", metavar="LENGTH", help="length: 90m, 24h, 7d or 2w (default %(default)s)")
    add("--end", metavar="TIME", help="end of the window as ISO time (default now)")
    add("--outcomes", "--orders", metavar="URL", help="outcomes that the shop reported: folder, file or fsspec URL")
    add("--audit", type=Path, metavar="FILE", help="parquet file of audit groups; only the fairness job reads it")
    add(
        "--secret",
        type=Path,
        metavar="FILE",
        help="the endpoint's secret of the pseudonyms; only the fairness job reads it",
    )
    add("--tables", type=Path, metavar="DIR", help="folder of the shop's tables, for the stock job")
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="state of hourly runs; without it, each window is tested in a single look",
    )
    add("--workspace", type=Path, metavar="DIR", help="Evidently workspace that gets a snapshot of each run")
    add(
        "--policy-store",
        metavar="ADDRESS",
        default=os.environ.get("FAIRTAG_POLICY_STORE"),
        help="where the live policy lies: a folder, s3://, redis:// or postgresql:// (FAIRTAG_POLICY_STORE)",
    )
    add(
        "--policy-keys",
        type=Path,
        metavar="FILE",
        help="public keys of which one must have signed each version (or their text in FAIRTAG_POLICY_KEYS)",
    )
    add("--ledger", type=Path, metavar="DIR", help="folder of the trigger's ledger, to show on the report")
    add("--push", metavar="HOST:PORT", help="Prometheus push gateway")
    add(
        "--settings",
        type=Path,
        metavar="FILE",
        help="YAML file of settings; `python -m monitoring settings` lists them",
    )
    add("--progress", action="store_true", help="say on standard output which job runs, as it begins")
    add("--no-evidently", dest="evidently", action="store_false", help="write no Evidently reports")


def _trigger_options(job: argparse.ArgumentParser) -> None:
    add = job.add_argument
    add("--policy", required=True, type=Path, metavar="FILE", help="YAML file of the trigger policy")
    add("--out", required=True, type=Path, metavar="DIR", help="folder of the job reports")
    add(
        "--ledger",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of the ledger, the lock and the evidence files",
    )
    add("--wait", action="store_true", help="end with 0, and say so, while no job has ever left a report")
    add("--dry-run", action="store_true", help="decide and record the decision, but start nothing")


def inputs_of(options: argparse.Namespace, now: datetime) -> Inputs:
    """The inputs that the options name."""
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
        policy_store=options.policy_store,
        policy_keys=_policy_keys(options.policy_keys),
    )


def _policy_keys(file: Path | None) -> TrustedKeys | None:
    """Keys of the writers of the live policy; None where none are named."""
    text = None if file is not None else os.environ.get(POLICY_KEYS)
    pem = pem_of(text, file, POLICY_KEYS)
    return None if pem is None else trusted_keys(*pem)


def show(reports: tuple[JobReport, ...], console: Console) -> None:
    """Print the status of each report, then its checks that did not pass."""
    for report in reports:
        if report.waiting:
            console.print(f"[bold]WAITING [/] {report.job}: {report.waiting}", highlight=False, soft_wrap=True)
            continue
        colour = _COLOURS[report.status]
        console.print(f"[bold {colour}]{report.status.value.upper():8}[/] {report.job}", highlight=False)
        for check in report.failing:
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
        if options.command == "settings":
            print(settings_table())
            return exit_code(Status.PASS)
        if options.command == "ledger":
            return _ledger(options)
        return _trigger(options, now) if options.command == "trigger" else _jobs(options, now)
    except FairtagError as error:
        print(f"cannot tell: {error}", file=sys.stderr)
    except Exception:  # an unexpected error must not end with 1, which means warn
        traceback.print_exc()
    return exit_code(Status.UNKNOWN)


def _progress(options: argparse.Namespace) -> Callable[[str], None]:
    """What says how far the jobs are: a line a part on a terminal's standard error, or where it was asked for."""
    started = time.monotonic()

    def say(line: str) -> None:
        stream = sys.stdout if options.progress else sys.stderr
        if options.progress or sys.stderr.isatty():
            print(f".. {line} ({time.monotonic() - started:.0f} s)", file=stream, flush=True)

    return say


def _jobs(options: argparse.Namespace, now: datetime) -> int:
    inputs = inputs_of(options, now)
    names = runner.jobs_for(inputs) if options.command == "all" else (options.command,)
    reports = runner.run_jobs(names, inputs, _progress(options))
    notifications = runner.publish(reports, inputs, ledger=options.ledger, push=options.push)
    show(reports, Console())
    for each in notifications:
        print(f"alert {each.event}: {each.alert.key}: {each.alert.summary}")
    print(f"report: {inputs.out / FILE}")
    ran = [report.status for report in reports if not report.waiting]
    return exit_code(worst(ran)) if ran else 0


def _trigger(options: argparse.Namespace, now: datetime) -> int:
    """Decide once; 0 if the decision was carried out, 3 if the target failed and the start is still due.

    With ``--wait`` it ends with 0 before the first job has reported; once a decision is in the ledger, reports must be
    there.
    """
    policy = read_policy(options.policy)
    if options.dry_run:
        policy = policy.model_copy(update={"dry_run": True})
    trigger = Trigger(policy, options.ledger, target_of(policy.target), key=_ledger_key())
    if options.wait and not runner.has_reports(options.out) and not (options.ledger / LEDGER).is_file():
        print(f"waiting: no job has left a report in {options.out} yet")
        return 0
    reports = runner.read_reports(options.out)
    decision = trigger.call(reports, now)
    write_html_report(reports, options.out, now=now, runbook=read_settings().runbook, ledger=trigger.ledger.entries())
    print(f"{decision.event}: {decision.reason}" + (f" -> {decision.run}" if decision.run else ""))
    print(trigger.ledger.head())  # in the log of the job, where nobody who can write the folder can change it
    return exit_code(Status.UNKNOWN if decision.event == "failed" else Status.PASS)


def _ledger(options: argparse.Namespace) -> int:
    """Check the ledger, and sign it where that is asked for."""
    key = _ledger_key()
    if options.sign and key is None:
        raise ConfigError(f"--sign needs a key: set {PREFIX}LEDGER_KEY to a PEM file (docs/how-to/keys.md)")
    ledger = Ledger(options.ledger / LEDGER, key)
    print(ledger.sign() if options.sign else ledger.head())
    return exit_code(Status.PASS)


def _ledger_key() -> Ed25519PrivateKey | None:
    """The key that signs the ledger's head, where there is one."""
    pem = pem_of(None, read_settings().ledger_key, f"{PREFIX}LEDGER_KEY")
    return None if pem is None else signing_key(*pem)


if __name__ == "__main__":
    sys.exit(main())
