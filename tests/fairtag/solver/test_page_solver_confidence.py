import numpy as np
import pytest

from fairtag.solver.page_solver import page_value, probability_better, solve_pages


def draws(seed=0, count=400, n=6, spread=0.1):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(1, 1, n), rng.uniform(3, 5, n)
    return a + rng.normal(0, spread, (count, n)), b * np.exp(rng.normal(0, spread, (count, n))), np.full(n, 0.4), a, b


def naive_value(y, a, b, cost):
    attraction = np.exp(a - b * y)
    return (attraction * (y - cost)).sum() / (1 + attraction.sum())


def test_it_is_the_share_of_draws_in_which_the_prices_are_worth_more():
    a, b, cost, *_ = draws(spread=0.6)
    chosen, listed = np.full(6, 0.85), np.full(6, 1.0)
    better = [naive_value(chosen, x, s, cost) > naive_value(listed, x, s, cost) for x, s in zip(a, b, strict=True)]
    assert 0.02 < np.mean(better) < 0.98
    assert probability_better(a, b, chosen, listed, cost) == np.mean(better)


def test_one_draw_of_the_truth_is_certain_of_the_optimum():
    _, _, cost, a, b = draws()
    best = solve_pages(a, b, cost, 1.0, 0.5, 1.2).y
    assert probability_better(a[None], b[None], best, np.ones(6), cost) == 1.0


def test_certainty_falls_as_the_posterior_widens():
    _, _, cost, a, b = draws()
    best = solve_pages(a, b, cost, 1.0, 0.5, 1.2).y
    near = best + 0.3  # clearly worse at the mean
    shares = []
    for spread in (0.01, 0.5, 2.0):
        wide_a, wide_b, *_ = draws(spread=spread, count=2_000)
        shares.append(probability_better(wide_a, wide_b, best, near, cost))
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.95


def test_equal_prices_are_not_better():
    a, b, cost, *_ = draws()
    assert probability_better(a, b, np.ones(6), np.ones(6), cost) == 0.0


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_draw_that_is_not_a_number_counts_as_not_better(broken):
    a, b, cost, mean_a, mean_b = draws(spread=0.0, count=10)
    best = solve_pages(mean_a, mean_b, cost, 1.0, 0.5, 1.2).y
    a, b = a.copy(), b.copy()
    b[:4] = broken
    assert probability_better(a, b, best, np.ones(6), cost) == 0.6


def test_items_off_the_page_and_the_anchor_term_are_counted_as_in_the_solver():
    a, b, cost, *_ = draws(spread=0.6)
    chosen, listed, mask = np.full(6, 0.85), np.full(6, 1.0), np.array([True] * 4 + [False] * 2)
    options = {"shadow": np.full(6, 0.05), "margin_weight": np.full(6, 0.8), "anchor_weight": np.full(6, 0.3)}
    value = [page_value(y, a, b, cost, 0.9, mask=mask, **options)[0] for y in (chosen, listed)]
    got = probability_better(a, b, chosen, listed, cost, 0.9, mask=mask, **options)
    assert got == np.mean(value[0] > value[1])
    rest = {name: x[:4] for name, x in options.items()}
    assert got == probability_better(a[:, :4], b[:, :4], chosen[:4], listed[:4], cost[:4], 0.9, **rest)
