"""Planted nests: zeta is recovered within its interval, and without nests the plain logit is kept."""

import numpy as np

from fairtag.demand.choices import Choices
from fairtag.demand.dissimilarity import judge_nests
from fairtag.demand.logit import Prior, fit_logit
from fairtag.solver.cells import Cells

PAIRS, SINGLES, CATEGORIES = 8, 16, 2


def plant(rng, pages=1_500, size=8, zeta=(0.5, 0.5), slope=4.0):
    """Pages of a catalogue whose first items are pairs of twins, and choices from a nested logit."""
    items = 2 * PAIRS + SINGLES
    nest = np.r_[2 * (np.arange(2 * PAIRS) // 2), np.arange(2 * PAIRS, items)]
    category = nest // 2 % CATEGORIES
    item = np.concatenate([rng.choice(items, size, replace=False) for _ in range(pages)])
    page = np.repeat(np.arange(pages), size)
    y = rng.choice([0.7, 0.8, 0.9, 1.0], item.size)
    level = (0.3 * rng.normal(size=items))[nest]
    utility = -1.0 + level[item] + slope * (0.85 - y)
    adjusted = Cells.of(page, nest[item], np.asarray(zeta)[category[item]]).adjust(utility)
    noisy = (adjusted + rng.gumbel(size=item.size)).reshape(pages, size)
    none = rng.gumbel(size=pages)
    best = noisy.max(axis=1)
    bought = ((noisy == best[:, None]) & (best > none)[:, None]).ravel().astype(float)
    one_hot = (category[item, None] == np.arange(CATEGORIES)).astype(float)
    X = np.column_stack([one_hot, 0.85 - y])
    Z = np.column_stack([np.ones(item.size), 0.85 - y])
    starts = np.arange(0, item.size, size)
    return Choices(X, starts, bought, (best <= none).astype(float), item, Z, items), item, nest, category


PRIOR = Prior(np.zeros(3), np.full(3, 0.01), np.array([6.0, 20.0]))
LOWER = np.full(3, -np.inf)


def judged(choices, item, nest, category):
    plain = fit_logit(choices, PRIOR)
    return judge_nests(choices, PRIOR, plain, LOWER, item=item, nest=nest, category=category, names=("cups", "lamps"))


def test_planted_dissimilarities_lie_in_their_intervals_and_the_nested_logit_is_chosen(rng):
    found = judged(*plant(rng, pages=3_000, zeta=(0.3, 0.6)))
    for each, truth in zip(found, (0.3, 0.6), strict=True):
        assert each.nests == PAIRS // 2
        assert each.items == PAIRS
        assert each.low < truth < each.high
        assert each.nested
