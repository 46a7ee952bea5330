"""The plan of a live test against the textbook formula, and against simulated tests of the size that it asks for."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base.errors import ConfigError, DataError
from fairtag.evaluation.experiment import Advice, Metric, Sums, read_experiment, sums
from fairtag.evaluation.experiment_plan import Traffic, detectable_gain, plan, traffic_of
from fairtag.policy.experiments import Split


def steady(a_day=50, days=100, mean=10.0, deviation=20.0):
    """As many new customers every day, of a normal value."""
    rng = np.random.default_rng(0)
    value = rng.normal(size=a_day * days)
    value = mean + deviation * (value - value.mean()) / value.std(ddof=1)
    return Traffic(np.arange(a_day * days) / a_day, value, float(days), 7.0)


def test_one_look_needs_the_customers_of_the_textbook():
    found = plan(steady(), 0.1)
    textbook = 2 * 2 * ((1.959964 + 0.841621) * 20.0 / 1.0) ** 2
    assert found.fixed == pytest.approx(textbook, abs=1)
    assert found.sequential > found.fixed
    assert found.days == pytest.approx(found.sequential / 50 + 7, rel=0.01)


def test_an_unequal_split_needs_more_and_a_larger_gain_less():
    even, uneven, easy = plan(steady(), 0.1), plan(steady(), 0.1, share=0.1), plan(steady(), 0.2)
    assert uneven.fixed == pytest.approx(even.fixed * (1 / 0.1 + 1 / 0.9) / 4, rel=1e-3)
    assert easy.fixed == pytest.approx(even.fixed / 4, rel=1e-3)


def test_the_detectable_gain_is_the_one_that_takes_those_days():
    traffic = steady()
    assert detectable_gain(traffic, plan(traffic, 0.1).days) == pytest.approx(0.1, rel=1e-3)
    assert detectable_gain(traffic, 6.0) == np.inf  # within the window of the first customer


def test_tests_of_the_planned_size_find_the_gain_with_the_planned_power():
    traffic = steady()
    found = plan(traffic, 0.25)
    rng = np.random.default_rng(1)
    shipped = 0
    experiment, metric = Split("t", {"a": 0.5, "b": 0.5}), [Metric("profit", scale=found.effect)]
    for _ in range(100):
        half = found.sequential // 2
        arms = {"a": rng.normal(10.0, 20.0, half), "b": rng.normal(12.5, 20.0, half)}
        reading = read_experiment(experiment, metric, {k: {"profit": sums(v)} for k, v in arms.items()})
        shipped += reading.advice is Advice.SHIP
    assert 68 <= shipped <= 92  # 80 expected, within three standard deviations


def test_equal_arms_looked_at_on_a_thousand_days_keep_their_level():
    experiment, metrics = Split("a/a", {"a": 0.5, "b": 0.5}), [Metric("profit", scale=0.05)]
    rng = np.random.default_rng(2)
    decided = 0
    for _ in range(10):
        totals = {arm: {"profit": Sums(0, 0.0, 0.0)} for arm in "ab"}
        states, called = None, False
        for _ in range(1_000):
            for arm in "ab":
                totals[arm]["profit"] += sums(rng.normal(1.0, 2.0, 20))
            reading = read_experiment(experiment, metrics, totals, states)
            states = reading.states
            called |= reading.advice is not Advice.CONTINUE
        decided += called
    assert decided <= 3  # at 5 % more than 3 of 10 would decide with probability 0.001


def test_traffic_counts_each_customer_once_with_what_their_window_earned():
    start = pd.Timestamp("2024-01-01", tz="UTC")
    rows = pd.DataFrame(
        {
            "user_id": ["u", "u", "u", "v"] + [f"w{n}" for n in range(120)],
            "item_id": "mug",
            "ts": [start, start + pd.Timedelta(days=3), start + pd.Timedelta(days=9), start + pd.Timedelta(days=20)]
            + [start] * 120,
            "price": 8.0,
            "purchased": [True, True, True, True] + [False] * 120,
        }
    )
    found = traffic_of(rows, pd.Series({"mug": 5.0}), window=7.0)
    assert found.value.size == 121  # v's window is not over
    assert sorted(found.value)[-1] == 6.0  # two sales of u lie in the window, the third does not
    assert found.customers(1.0) == 121
    assert found.customers(20.0) == 122


def test_too_few_customers_or_a_gain_of_nothing_are_refused():
    rows = pd.DataFrame(
        {"user_id": ["u"], "item_id": ["m"], "ts": [pd.Timestamp("2024-01-01")], "price": [1.0], "purchased": [True]}
    )
    with pytest.raises(DataError, match="0 customers have a whole window"):
        traffic_of(rows, pd.Series({"m": 0.5}))
    with pytest.raises(ConfigError, match="gain 0"):
        plan(steady(), 0.0)
    with pytest.raises(ConfigError, match="no share of it is a gain"):
        plan(steady(mean=-1.0), 0.1)


def visits(seed, n=8_000, days=60.0):
    """Customers who come on one to five days of a window and buy on one page in five, most of them little."""
    rng = np.random.default_rng(seed)
    pages = 1 + rng.poisson(1.0, n)
    customer = np.repeat(np.arange(n), pages)
    day = rng.uniform(0, days, n)[customer] + rng.uniform(0, 5.0, customer.size)
    price = 5.0 + rng.lognormal(0.5, 0.8, customer.size)
    return pd.DataFrame(
        {
            "page_id": np.arange(customer.size),
            "user_id": customer,
            "item_id": "mug",
            "ts": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(day, unit="D"),
            "price": price,
            "purchased": rng.random(customer.size) < 0.2,
        }
    )


def thinned(rows, keep, rng):
    """The rows that are kept, each with the chance ``keep``, and what each then stands for."""
    kept = rng.random(len(rows)) < keep
    return rows[kept].assign(weight=1.0 / np.broadcast_to(keep, len(rows))[kept])


@pytest.mark.slow
@pytest.mark.parametrize("buyers", [1.0, 0.3])
def test_a_sample_of_pages_plans_what_the_whole_log_does(buyers):
    cost, figures = pd.Series({"mug": 5.0}), []
    for seed in range(12):
        rows = visits(seed)
        keep = np.where(rows["purchased"], buyers, 0.1)
        whole, part = traffic_of(rows, cost), traffic_of(thinned(rows, keep, np.random.default_rng(1_000 + seed)), cost)
        before, after = plan(whole, 0.1), plan(part, 0.1)
        figures.append(
            [part.mean / whole.mean, after.fixed / before.fixed, after.days / before.days, part.number / whole.number]
        )
    mean, error = np.mean(figures, axis=0), np.std(figures, axis=0) / np.sqrt(12)
    assert mean == pytest.approx(1.0, abs=0.1), (mean, error)


def test_weighted_sums_alone_would_ask_for_too_many():
    rows, cost = visits(0), pd.Series({"mug": 5.0})
    part = thinned(rows, 0.1, np.random.default_rng(1_000))
    assert plan(traffic_of(part, cost, sampled="counts"), 0.1).days > 1.7 * plan(traffic_of(rows, cost), 0.1).days


def test_a_sample_of_customers_weighs_customers():
    rows, cost, rng = visits(1), pd.Series({"mug": 5.0}), np.random.default_rng(1)
    keep = np.where(rng.random(8_000) < 0.5, 0.5, 0.25)
    kept = rng.random(8_000) < keep
    who = rows["user_id"].to_numpy()
    part = rows[kept[who]].assign(weight=1.0 / keep[who[kept[who]]])
    whole, found = traffic_of(rows, cost), traffic_of(part, cost, sampled="customers")
    assert found.mean == pytest.approx(whole.mean, rel=0.06)
    assert found.deviation == pytest.approx(whole.deviation, rel=0.1)
    assert found.customers(30.0) == pytest.approx(whole.customers(30.0), rel=0.04)
    with pytest.raises(DataError, match="customers have pages of several weights"):
        traffic_of(part.assign(weight=np.arange(len(part)) + 1.0), cost, sampled="customers")
    with pytest.raises(ConfigError, match="one of pages, customers, counts"):
        traffic_of(part, cost, sampled="rows")


def test_weights_of_one_change_nothing():
    rows, cost = visits(2), pd.Series({"mug": 5.0})
    plain = plan(traffic_of(rows, cost), 0.1)
    for sampled in ("pages", "customers", "counts"):
        assert plan(traffic_of(rows.assign(weight=1.0), cost, sampled=sampled), 0.1) == plain
