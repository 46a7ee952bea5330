"""Live tests of learned prices against list prices on the simulated shop: how often are they right, and how soon?

Customers are assigned by hash, each is observed for a week from the first visit, and the test is read every day. A
pricing team sees what to expect of its own tests: how long until a gain of this size ships, and how rarely daily looks
mislead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Result, Row, share_row
from benchmarks.studies.synthetic import Shop, simulate
from fairtag.base.normal import Z95
from fairtag.demand.fit import fit_demand
from fairtag.evaluation.experiment import Advice, Metric, Sums, read_experiment, split_check, sums
from fairtag.policy.experiments import Split
from fairtag.simulator.planted_demand import choice_probabilities

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TRAINING_ROWS = 20_000  # impressions from which the treatment's prices are learned
SEED = 300
TESTS = 200  # simulated tests of each kind
CUSTOMERS, DAYS = 8_000, 28  # customers enter over these days; each counts a week after entering
MORE_VISITS = 2.0  # mean visits in the week after the first
SCALE = 0.1  # gain that the test is designed for, as a share of the control's mean
MARGIN = 0.05  # largest tolerated fall of purchases, as a share of the control's
LOST = 0.1  # share of the treatment's customers lost in a broken test
HALF = {"control": 0.5, "treatment": 0.5}


@dataclass(frozen=True)
class Outcomes:
    """Purchases and profit of a visit to each later page, by arm, control first.

    Args:
        chance: (2, pages, n + 1) cumulative probability of buying each item, then nothing.
        profit: (2, pages, n + 1) profit of that purchase, money.
    """

    chance: Floats
    profit: Floats

    def expected(self) -> Floats:
        """(2,) mean profit of a visit."""
        return np.asarray((np.diff(self.chance, prepend=0.0) * self.profit).sum(axis=-1).mean(axis=-1))


def quick() -> Result:
    """The same rows from a tenth of the tests."""
    return run(TESTS // 10)


def run(tests: int = TESTS) -> Result:
    """Simulate tests without a difference, with one, and with customers lost on the way."""
    outcomes = outcomes_of(simulate(TRAINING_ROWS, seed=SEED))
    base, better = outcomes.expected()
    notes = (
        f"{tests} tests of each kind: {CUSTOMERS:,} customers over {DAYS} days, read daily at a nominal 5 %. The "
        f"treatment pays prices learned from {TRAINING_ROWS:,} impressions, the control list prices.",
        "A decision is SHIP or STOP at any look. Rows *_fixed: the test for a single look, repeated daily.",
        "broken_split_found: share of tests that notice that a tenth of the treatment's customers was lost.",
    )
    rows = (
        Row("true_gain", float(better / base - 1.0), unit="share of profit"),
        *false_alarm_rows(outcomes, tests),
        *power_rows(outcomes, tests),
        *split_rows(tests),
    )
    return Result(rows, notes)


def outcomes_of(shop: Shop) -> Outcomes:
    """List prices and learned prices on the later pages, with purchases from the planted demand."""
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
    """How one test ended: the advice, its day (the last if it never came), and whether the fixed test rejected."""

    advice: Advice
    day: int
    fixed: bool


def simulate_test(outcomes: Outcomes, seed: int, *, same: bool) -> Reading:
    """One test, read daily until it decides; ``same`` gives both arms the control's prices."""
    rng = np.random.default_rng(seed)
    experiment = Split(f"rehearsal {seed}", HALF)
    treated = np.array([experiment.arm(f"{seed} {unit}") == "treatment" for unit in range(CUSTOMERS)])
    profit, purchases = customers_of_a_week(outcomes, np.zeros_like(treated) if same else treated, rng)
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


def customers_of_a_week(outcomes: Outcomes, treated: Flags, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Profit and purchases of each customer's week, (customers,) each; a visit is to a random page."""
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
    """How often a test of two equal arms decides anything: sequential, and a fixed test read daily."""
    readings = [simulate_test(outcomes, seed, same=True) for seed in range(tests)]
    decided = sum(reading.advice is not Advice.CONTINUE for reading in readings)
    return [
        share_row("false_decision_sequential", decided, tests, reference="<= 0.05"),
        share_row("false_decision_fixed", sum(reading.fixed for reading in readings), tests, reference="<= 0.05"),
    ]


def power_rows(outcomes: Outcomes, tests: int) -> list[Row]:
    """How often the better prices ship, how often they are stopped, and after how many days."""
    readings = [simulate_test(outcomes, 10_000 + seed, same=False) for seed in range(tests)]
    shipped = [reading.day for reading in readings if reading.advice is Advice.SHIP]
    stopped = sum(reading.advice is Advice.STOP for reading in readings)
    low, middle, high = np.quantile(shipped, (0.1, 0.5, 0.9)) if shipped else (np.nan,) * 3
    return [
        share_row("better_prices_shipped", len(shipped), tests),
        share_row("better_prices_stopped", stopped, tests),
        Row("days_to_ship", float(middle), float(low), float(high), unit="days, interval 10 % to 90 %"),
    ]


def split_rows(tests: int) -> list[Row]:
    """How often the daily check calls a sound split broken, and one that loses customers."""
    found = {0.0: 0, LOST: 0}
    for lost in found:
        for seed in range(tests):
            rng = np.random.default_rng(20_000 + seed)
            a_day = CUSTOMERS // DAYS
            assigned = rng.binomial(a_day, 0.5, DAYS)
            control, treated = (a_day - assigned).cumsum(), rng.binomial(assigned, 1.0 - lost).cumsum()
            looks = zip(control.tolist(), treated.tolist(), strict=True)
            experiment = Split("split", HALF)
            found[lost] += any(split_check({"control": c, "treatment": t}, experiment).broken for c, t in looks)
    return [
        share_row("sound_split_called_broken", found[0.0], tests, reference="<= 0.001"),
        share_row("broken_split_found", found[LOST], tests),
    ]
