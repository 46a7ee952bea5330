"""The one-step estimate of pages against full enumeration of every draw and every choice."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from fairtag.evaluation.off_policy import difference
from fairtag.evaluation.page_value import ROW_FIELDS, PageLog, earned, one_step, predicted
from fairtag.solver.cells import Cells

LEVELS = np.array([7.0, 8.5, 10.0])
CHANCE = np.array([0.3, 0.3, 0.4])
UNIT = 10.0
COST = np.array([4.0, 5.0])
TRUE_A, TRUE_B = np.array([2.0, 1.2]), np.array([5.0, 4.0])


def chances(price, zeta):
    """Purchase probabilities of two items; below 1 they share their demand, as two listings of one product do."""
    weight = np.exp((TRUE_A - TRUE_B * np.asarray(price) / UNIT) / zeta)
    if zeta == 1:
        return weight / (1 + weight.sum())
    return weight / weight.sum() * weight.sum() ** zeta / (1 + weight.sum() ** zeta)


def shop(zeta):
    """Every draw of two items' prices and every choice as a page of its own, with the probability of each."""
    rows, probability = [], []
    for draw in product(range(3), repeat=2):
        price = LEVELS[list(draw)]
        share = chances(price, zeta)
        for choice in range(3):
            bought = (np.arange(2) == choice).astype(float)
            chosen = share[choice] if choice < 2 else 1 - share.sum()
            rows.append((price, bought, CHANCE[list(draw)]))
            probability.append(CHANCE[list(draw)].prod() * chosen)
    price, bought, propensity = (np.concatenate(x) for x in zip(*rows, strict=True))
    pages = len(rows)
    log = PageLog(
        page=np.repeat(np.arange(pages), 2),
        customer=np.arange(pages),
        price=price,
        unit=np.full(2 * pages, UNIT),
        cost=np.tile(COST, pages),
        bought=bought,
        on_sale=np.ones(2 * pages, dtype=bool),
        propensity=propensity,
        levels=np.tile(LEVELS, (2 * pages, 1)),
        cells=Cells.of(np.repeat(np.arange(pages), 2), np.zeros(2 * pages, dtype=np.int64), np.full(2 * pages, zeta)),
    )
    return log, np.array(probability)


def estimate(wrong_a, wrong_b, price, zeta):
    log, probability = shop(zeta)
    pages = len(log.customer)
    a, b = np.tile(TRUE_A + wrong_a, pages), np.tile(TRUE_B + wrong_b, pages)
    new = np.tile(price, pages)
    return (float(probability @ f(log, a, b, new)) for f in (predicted, one_step))


def truth(price, zeta):
    return float(chances(price, zeta) @ (np.asarray(price) - COST))


@pytest.mark.parametrize("zeta", [1.0, 0.4])
@pytest.mark.parametrize("price", [[7.0, 7.0], [8.5, 10.0], [9.2, 7.6]])
def test_with_the_right_demand_model_the_expected_estimate_is_the_truth(price, zeta):
    model, corrected = estimate(np.zeros(2), np.zeros(2), price, zeta)
    assert model == pytest.approx(truth(price, zeta), rel=1e-12)
    assert corrected == pytest.approx(truth(price, zeta), rel=1e-12)


@pytest.mark.parametrize("zeta", [1.0, 0.4])
@pytest.mark.parametrize("price", [[7.0, 7.0], [8.5, 10.0], [9.2, 7.6]])
@pytest.mark.parametrize(
    ("wrong_a", "wrong_b"),
    [((0.2, 0.0), (0.0, 0.0)), ((0.0, 0.0), (1.0, -1.0)), ((0.2, -0.1), (0.5, 0.5))],
)
def test_a_wrong_demand_model_is_corrected_to_first_order(price, zeta, wrong_a, wrong_b):
    wrong_a, wrong_b = np.array(wrong_a), np.array(wrong_b)
    true = truth(price, zeta)
    errors = [
        [value - true for value in estimate(scale * wrong_a, scale * wrong_b, price, zeta)] for scale in (1e-1, 1e-2)
    ]
    (model, corrected), (small_model, small_corrected) = errors
    assert abs(small_corrected) < 0.15 * abs(small_model) + 1e-9
    assert abs(corrected) < 0.2 * abs(model)


def test_pages_that_stand_for_several_visits_count_as_these_visits_of_one_customer_do():
    log, _ = shop(0.4)
    pages = len(log.customer)
    times = 1 + np.arange(pages) % 3
    weighted = replace(log, weight=times.astype(float), customer=np.arange(pages) // 2)
    again = np.repeat(np.arange(pages), times)
    rows = (2 * again[:, None] + np.arange(2)).ravel()
    parts = {name: getattr(log, name)[rows] for name in ROW_FIELDS}
    page = np.repeat(np.arange(again.size), 2)
    cells = Cells.of(page, np.zeros(page.size, dtype=np.int64), np.full(page.size, 0.4))
    repeated = PageLog(page=page, customer=again // 2, cells=cells, **parts)
    values = []
    for each in (weighted, repeated):
        n = len(each.customer)
        new, a, b = np.tile([8.5, 10.0], n), np.tile(TRUE_A + 0.1, n), np.tile(TRUE_B, n)
        first = each.of_pages("new", one_step(each, a, b, new))
        gain = difference(first, each.of_pages("logged", earned(each)))
        values.append((first.value, first.standard_error, gain.value, gain.standard_error))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-10)


def test_profit_is_that_of_units_where_purchases_hold_several():
    log, probability = shop(1.0)
    pages, size = len(log.customer), np.array([3.0, 1.5])
    several = replace(log, units=np.tile(size, pages), weight=probability)
    a, b, new = np.tile(TRUE_A, pages), np.tile(TRUE_B, pages), np.tile([8.5, 10.0], pages)
    expected = float(chances([8.5, 10.0], 1.0) @ (size * (np.array([8.5, 10.0]) - COST)))
    assert several.of_pages("new", one_step(several, a, b, new)).value == pytest.approx(expected, rel=1e-12)
    sold = float(probability @ log.sums(log.bought * np.tile(size, pages) * (log.price - log.cost)))
    assert several.of_pages("logged", earned(several)).value == pytest.approx(sold, rel=1e-12)
