"""Items judged by their own purchases: a binary logit each, and a wrong sign that siblings and floor would hide."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.demand.config import DemandConfig
from fairtag.demand.fit import fit_demand
from fairtag.demand.own_slopes import CONTRADICTS, own_slopes

SMALL = DemandConfig(components=3)


def judged(data, model, **changes):
    a, b = model.estimated(data.item, data.similarity, data.behaviour[data.page], data.first_stage.nu)
    modelled, predicted = model.slopes
    settings = {"b_min": model.b_min, "level": 0.01, "cells": model.cells(data.item, data.page)} | changes
    return own_slopes(data, a - b * data.y, model.posterior.effects, predicted, modelled, **settings)


def upside_down(shop, item, slope=4.0, seed=0):
    """The shop's pages, on which one item sells the better the dearer it is."""
    rng = np.random.default_rng(seed)
    frame = shop.training.copy()
    mine = (frame[schema.ITEM_ID] == f"i{item:04d}").to_numpy()
    y = (frame[schema.PRICE] / frame[schema.LIST_PRICE]).to_numpy()
    bought = rng.random(len(frame)) < 1 / (1 + np.exp(-(-3.0 + slope * (y - 0.85))))
    purchased = frame[schema.PURCHASED].to_numpy(dtype=bool).copy()
    page = frame[schema.PAGE_ID].to_numpy()
    taken = set(page[mine & bought])
    purchased &= ~np.isin(page, list(taken))
    purchased[mine] = bought[mine]
    return replace(shop, training=frame.assign(**{schema.PURCHASED: purchased}))


def test_an_items_own_slope_is_that_of_a_binary_logit_beside_the_rest_of_its_pages(data, model):
    import statsmodels.api as sm

    found = judged(data, model)
    a, b = model.estimated(data.item, data.similarity, data.behaviour[data.page], data.first_stage.nu)
    pull = np.exp(a - b * data.y)
    others = 1 + np.add.reduceat(pull, data.starts)[data.page] - pull
    effects = model.posterior.effects
    for item in (0, 17, 40):
        rows = data.item == item
        offset = (a - b * data.y - effects[item, 0] + effects[item, 1] * data.y - np.log(others))[rows]
        design = np.column_stack([np.ones(rows.sum()), -data.y[rows]])
        fit = sm.GLM(data.bought[rows], design, family=sm.families.Binomial(), offset=offset).fit()
        expected = model.slopes[1][item] + fit.params[1]
        assert found.slope[item] == pytest.approx(expected, abs=0.03 * fit.bse[1] + 0.02)  # a prior of no opinion
        assert found.error[item] >= 0.97 * fit.bse[1]


def test_items_that_follow_their_category_are_rarely_called_contradicting(data, model):
    found = judged(data, model)
    assert found.contradicts.sum() <= 1
    assert not found.at_floor.any()
    inside = np.abs(found.slope - found.predicted) < 3 * found.error
    assert inside.mean() > 0.9


def test_one_item_with_a_wrong_sign_stays_at_list_and_is_named_while_its_siblings_are_priced(shop):
    odd = 7
    model = fit_demand(upside_down(shop, odd).data(), SMALL)
    items = np.arange(model.n_items)
    assert model.slopes[0][odd] > model.b_min, "its siblings hide it: the posterior slope has the right sign"
    assert not model.priceable(np.array([odd]))[0]
    assert model.priceable(np.delete(items, odd)).mean() > 0.95
    named = [row for row in model.report["items_at_list"] if row["item"] == f"i{odd:04d}"]
    assert len(named) == 1
    assert named[0]["reason"] == CONTRADICTS
    assert named[0]["own_slope"] < 0 < named[0]["predicted"]
    json.dumps(model.report, allow_nan=False)


def test_an_item_that_was_never_shown_has_the_predicted_slope_and_contradicts_nobody(shops):
    shop = shops(never_shown=3, pages=600)
    data = shop.data()
    model = fit_demand(data, SMALL)
    found = judged(data, model)
    np.testing.assert_allclose(found.slope[-3:], found.predicted[-3:])
    assert (found.error[-3:] > 5).all()
    assert not found.contradicts[-3:].any()


def test_what_counts_as_a_contradiction_is_a_setting(shop):
    data = upside_down(shop, 7).data()
    model = fit_demand(data, SMALL)
    assert judged(data, model).contradicts[7]
    assert not judged(data, model, level=1e-300).contradicts[7]
