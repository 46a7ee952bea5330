"""What the pages of an item are worth, against the definition on the logged pages."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.model.pricing_model import load_pricing_model
from fairtag.training.corridors import public_prices, pulls
from fairtag.training.inputs import demand_inputs, fit_part
from fairtag.training.page_values import page_values

MANY, FEW = 8, 1.0  # pages that show an item, and purchases of it that the model expects on them


@pytest.fixture(scope="module")
def case(model_folder, joined):
    """A model with its page values, and its training pages."""
    model = load_pricing_model(model_folder, verify=False)
    data = demand_inputs(
        fit_part(joined), model.catalogue, model.embeddings, model.encoder, model.price_model, model.policy
    )
    value = page_values(model, data)
    nowhere = np.full(value.size, np.nan)
    return replace(model, estimates=replace(model.estimates, page_value=value, corridor_low=nowhere)), data


def test_an_item_that_many_pages_show_has_their_value_however_seldom_it_sells(case):
    model, data = case
    problem, chosen = public_prices(model)
    pull = pulls(problem, chosen.price, data)
    q = pull / (1.0 + np.add.reduceat(pull, data.starts))[data.page]
    gain = np.nan_to_num(chosen.price - (problem.cost + problem.shadow) * problem.r)[data.item]
    worth = np.add.reduceat(q * gain, data.starts)[data.page]
    n, nest = len(model.item_ids), model.demand.nest[data.item]
    shown, sold, earned = (np.bincount(nest, x, n) for x in (np.ones(nest.size), q, q * worth))
    category = model.demand.category
    mean = (np.bincount(category, earned) / np.bincount(category, sold))[category]
    often = (shown >= MANY) & (sold < FEW)
    assert often.sum() > 20
    own = earned[often] / sold[often]
    kept = np.abs(model.estimates.page_value[often] - own) / np.abs(mean[often] - own)
    assert np.median(kept) < 0.2


def test_items_of_a_nest_have_one_value_and_what_no_page_shows_has_the_mean_of_its_category(case):
    model, data = case
    value, nest = model.estimates.page_value, model.demand.nest
    np.testing.assert_allclose(value, value[nest], atol=0)
    few = data.pages(np.arange(data.starts.size) < 20)
    missing = np.setdiff1d(nest, nest[few.item])
    fewer, category = page_values(model, few)[missing], model.demand.category[missing]
    assert missing.size > 20
    for code in np.unique(category):
        assert np.ptp(fewer[category == code]) < 1e-9 * fewer.max()
