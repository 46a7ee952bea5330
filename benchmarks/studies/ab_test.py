"""A live test of learned prices against list prices, rehearsed on the simulated shop: how often is it right, how soon?

Knows the planted demand, the learned policy and the reading of a live test; no real customer. Customers are assigned by
hash, each is observed for a week from the first visit, and the test is read every day. A pricing team sees here what to
expect of its own: how long until a gain of this size ships, and how seldom looking daily fools it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Result, Row, share_row
from benchmarks.studies.synthetic import Shop, simulate
from fairtag.demand.fit import fit_demand
from fairtag.evaluation.experiment import Advice, Experiment, Metric, Sums, read_experiment, split_check, sums
from fairtag.simulator.planted_demand import choice_probabilities

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TRAINING_ROWS = 20_000  # impressions that the treatment's prices were learned from
SEED = 300
TESTS = 200  # rehearsals of each kind
CUSTOMERS, DAYS = 8_000, 28  # who enter over the days; a customer counts a week after entering
MORE_VISITS = 2.0  # mean visits in the week after the first
SCALE = 0.1  # gain the test is built for, as a share of the control's mean
MARGIN = 0.05  # largest tolerated fall of purchases, as a share of the control's
LOST = 0.1  # share of the treatment's customers that a broken test loses
Z95 = 1.96
HALF = {"control": 0.5, "treatment": 0.5}


@dataclass(frozen=True)
class Outcomes:
    """What a visit of each later page brings, by arm, control first.

    Args:
        chance: (2, pages, n + 1) cumulative probability of buying each item, and of buying none.
        profit: (2, pages, n + 1) profit of it, money.
    """

    chance: Floats
    profit: Floats

    def expected(self) -> Floats:
        """(2,) mean profit of a visit."""
        return np.asarray((np.diff(self.chance, prepend=0.0) * self.profit).sum(axis=-1).mean(axis=-1))


def quick(data: Path | None) -> Result:
    """A tenth of the rehearsals."""
    return run(data, TESTS // 10)


def run(data: Path | None, tests: int = TESTS) -> Result:
    """Rehearse tests without and with a difference, and ones that lose customers."""
    del data  # everything is simulated
    outcomes = outcomes_of(simulate(TRAINING_ROWS, seed=SEED))
    base, better = outcomes.expected()
    notes = (
        f"{tests} rehearsals of each kind: {CUSTOMERS:,} customers over {DAYS} days, read daily at a nominal 5 %; the "
        f"treatment is priced by a policy learned from {TRAINING_ROWS:,} impressions, the control at list.",
        "A decision is SHIP or STOP at any look. fixed is the test for one look, repeated daily.",
        "broken split: a tenth of the treatment's customers is lost on the way; share of tests that say so.",
    )
    rows = (
        Row("true_gain", float(better / base - 1.0), unit="share of profit"),
        *false_alarm_rows(outcomes, tests),
        *power_rows(outcomes, tests),
        *split_rows(tests),
    )
    return Result("ab-test", "fairtag study ab-test", rows, notes)


def outcomes_of(shop: Shop) -> Outcomes:
    """List prices against the learned ones on the later pages, bought from as planted."""
    model = fit_demand(shop.data)
    shape = shop.items.shape
    behaviour = np.repeat(shop.behaviour, shape[1], axis=0)
    flat = shop.items.ravel()
    a, b = (x.reshape(shape) for x in model.utilities(flat, shop.similarity.ravel(), behaviour, np.zeros(flat.size)))
    truth_a, truth_b = shop.planted.page(shop.items, shop.similarity, shop.behaviour)
    chance, profit = [], []
    for y in (np.ones(shape), shop.prices(a, b)):
        bought = choice_probabilities(truth_a - truth_b * y)
        chance.append(np.cumsum(np.column_stack([bought, 1.0 - bought.sum(axis=1)]), axis=1))
        profit.append(np.column_stack([(y - shop.cost) * shop.list_price, np.zeros(len(y))]))
    return Outcomes(np.array(chance), np.array(profit))


@dataclass(frozen=True)
class Reading:
    """How one rehearsal ended: the advice, its day (the last where it never came), and the fixed test's verdict."""

    advice: Advice
    day: int
    fixed: bool


def rehearse(outcomes: Outcomes, seed: int, *, same: bool) -> Reading:
    """One test, read daily until it decides; ``same`` gives both arms the control's prices."""
    rng = np.random.default_rng(seed)
    experiment = Experiment(f"rehearsal {seed}", HALF)
    treated = np.array([experiment.arm(f"{seed} {unit}") == "treatment" for unit in range(CUSTOMERS)])
    profit, purchases = _customers(outcomes, np.zeros_like(treated) if same else treated, rng)
    day = np.sort(rng.integers(0, DAYS, CUSTOMERS))
    base = float(outcomes.expected()[0]) * (1.0 + MORE_VISITS)
    usual = 1.0 + MORE_VISITS
    metrics = (Metric("profit", SCALE * base), Metric("purchases", SCALE * usual, margin=MARGIN * usual))
    totals = {arm: {metric.name: Sums(0, 0.0, 0.0) for metric in metrics} for arm in HALF}
    states, decided, fixed = None, None, False
    for now in range(DAYS):
        for arm, chosen in zip(HALF, (~treated, treated), strict=True):
            entered = (day == now) & chosen
            for metric, values in zip(metrics, (profit, purchases), strict=True):
                totals[arm][metric.name] += sums(values[entered])
        reading = read_experiment(experiment, metrics, totals, states)
        states = reading.states
        looked = states["profit"]
        fixed |= abs(looked.estimate) > Z95 * looked.standard_error
        if decided is None and reading.advice is not Advice.CONTINUE:
            decided = (reading.advice, now + 1)
    advice, last = decided or (Advice.CONTINUE, DAYS)
    return Reading(advice, last, fixed)


def _customers(outcomes: Outcomes, treated: Flags, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Profit and purchases of each customer's week, (customers,) each; a customer keeps visiting like pages."""
    visits = 1 + rng.poisson(MORE_VISITS, len(treated))
    customer = np.repeat(np.arange(len(treated)), visits)
    page = rng.integers(0, outcomes.chance.shape[1], len(customer))
    arm = treated[customer].astype(np.int64)
    chosen = (rng.random(len(customer))[:, None] > outcomes.chance[arm, page]).sum(axis=1)
    last = outcomes.chance.shape[2] - 1
    chosen = np.minimum(chosen, last)
    money, bought = outcomes.profit[arm, page, chosen], (chosen < last).astype(np.float64)
    profit, purchases = (np.bincount(customer, weights=x, minlength=len(treated)) for x in (money, bought))
    return profit.astype(np.float64), purchases.astype(np.float64)


def false_alarm_rows(outcomes: Outcomes, tests: int) -> list[Row]:
    """How often a test of two equal arms decides anything, by sequential reading and by a fixed test read daily."""
    readings = [rehearse(outcomes, seed, same=True) for seed in range(tests)]
    decided = sum(reading.advice is not Advice.CONTINUE for reading in readings)
    return [
        share_row("false_decision_sequential", decided, tests, reference="<= 0.05"),
        share_row("false_decision_fixed", sum(reading.fixed for reading in readings), tests, reference="<= 0.05"),
    ]


def power_rows(outcomes: Outcomes, tests: int) -> list[Row]:
    """How often the better prices ship, how often they are stopped, and after how many days."""
    readings = [rehearse(outcomes, 10_000 + seed, same=False) for seed in range(tests)]
    shipped = [reading.day for reading in readings if reading.advice is Advice.SHIP]
    stopped = sum(reading.advice is Advice.STOP for reading in readings)
    low, middle, high = np.quantile(shipped, (0.1, 0.5, 0.9)) if shipped else (np.nan,) * 3
    return [
        share_row("better_prices_shipped", len(shipped), tests),
        share_row("better_prices_stopped", stopped, tests),
        Row("days_to_ship", float(middle), float(low), float(high), unit="days, low and high 10 % and 90 %"),
    ]


def split_rows(tests: int) -> list[Row]:
    """How often a sound split is called broken over all daily looks, and one that loses customers is."""
    found = {0.0: 0, LOST: 0}
    for lost in found:
        for seed in range(tests):
            rng = np.random.default_rng(20_000 + seed)
            a_day = CUSTOMERS // DAYS
            assigned = rng.binomial(a_day, 0.5, DAYS)
            control, treated = (a_day - assigned).cumsum(), rng.binomial(assigned, 1.0 - lost).cumsum()
            looks = zip(control.tolist(), treated.tolist(), strict=True)
            experiment = Experiment("split", HALF)
            found[lost] += any(split_check({"control": c, "treatment": t}, experiment).broken for c, t in looks)
    return [
        share_row("sound_split_called_broken", found[0.0], tests, reference="<= 0.001"),
        share_row("broken_split_found", found[LOST], tests),
    ]
