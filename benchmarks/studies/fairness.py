"""What a price corridor costs and how well unfairness is detected, on simulated shops and logs whose truth is known."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.result import Result, Row, share_row
from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.evaluation.kill_test import confounder_kill_test
from fairtag.fairness import fixed_effects as fe
from fairtag.fairness.audit import audit
from fairtag.fairness.audit_limits import AuditLimits
from fairtag.fairness.corridor import Population, optimal_corridor, population, trade_off
from fairtag.fairness.sequential import SequentialState, look
from fairtag.simulator.simulation import SMALL, PlantedDemand, simulate_shop
from fairtag.solver.page_solver import solve_pages

RHOS = (1.02, 1.05, 1.10, 1.15, 1.25, 1.50)
CUSTOMERS, ITEMS = 400, 300  # of the simulated shop in the trade-off
FLOOR, MARGIN = 0.7, 0.05  # lowest price over list and smallest margin of the default policy
PAGE_REST = 2.0  # attraction of the outside option and the rest of a page at usual prices
LOGS, USERS, VISITS = 100, 400, 30  # simulated quote logs for each planted gap, and their size
GAPS = (0.0, 0.01, 0.02, 0.04)
STREAMS, HOURS, ALPHA = 200, 72, 0.05
KILLS = 40
BIG_USERS, BIG_VISITS = 50_000, 20
FAST = AuditLimits(replicates=299, permutations=199)


def run() -> Result:
    """The corridor on planted demand, the audit on planted gaps, hourly looks, the kill test, and a large audit."""
    notes = (
        "Uplift: profit over the best single price of each item, on the planted demand of the simulated shop. Real "
        "customers may differ less or more, and the figures change with them.",
        "kept_rho_R: share of the uplift kept by corridors whose highest price is R times the lowest, each placed by "
        "search. 'under list': a corridor from list / R to list instead; below 0 it earns less than the single price.",
        f"Audit rates: over {LOGS} logs of {USERS} customers with {VISITS} quotes each, in two groups. An alarm is a "
        "warning (surely beyond 0.5 %) or urgent (surely beyond 2 %, so hardly ever at 2 %).",
        f"Peeking: {HOURS} hourly looks at a log without a gap; an alarm at any of them counts.",
    )
    rows = (
        *trade_off_rows(simulate_shop(SMALL, seed=1).planted),
        *(row for gap in GAPS for row in audit_rows(gap)),
        *peeking_rows(),
        *kill_rows(),
        audit_time_row(),
    )
    return Result(rows, notes)


def trade_off_rows(planted: PlantedDemand, customers: int = CUSTOMERS, items: int = ITEMS) -> Iterator[Row]:
    """Share of the uplift of personal prices kept by each width: corridors placed by search, and those under list."""
    sample = demand_sample(planted, customers, items, seed=1)
    lo, hi = np.maximum(FLOOR, sample.cost / (1 - MARGIN)), np.ones(items)
    uniform = float(optimal_corridor(sample, 1.0, lo=lo, hi=hi).profit.sum())
    free = float(sample.profit(np.clip(sample.optimal, lo, hi)[None]).sum())
    yield Row("uplift_personal_over_uniform", free / uniform - 1, unit="share of profit")
    for point in trade_off(sample, RHOS, lo=lo, hi=hi):
        under = np.clip(sample.optimal, np.maximum(lo, 1 / point.rho), hi)
        held = (float(sample.profit(under[None]).sum()) - uniform) / (free - uniform)
        yield Row(f"kept_rho_{point.rho:.2f}", point.kept, unit="share of uplift", reference=f"{held:.3f} under list")


def demand_sample(planted: PlantedDemand, customers: int, items: int, seed: int) -> Population:
    """Customers of simulated pages, each facing single items of the catalogue at their best price."""
    rng = np.random.default_rng(seed)
    behaviour = planted.behaviour[rng.choice(len(planted.behaviour), customers)]
    rows = rng.choice(len(planted.catalogue), items, replace=False)
    similarity = rng.choice(planted.similarity, (customers, items))
    a, b = planted.page(np.broadcast_to(rows, (customers, items)), similarity, behaviour)
    cost = (planted.catalogue.unit_cost / planted.catalogue.list_price)[rows]
    alone = (a - np.log(PAGE_REST)).reshape(-1, 1)
    best = solve_pages(alone, b.reshape(-1, 1), np.broadcast_to(cost, a.shape).reshape(-1, 1), 0.0, -np.inf, np.inf).y
    return population(best.reshape(a.shape), a, b, cost, outside=PAGE_REST)


def audit_rows(gap: float, logs: int = LOGS) -> Iterator[Row]:
    """How often a planted gap raises an alarm, and how often its interval covers it."""
    alarms = urgent = covered = 0
    for seed in range(logs):
        quotes, groups = quote_log(seed, gap, USERS, VISITS)
        findings = audit(quotes, groups, seed=seed, limits=FAST).findings
        member = next(finding for finding in findings if finding.group == "b")
        alarms += any(finding.status in (Status.WARN, Status.URGENT) for finding in findings)
        urgent += any(finding.status is Status.URGENT for finding in findings)
        covered += member.low <= np.log1p(gap) <= member.high
    label = f"{gap:.0%}".replace("%", "pct")
    yield share_row(f"audit_alarm_at_{label}", alarms, logs)
    yield share_row(f"audit_urgent_at_{label}", urgent, logs)
    yield share_row(f"audit_coverage_at_{label}", covered, logs, reference=FAST.confidence)


def quote_log(seed: int, gap: float, users: int, visits: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Quotes of customers with discounts of their own, and of a group that pays more; prices too high for rounding."""
    rng = np.random.default_rng(seed)
    items = max(40, users // 25)
    member = rng.random(users) < 0.4
    user = np.repeat(np.arange(users), visits)
    item = rng.integers(0, items, len(user))
    listed = rng.integers(20_000, 90_000, items)[item]
    own = rng.normal(0, 0.015, users)[user]
    noise = rng.normal(0, 0.02, (items, users % 997 + 1))[
        item, user % (users % 997 + 1)
    ]  # the same for a customer and item at every visit
    relative = -0.12 + own + noise + np.log1p(gap) * member[user]
    quotes = pd.DataFrame(
        {
            schema.USER_KEY: user.astype(str),
            schema.ITEM_ID: item.astype(str),
            schema.EPOCH: rng.integers(0, 4, len(user)),
            schema.LIST_PRICE_MINOR: listed,
            schema.PRICE_MINOR: np.rint(listed * np.exp(np.minimum(relative, 0.0))).astype(np.int64),
        }
    )
    group = np.where(member, "b", "a")
    groups = pd.DataFrame({schema.USER_KEY: np.arange(users).astype(str), schema.ATTRIBUTE: "x", schema.GROUP: group})
    return quotes, groups


def peeking_rows(streams: int = STREAMS) -> Iterator[Row]:
    """False alarms of hourly looks: the sequential test, and a fixed test repeated."""
    sequential = fixed = 0
    for seed in range(streams):
        state, peeked = SequentialState(), False
        for estimate, error in hourly_gaps(seed):
            state = look(state, estimate, error, scale=0.01, confidence=1 - ALPHA)
            peeked |= abs(estimate) > 1.96 * error
        sequential += state.p_value <= ALPHA
        fixed += peeked
    yield share_row("peeking_false_alarm_sequential", sequential, streams, reference=ALPHA)
    yield share_row("peeking_false_alarm_fixed", fixed, streams, reference=ALPHA)


def hourly_gaps(seed: int, users: int = 400, an_hour: int = 60) -> Iterator[tuple[float, float]]:
    """Running estimates of a gap that is zero, hour by hour, with returning customers."""
    rng = np.random.default_rng(seed)
    group = rng.random(users) < 0.4
    user = rng.integers(0, users, HOURS * an_hour)
    stratum = rng.integers(0, 20, len(user)) + 20 * (np.arange(len(user)) // (24 * an_hour))
    outcome = rng.normal(0, 0.01, users)[user] + rng.normal(0, 0.03, len(user))
    for hour in range(4, HOURS + 1):
        seen = slice(0, hour * an_hour)
        estimate = fe.gap(fe.panel(user[seen], stratum[seen], outcome[seen]), group)
        yield estimate.value, estimate.standard_error


def kill_rows(seeds: int = KILLS) -> Iterator[Row]:
    """How often the launch gate accepts a sound log of better prices, and notices a confounder left out of it."""
    results = [confounder_kill_test(seed=seed) for seed in range(seeds)]
    yield share_row("kill_test_sound_log_accepted", sum(result.complete.passes for result in results), seeds)
    yield share_row("kill_test_confounder_caught", sum(result.caught for result in results), seeds, reference=1.0)


def audit_time_row(users: int = BIG_USERS, visits: int = BIG_VISITS) -> Row:
    """Seconds to audit two groups on a large log with the default number of resamples."""
    quotes, groups = quote_log(0, 0.0, users, visits)
    start = time.perf_counter()
    audit(quotes, groups, seed=0)
    return Row(f"audit_seconds_{len(quotes)}_quotes", time.perf_counter() - start, unit="s")
