"""Nested logit: probabilities by definition, derivatives by differences, fits by L-BFGS, groups of texts."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fairtag.demand.choices import Choices, log_likelihood, probabilities, score
from fairtag.demand.hessian import group_information_times, information, information_times
from fairtag.demand.logit import Prior, fit_logit, laplace
from fairtag.demand.nests import near_identical
from fairtag.solver.cells import Cells

ZETA = np.array([0.4, 0.7, 0.15])


def nested(choices, rng, zeta=ZETA):
    """The same choices with every row of a page in one of three nests."""
    nest = rng.integers(0, 3, choices.n_rows)
    return choices.with_cells(Cells.of(choices.page, nest, zeta[nest])), nest


def by_definition(utility, page, nest, zeta):
    """Nested logit probabilities, page by page and nest by nest."""
    q = np.zeros_like(utility)
    for p in np.unique(page):
        sums = {}
        for k in np.unique(nest[page == p]):
            rows = np.flatnonzero((page == p) & (nest == k))
            sums[k] = (rows, np.exp(utility[rows] / zeta[k]), zeta[k])
        total = 1 + sum(weight.sum() ** z for _, weight, z in sums.values())
        for rows, weight, z in sums.values():
            q[rows] = weight / weight.sum() * weight.sum() ** z / total
    return q


@pytest.fixture
def case(rng, simulate):
    choices, _ = simulate(rng, pages=60, groups=12)
    return nested(choices, rng)


def test_probabilities_are_those_of_the_nested_logit(rng, case):
    choices, nest = case
    utility = 2 * rng.normal(size=choices.n_rows)
    q, inclusive = probabilities(choices.cells.adjust(utility), choices.starts, choices.page)
    np.testing.assert_allclose(q, by_definition(utility, choices.page, nest, ZETA), rtol=1e-10)
    assert np.isfinite(inclusive).all()


def test_items_alone_on_their_page_and_a_dissimilarity_of_one_change_nothing(rng):
    page, nest = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    utility = rng.normal(size=12)
    assert Cells.of(page, nest, np.full(12, 0.5)).adjust(utility) is utility
    shared = Cells.of(page, np.zeros(12, dtype=int), np.ones(12), with_plain=True)
    assert shared.row.size == 12
    np.testing.assert_allclose(shared.adjust(utility), utility, atol=1e-12)


def test_utilities_far_apart_neither_overflow_nor_vanish_and_what_is_not_on_sale_attracts_nobody():
    cells = Cells.of(np.zeros(4, dtype=int), np.array([0, 0, 1, 1]), np.full(4, 0.05))
    adjusted = cells.adjust(np.array([900.0, -900.0, -np.inf, -np.inf]))
    assert adjusted[0] == 900.0
    assert adjusted[1] < -1e4
    assert (adjusted[2:] == -np.inf).all()
    alone = cells.adjust(np.array([1.0, -np.inf, -np.inf, 2.0]))
    assert alone.tolist() == [1.0, -np.inf, -np.inf, 2.0]


def test_small_changes_are_pushed_pulled_and_undone_as_differences_show(rng, case):
    choices, _ = case
    utility = rng.normal(size=choices.n_rows)
    cells, step = choices.cells, 1e-6
    pull = np.exp(cells.adjust(utility))
    change, row = rng.normal(size=(2, choices.n_rows))
    seen = (cells.adjust(utility + step * change) - cells.adjust(utility - step * change)) / (2 * step)
    np.testing.assert_allclose(cells.push(change, pull), seen, rtol=1e-5, atol=1e-7)
    assert row @ cells.push(change, pull) == pytest.approx(cells.pull(row, pull) @ change)
    np.testing.assert_allclose(cells.unpush(cells.push(change, pull), pull), change, atol=1e-9)
    moved = [cells.with_dissimilarity(cells.dissimilarity * np.exp(h)).adjust(utility) for h in (step, -step)]
    np.testing.assert_allclose(cells.log_slope(utility), (moved[0] - moved[1]) / (2 * step), rtol=1e-5, atol=1e-7)


def test_one_item_that_moves_or_leaves_changes_the_rest_of_its_page_as_defined(rng, case):
    choices, _ = case
    cells, utility = choices.cells, rng.normal(size=choices.n_rows)
    pull = np.exp(cells.adjust(utility))
    for change in (0.8, -np.inf):
        own, rest = cells.move_one(pull, np.full(choices.n_rows, change))
        for row in cells.row[::9]:
            moved = utility.copy()
            moved[row] += change
            others = choices.page == choices.page[row]
            after = np.exp(cells.adjust(moved))
            assert own[row] == pytest.approx(after[row], abs=1e-12)
            gone = after[others].sum() - after[row] - (pull[others].sum() - pull[row])
            assert rest[row] == pytest.approx(gone, abs=1e-9)


def test_the_score_is_the_gradient_and_the_information_its_expected_curvature(rng, case):
    choices, _ = case
    theta, effects = rng.normal(size=3), 0.3 * rng.normal(size=(12, 2))

    def value(theta, effects):
        return log_likelihood(choices, choices.adjusted(theta, effects))

    q, _ = probabilities(choices.adjusted(theta, effects), choices.starts, choices.page)
    slope, effect_slope = score(choices, q)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        assert slope[k] == pytest.approx((value(theta + step, effects) - value(theta - step, effects)) / 2e-6, rel=1e-5)
    step = np.zeros_like(effects)
    step[5, 1] = 1e-6
    seen = (value(theta, effects + step) - value(theta, effects - step)) / 2e-6
    assert effect_slope[5, 1] == pytest.approx(seen, rel=1e-5)

    one_hot = np.eye(12)[choices.group]
    full = np.hstack([choices.X, (one_hot[:, :, None] * choices.Z[:, None, :]).reshape(choices.n_rows, -1)])
    expected = np.zeros((27, 27))  # the sum of q_i (d log q_i)(d log q_i)' over what a visitor may do
    J = choices.cells.push(full, q)
    for p in range(choices.n_pages):
        rows = choices.page == p
        mean = q[rows] @ J[rows]
        outside = 1 - q[rows].sum()
        each = J[rows] - mean
        expected += choices.trials[p] * ((q[rows, None] * each).T @ each + outside * np.outer(mean, mean))
    found = information(choices, q)
    np.testing.assert_allclose(found.shared, expected[:3, :3], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.border.reshape(24, 3), expected[3:, :3], rtol=1e-8, atol=1e-10)
    direction = rng.normal(size=27)
    shared, groups = information_times(choices, q, direction[:3], direction[3:].reshape(12, 2))
    np.testing.assert_allclose(np.r_[shared, groups.ravel()], expected @ direction, rtol=1e-8, atol=1e-9)
    inside = group_information_times(choices, q, direction[3:].reshape(12, 2))
    np.testing.assert_allclose(inside.ravel(), expected[3:, 3:] @ direction[3:], rtol=1e-8, atol=1e-9)
    for g in range(12):
        at = slice(3 + 2 * g, 5 + 2 * g)
        np.testing.assert_allclose(found.blocks[g], expected[at, at], rtol=1e-8, atol=1e-10)
    bound = np.block([[found.shared, found.border.reshape(24, 3).T], [found.border.reshape(24, 3), np.zeros((24, 24))]])
    for g in range(12):
        bound[3 + 2 * g : 5 + 2 * g, 3 + 2 * g : 5 + 2 * g] = found.majorant[g]
    assert np.linalg.eigvalsh(bound - expected).min() > -1e-8


@pytest.mark.parametrize("zeta", [0.4, 1.7])
def test_pairs_take_a_shorter_way_to_the_same_information(rng, simulate, zeta):
    choices, _ = simulate(rng, pages=40, groups=12, sizes=(4, 5))
    twins = np.arange(choices.n_rows) - choices.starts[choices.page]
    cells = Cells.of(choices.page, np.minimum(twins // 2, 1), np.full(choices.n_rows, zeta), with_plain=True)
    assert cells.row.size == 2 * cells.starts.size == choices.n_rows
    q, _ = probabilities(cells.adjust(choices.X @ np.ones(3)), choices.starts, choices.page)
    found = information(choices.with_cells(cells), q)
    J = cells.push(choices.X, q)
    expected = np.zeros((3, 3))
    for p in range(choices.n_pages):
        rows = choices.page == p
        spread = np.diag(q[rows]) - np.outer(q[rows], q[rows])
        expected += choices.trials[p] * J[rows].T @ spread @ J[rows]
    np.testing.assert_allclose(found.shared, expected, rtol=1e-10)


def test_the_fit_equals_lbfgs_on_the_same_objective(rng, simulate):
    choices, _ = simulate(rng, pages=250, groups=10, sizes=(3, 9))
    choices, _ = nested(choices, rng)
    prior = Prior(np.zeros(3), np.full(3, 0.5), np.array([4.0, 2.0]))

    def loss(x):
        theta, effects = x[:3], x[3:].reshape(10, 2)
        q, _ = probabilities(choices.adjusted(theta, effects), choices.starts, choices.page)
        slope, effect_slope = score(choices, q)
        value = log_likelihood(choices, choices.adjusted(theta, effects))
        penalty = 0.5 * (0.5 * theta @ theta + (prior.effects * effects**2).sum())
        return penalty - value, np.r_[0.5 * theta - slope, (prior.effects * effects - effect_slope).ravel()]

    found = minimize(loss, np.zeros(23), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
    fit = fit_logit(choices, prior)
    np.testing.assert_allclose(np.r_[fit.theta, fit.effects.ravel()], found.x, atol=2e-5)
    assert np.isfinite(laplace(choices, fit, prior).shared).all()


def test_pages_that_are_kept_keep_their_nests(rng, case):
    choices, nest = case
    keep = rng.random(choices.n_pages) < 0.5
    part = choices.pages(keep)
    utility = rng.normal(size=choices.n_rows)
    rows = keep[choices.page]
    whole = choices.cells.adjust(utility)[rows]
    np.testing.assert_allclose(part.cells.adjust(utility[rows]), whole, atol=1e-12)
    assert isinstance(part, Choices)
    assert nest.size == choices.n_rows


def test_near_identical_texts_of_a_category_join_the_first_of_them_and_chains_do_not(rng):
    centre = rng.normal(size=(5, 32))
    copies = np.repeat(centre, 3, axis=0) + 0.02 * rng.normal(size=(15, 32))
    order = rng.permutation(15)
    found = near_identical(copies[order], np.zeros(15, dtype=int))
    label = np.repeat(np.arange(5), 3)[order]
    for k in range(5):
        members = np.flatnonzero(label == k)
        assert (found[members] == members[0]).all()
    apart = near_identical(copies[order], np.arange(15))
    assert apart.tolist() == list(range(15))
    angle = np.deg2rad([0, 10, 20, 30])
    chain = np.column_stack([np.cos(angle), np.sin(angle)])
    both, category = np.vstack([chain, -chain]), np.repeat([0, 1], 4)
    assert near_identical(both, category, np.cos(np.deg2rad(11))).tolist() == [0, 0, 2, 2, 4, 4, 6, 6]


def test_an_encoder_that_finds_all_texts_alike_makes_no_nests(rng):
    crowded = 50.0 + rng.normal(size=(60, 32))
    unit = crowded / np.linalg.norm(crowded, axis=1, keepdims=True)
    assert (unit @ unit.T).min() > 0.99
    assert near_identical(unit, np.zeros(60, dtype=int)).tolist() == list(range(60))
    assert near_identical(np.ones((60, 4)), np.zeros(60, dtype=int)).tolist() == list(range(60))


def test_groups_do_not_depend_on_how_many_items_are_compared_at_a_time(rng, monkeypatch):
    vectors = np.repeat(rng.normal(size=(40, 16)), 3, axis=0)[rng.permutation(120)]
    whole = near_identical(vectors, np.zeros(120, dtype=int))
    monkeypatch.setattr("fairtag.demand.nests.BLOCK", 7)
    assert near_identical(vectors, np.zeros(120, dtype=int)).tolist() == whole.tolist()
    assert np.unique(whole).size == 40
