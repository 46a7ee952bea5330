"""A shop that lists products twice: one price for both listings, whoever asks, and demand that is not doubled."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.data.point_in_time import training_set
from fairtag.model.capabilities import ALL
from fairtag.model.pricing_model import load_pricing_model
from fairtag.page.page_prices import choose_prices
from fairtag.page.problem import page_problem
from fairtag.policy.context import UserContext
from fairtag.simulator.simulation import Effects, ShopDesign, ShopSize, simulate_shop
from fairtag.training.equal_items import equal_items
from fairtag.training.model import Lineage, fit_model_folder

EFFECTS = Effects(kappa=0.0, beta_s=0.0)  # relevance, which the tests' small encoder cannot see, moves nothing
SIZE = ShopSize(items=96, users=150, impressions=12_000, page_size=12, wishes=100, judgements=300)


@pytest.fixture(scope="module")
def twins():
    return simulate_shop(SIZE, seed=3, design=ShopDesign(effects=EFFECTS, twins=0.5, dissimilarity=0.3))


@pytest.fixture(scope="module")
def model(twins, tiny_encoder, tmp_path_factory):
    lineage = Lineage(twins.tables.fingerprint(), "test", "2026-01-01T00:00:00+00:00", "synthetic")
    folder = tmp_path_factory.mktemp("twins") / "model"
    fit_model_folder(twins.tables, training_set(twins.tables), tiny_encoder, folder, lineage=lineage)
    loaded = load_pricing_model(folder, verify=False)
    return replace(loaded, capabilities=ALL, policy=replace(loaded.policy, exploration=0.0, personalise=True))


@pytest.fixture(scope="module")
def pairs(twins, model):
    copy_of = twins.planted.catalogue.copy_of
    second = np.flatnonzero(copy_of != np.arange(copy_of.size))
    return np.column_stack([copy_of[second], second])


def test_copies_are_found_by_their_texts_and_nothing_else_is(model, pairs):
    first, second = np.sort(pairs, axis=1).T
    assert (model.demand.nest[second] == first).all()
    assert np.unique(model.demand.nest).size == model.demand.n_items - len(pairs)


def test_copies_get_one_price_for_every_customer_on_every_page(model, twins, pairs):
    group = equal_items(model)
    equal = pairs[group[pairs[:, 0]] == group[pairs[:, 1]]]
    assert len(equal) == len(pairs)
    rng, moved = np.random.default_rng(0), 0
    users = twins.tables.users.drop_duplicates(schema.USER_ID, keep="last")
    for number in range(12):
        shown = np.unique(np.r_[equal[rng.choice(len(equal), 5, replace=False)].ravel(), rng.choice(96, 6)])
        behaviour = users.iloc[number][list(schema.USER_PRICING_FEATURES)].astype(float)
        user = UserContext() if number % 3 == 0 else UserContext(behaviour=behaviour.to_dict())
        problem = page_problem(model, shown, None, user)
        price = dict(zip(shown.tolist(), choose_prices(problem, 0).price.tolist(), strict=True))
        both = [(price[one], price[two]) for one, two in equal.tolist() if one in price and two in price]
        assert len(both) >= 5
        assert all(one == two for one, two in both)
        moved += sum(price[item] < model.market.list_price[item] for item in equal.ravel().tolist() if item in price)
    assert moved > 0  # at list they would be equal anyway


def test_a_copy_on_the_page_does_not_double_the_demand(model, pairs):
    nested = [row for row in model.demand.report["nests"] if row["nested"]]
    assert nested
    for one, two in pairs:
        if model.demand.dissimilarity[model.demand.category[one]] == 1:
            continue
        first, second, both = (
            choose_prices(page_problem(model, np.array(rows), None, UserContext()), 0).probability.sum()
            for rows in ([one], [two], [one, two])
        )
        odds = [q / (1 - q) for q in (first, second)]
        together = both / (1 - both)
        assert max(odds) < together < 0.95 * sum(odds)  # a plain logit has their sum


def test_what_the_folder_holds_is_what_was_fitted(model, twins):
    assert model.demand.nest.dtype == np.int64
    assert ((model.demand.dissimilarity > 0) & (model.demand.dissimilarity <= 1)).all()
    assert {row["category"] for row in model.demand.report["nests"]} == set(model.demand.categories)
    assert twins.planted.dissimilarity == 0.3
