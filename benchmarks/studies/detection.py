"""How soon and how surely the monitors see planted changes, and how rarely they raise a false alarm; simulated.

The quotes of a simulated shop (:mod:`benchmarks.monitoring.quote_stream`) get planted changes
(:mod:`fairtag.simulator.shocks`) and pass hour by hour through the checks of the jobs, at two levels of traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchmarks.monitoring.quote_stream import ATTRIBUTE, GROUPS, QuoteStream, Shocks
from benchmarks.result import Result, Row
from benchmarks.studies.hourly_monitors import HourlyMonitors
from fairtag.base import schema
from fairtag.base.pseudonym import user_key
from fairtag.base.types import Status
from fairtag.profile.builder import Profile, build_profile
from fairtag.simulator import shocks

TRAINING = pd.Timestamp("2025-01-06", tz="UTC")
TRAINING_DAYS, TRAINING_PAGES = 364, 40_000
LIVE = TRAINING + pd.Timedelta(days=TRAINING_DAYS)
TRAFFIC = {"low": 100, "high": 400}  # pages an hour
DEPTH = 0.3  # swing of the category mix over the year; training saw a whole year
QUIET_DAYS = 100
REPLICATIONS = 12  # runs of each shock
APART = 21  # days between the starts of two runs, so that they spread over a year
SAME_DAY, SAME_WEEK = 24, 168
LONGEST = 2  # times the hours in which a shock should be seen, after which it counts as missed
CATEGORY = "category-0"
# Tolerances, mean times between alarms and this study's own sizes were chosen on the stream's default seed, 7, which
# the tests also use. The reported rows come from another shop, which nobody had looked at before.
REPORTED_SEED = 20_261
QUIET = "quiet"
PROCESSES = 2

Frames = tuple[pd.DataFrame, pd.DataFrame]
Change = Callable[[pd.DataFrame, int], pd.DataFrame]


@dataclass(frozen=True)
class Scenario:
    """One thing that goes wrong.

    Args:
        name: Part of the row's name.
        job: The job that should see it.
        change: What happens to the quotes; the second argument is a seed.
        planted: What happens to the shop itself.
        reference: What was planted, in words.
        within: Hours in which it should be seen: a day, and a week for what only purchases can tell.
    """

    name: str
    job: str
    change: Change | None = None
    planted: Shocks | None = None
    reference: str = ""
    within: int = SAME_DAY


def scenarios(members: set[str]) -> tuple[Scenario, ...]:
    """Every planted change, each by itself; ``members`` are the pseudonyms of the group that pays more."""
    return (
        *(_dearer(percent) for percent in (2, 5, 10)),
        *(_words(percent) for percent in (10, 30)),
        *(_slopes(factor) for factor in (1.5, 2.0, 3.0)),
        *(_gap(percent, members) for percent in (1, 2, 3)),
        Scenario("broken_similarity", "drift", _constant_similarity, reference="similarity constant"),
        Scenario("broken_cost", "drift", _costs_in_cents, reference="10 % of unit costs multiplied by 100"),
    )


def _dearer(percent: int) -> Scenario:
    def change(quotes: pd.DataFrame, _: int) -> pd.DataFrame:
        return shocks.price_shift(quotes, CATEGORY, 1 + percent / 100)

    return Scenario(f"price_{percent}_percent", "drift", change, reference=f"prices of one category +{percent} %")


def _words(percent: int) -> Scenario:
    def change(quotes: pd.DataFrame, seed: int) -> pd.DataFrame:
        return shocks.vocabulary_change(quotes, percent / 100, seed)

    return Scenario(f"words_{percent}_percent", "drift", change, reference=f"{percent} % of pages with new words")


def _slopes(factor: float) -> Scenario:
    planted, name = Shocks(elasticity=factor), f"elasticity_x{factor:g}"
    return Scenario(name, "performance", planted=planted, reference=f"slopes x {factor:g}", within=SAME_WEEK)


def _gap(percent: int, members: set[str]) -> Scenario:
    def change(quotes: pd.DataFrame, seed: int) -> pd.DataFrame:
        return shocks.group_gap(quotes, members, percent / 100, seed)

    return Scenario(f"gap_{percent}_percent", "fairness", change, reference=f"one group pays {percent} % more")


def _constant_similarity(quotes: pd.DataFrame, seed: int) -> pd.DataFrame:
    return shocks.broken_column(quotes, schema.SIMILARITY, "constant", seed=seed)


def _costs_in_cents(quotes: pd.DataFrame, seed: int) -> pd.DataFrame:
    return shocks.broken_column(quotes, schema.UNIT_COST_MINOR, "scaled", share=0.1, seed=seed)


@dataclass(frozen=True)
class World:
    """A shop, its model's profile and its audit table."""

    stream: QuoteStream
    profile: Profile
    groups: pd.DataFrame

    @classmethod
    def build(cls, stream: QuoteStream) -> World:
        """Draw a year of seasonal training data and profile it."""
        quotes, _ = stream.draw(TRAINING, 24 * TRAINING_DAYS, TRAINING_PAGES)
        profile = build_profile(pd.DataFrame(), shocks.season(quotes, DEPTH, seed=1))
        table = stream.audit_groups()
        keys = [user_key(user, stream.secret) for user in table[schema.USER_ID]]
        return cls(stream, profile, table.assign(**{schema.USER_KEY: keys}).drop(columns=schema.USER_ID))

    def hour(self, at: int, pages: int, scenario: Scenario | None = None) -> Frames:
        """Hour ``at`` after the launch: seasonal traffic with the change of a scenario."""
        start = LIVE + pd.Timedelta(hours=at)
        # the season removes pages: draw more, so that the wanted number remains on average
        quotes, outcomes = self.stream.draw(
            start, 1.0, round(pages * (1 + DEPTH)), scenario.planted if scenario is not None else None
        )
        quotes = shocks.season(quotes, DEPTH, seed=at)
        if scenario is not None and scenario.change is not None:
            quotes = scenario.change(quotes, at)
        return quotes, outcomes[outcomes[schema.QUOTE_ID].isin(set(quotes[schema.QUOTE_ID]))]

    @property
    def members(self) -> set[str]:
        """Pseudonyms of the group that pays more."""
        return set(self.groups.loc[self.groups[schema.GROUP] == GROUPS[1], schema.USER_KEY])


def run() -> Result:
    """Simulate 100 quiet days, then each shock, at two levels of traffic."""
    names = [scenario.name for scenario in scenarios(set())]
    tasks = [(level, name) for name in (QUIET, *names) for level in TRAFFIC]  # the longest first
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        found = dict(zip(tasks, pool.map(_task, tasks), strict=True))
    rows = [row for level in TRAFFIC for name in (QUIET, *names) for row in found[level, name]]
    rows += summary_rows(rows)
    notes = (
        f"Rows *_low and *_high: {TRAFFIC['low']} and {TRAFFIC['high']} pages an hour of 8 items. The drift, "
        f"performance and fairness jobs look once an hour. In training the category mix swung by {DEPTH:.0%} over the "
        "year and with the hours of the day, and so it does in the quiet days: season is no drift.",
        f"power: share of {REPLICATIONS} runs in which the job raised an alarm (a warning or an urgent alert) within "
        f"{SAME_DAY} hours of the change, {SAME_WEEK} for elasticity. hours: median time to the first alarm; "
        f"{LONGEST} times that limit where none came.",
        "A gap warns beyond 0.5 % and is urgent beyond 2 %; prices of a category warn beyond 1 % and are urgent beyond "
        f"3 %. So a planted 2 % of either should warn and not be urgent. A planted gap of {ATTRIBUTE} shrinks where "
        "the list price binds. Mixes of words and categories follow season and news: only a large move is urgent.",
        "The performance job's hours count from when purchases are known: a deployment adds its maturity_hours, 24 by "
        "default.",
        f"Thresholds were chosen on seed {QuoteStream().seed}; the rows are those of seed {REPORTED_SEED}, never "
        "looked at before. On quiet days only the season changes.",
        "The stream prices by a fixed rule, not by a fitted model: the rows are about the monitors, not the model.",
    )
    return Result(tuple(rows), notes)


def quick() -> Result:
    """Two quiet days, then three shocks with three runs each, on the shop that the tests use."""
    world = World.build(QuoteStream())
    few = [
        each for each in scenarios(world.members) if each.name in {"price_10_percent", "gap_3_percent", "broken_cost"}
    ]
    rows = [row for level, pages in TRAFFIC.items() for row in quiet_rows(world, level, pages, 2)]
    rows += [
        row for level, pages in TRAFFIC.items() for each in few for row in shock_rows(world, each, level, pages, 3)
    ]
    return Result(tuple(rows))


@cache
def reported_world() -> World:
    """The shop of the reported rows, built once a process."""
    return World.build(QuoteStream(seed=REPORTED_SEED))


def _task(task: tuple[str, str]) -> list[Row]:
    """The rows of one scenario, or of the quiet days, at one level of traffic."""
    level, name = task
    world = reported_world()
    if name == QUIET:
        return quiet_rows(world, level, TRAFFIC[level], QUIET_DAYS)
    scenario = next(each for each in scenarios(world.members) if each.name == name)
    return shock_rows(world, scenario, level, TRAFFIC[level], REPLICATIONS)


def quiet_rows(world: World, level: str, pages: int, days: int) -> list[Row]:
    """Alerts over quiet days; consecutive hours with the same alert count once."""
    monitors = HourlyMonitors(world.profile, world.groups)
    counts = {Status.URGENT: 0, Status.WARN: 0}
    active: set[tuple[str, Status]] = set()
    answers = unknown = 0
    for at in range(24 * days):
        checks = monitors.look(*world.hour(at, pages))
        answers += len(checks)
        unknown += sum(check.status is Status.UNKNOWN for check in checks)
        now = {(check.name, check.status) for check in checks if check.status in counts}
        for _, status in now - active:
            counts[status] += 1
        active = now
    unit = f"alerts in {days} days of hourly looks"
    return [
        Row(f"quiet_urgent_{days}_days_{level}", counts[Status.URGENT], *_poisson(counts[Status.URGENT]), unit, "<= 1"),
        Row(f"quiet_warnings_{days}_days_{level}", counts[Status.WARN], *_poisson(counts[Status.WARN]), unit),
        Row(f"quiet_untold_{days}_days_{level}", unknown / answers, unit="share of answers that are unknown"),
    ]


def shock_rows(world: World, scenario: Scenario, level: str, pages: int, replications: int) -> list[Row]:
    """Share of runs that see a shock in time, and the hours to the first alarm and to the first urgent alert."""
    found = [_simulate_run(world, scenario, pages, k) for k in range(replications)]
    alarms = np.array([min(pair) for pair in found])
    urgent = np.array([hours for _, hours in found])
    seen = int((alarms <= scenario.within).sum())
    interval = stats.binomtest(seen, replications).proportion_ci(0.9, "wilson")
    return [
        Row(f"power_{scenario.name}_{level}", seen / replications, float(interval.low), float(interval.high),
            f"share within {scenario.within} h", scenario.reference),
        Row(f"hours_{scenario.name}_{level}", *_median(alarms), "hours to the first alarm", scenario.reference),
        Row(f"hours_to_urgent_{scenario.name}_{level}", *_median(urgent), "hours to the first urgent alert",
            scenario.reference),
    ]  # fmt: skip


def _median(hours: NDArray[np.int64]) -> tuple[float, float, float]:
    """Median, least and most."""
    return float(np.median(hours)), float(hours.min()), float(hours.max())


def summary_rows(rows: list[Row]) -> list[Row]:
    """Rows without a level of traffic: the worse of the two levels."""
    quiet = [row for row in rows if row.metric.startswith("quiet_")]
    powers = [row for row in rows if row.metric.startswith("power_")]
    names = sorted({row.metric.rsplit("_", 1)[0] for row in (*quiet, *powers)})
    worst = []
    for name in names:
        both = [row for row in rows if row.metric in {f"{name}_{level}" for level in TRAFFIC}]
        pick = max(both, key=lambda row: row.value if name.startswith("quiet_") else -row.value)
        worst.append(
            Row(name, pick.value, pick.low, pick.high, f"{pick.unit}, worse of the two levels", pick.reference)
        )
    return worst


def _simulate_run(world: World, scenario: Scenario, pages: int, replication: int) -> tuple[int, int]:
    """Hours to the first alarm and to the first urgent alert of the scenario's job, after six quiet hours."""
    monitors = HourlyMonitors(world.profile, world.groups, jobs=(scenario.job,))
    start = 24 * (QUIET_DAYS + APART * replication)
    for at in range(start, start + 6):
        monitors.look(*world.hour(at, pages))
    longest = LONGEST * scenario.within
    warned, urgent = longest, longest
    for hour in range(1, longest + 1):
        statuses = {check.status for check in monitors.look(*world.hour(start + 5 + hour, pages, scenario))}
        warned = min(warned, hour) if statuses & {Status.WARN, Status.URGENT} else warned
        if Status.URGENT in statuses:
            urgent = hour
            break
        if warned + scenario.within < hour:  # a change that only warns: do not wait for an urgent alert
            break
    return warned, urgent


def _poisson(count: int) -> tuple[float, float]:
    """Exact 90 % interval of a Poisson mean."""
    low = float(stats.chi2.ppf(0.05, 2 * count) / 2) if count else 0.0
    return low, float(stats.chi2.ppf(0.95, 2 * count + 2) / 2)
