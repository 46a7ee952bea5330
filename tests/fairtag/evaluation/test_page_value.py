"""The one-step estimate of pages against full enumeration of every draw and every choice."""

from itertools import product

import numpy as np
import pytest

from fairtag.evaluation.page_value import PageLog, one_step, predicted
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
