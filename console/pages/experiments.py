"""Experiments: running tests with what they found so far, a button that stops each, and the plan of a new one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml
from starlette.responses import Response

from console.form_numbers import typed_number
from console.frame import Action, Page, Visit
from console.users import STOP_ROLE
from console.work import Work
from fairtag.base.errors import FairtagError, RequestError
from fairtag.evaluation.experiment_plan import Size, size_of
from fairtag.evaluation.experiment_report import ExperimentReport, Verdict, report_experiment
from fairtag.policy.experiments import HOLDOUT, Experiment, stopped

BADGES = {Verdict.GO_ON: "", Verdict.DECIDED: "good", Verdict.HARM: "urgent", Verdict.BROKEN: "urgent"}
UNKNOWN_LOG = "this console does not know the quote log; start it with a run, or set FAIRTAG_CONSOLE_QUOTES"
DEFAULTS = {"name": "learned-1", "mean": "8", "deviation": "20", "effect": "10", "share": "50", "a_day": "500"}


@dataclass(frozen=True)
class LiveTest:
    """One experiment as the page shows it.

    Args:
        experiment: As the policy declares it.
        state: Whether it runs, waits, is over, or was stopped.
        report: What it found; None where it cannot be read.
        trouble: Why it cannot.
        can_stop: Whether a stop would change anything.
    """

    experiment: Experiment
    state: str
    report: ExperimentReport | None
    trouble: str
    can_stop: bool

    @property
    def badge(self) -> str:
        """Colour of the verdict."""
        return "" if self.report is None else BADGES.get(self.report.verdict, "")

    @property
    def shows(self) -> dict[str, str]:
        """What each arm is shown, in words."""
        words = {
            arm.name: arm.prices if arm.cut is None else f"list less {arm.cut:.0%}" for arm in self.experiment.arms
        }
        return {**words, HOLDOUT: "as without a test"}


def tests_of(work: Work, now: datetime) -> list[LiveTest]:
    """Every experiment that the policy has declared, the newest first."""
    if work.policy is None:
        return []
    history, _ = work.policy.trusted_history()  # up to a version that was altered: the bar above says so
    current = {each.name for each in history[-1].policy.experiments} if history else set()
    known = {each.name: each for version in history for each in version.policy.experiments}
    return [_test(work, each, now, declared=each.name in current) for each in reversed(known.values())]


def _test(work: Work, experiment: Experiment, now: datetime, *, declared: bool) -> LiveTest:
    state, today = "running", now.date()
    if experiment.stopped or not declared:
        state = "stopped"
    elif experiment.starts is not None and today < experiment.starts:
        state = f"begins {experiment.starts}"
    elif experiment.ends is not None and experiment.ends < today:
        state = f"ended {experiment.ends}"
    can_stop = declared and not experiment.stopped and not state.startswith("ended")
    if work.experiments is None:
        trouble = (
            "this console does not know the quote log; start it with the run's folder, or set FAIRTAG_CONSOLE_QUOTES"
        )
        return LiveTest(experiment, state, None, trouble, can_stop)
    try:
        report = report_experiment(experiment, work.experiments.read(experiment.name), now=now)
    except FairtagError as error:
        return LiveTest(experiment, state, None, str(error), can_stop)
    return LiveTest(experiment, state, report, "", can_stop)


def draft(name: str, size: Size, share: float) -> str:
    """The section of ``policy.yaml`` that declares a planned test."""
    arms = [
        {"name": "list", "share": round(1 - share, 4), "prices": "list"},
        {"name": "learned", "share": round(share, 4), "prices": "learned"},
    ]
    document = {"experiments": [{"name": name, "effect": round(size.effect, 4), "arms": arms}]}
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


async def show(visit: Visit) -> Response:
    """Running tests, and the plan of a new one."""
    asked = {name: visit.asked(name, default) or default for name, default in DEFAULTS.items()}
    mean, deviation = _number(asked, "mean", least=0), _number(asked, "deviation", least=0)
    effect, share = _number(asked, "effect", least=0) / 100, _number(asked, "share", least=0, most=100) / 100
    a_day = _number(asked, "a_day", least=-1)
    size = size_of(mean, deviation, effect, share=share)
    return await visit.render(
        "experiments.html",
        asked=asked,
        size=size,
        days=math.ceil(size.sequential / a_day) if a_day > 0 else None,
        draft=draft(asked["name"], size, share),
        tests=await visit.blocking(tests_of, visit.work, datetime.now(UTC)),
        knows_policy=visit.work.policy is not None,
    )


async def stop(visit: Visit) -> Response:
    """Stop an experiment: from then on nobody is in an arm."""
    name, why = visit.needed("name", "the experiment"), visit.needed("why", "a reason, in words,")
    store = visit.work.require_policy()

    def change() -> str:
        current = store.current().policy
        after = current.changed(experiments=stopped(current.experiments, name))
        made = store.change(after, who=visit.user.name, why=why)
        return f"Version {made.version}: {name} is stopped. Endpoints follow within 30 seconds; Undo lets it go on."

    return visit.back(await visit.blocking(change))


def _number(asked: dict[str, str], name: str, *, least: float, most: float = math.inf) -> float:
    value = typed_number(name, asked[name])
    if not least < value < most:
        rule = f"must be a number above {least:g}" + (f" and below {most:g}" if math.isfinite(most) else "")
        raise RequestError(name, asked[name], rule)
    return value


PAGE = Page(
    "experiments",
    "/experiments",
    "Experiments",
    "running tests of prices, their plan and their stop",
    show,
    (Action("stop", STOP_ROLE, stop, urgent=True),),
)
