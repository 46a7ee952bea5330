"""Page values and corridors on whole pages: brute force over page profits finds nothing better; list is inside."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from fairtag.base import schema
from fairtag.model.pricing_model import ItemEstimates, PricingModel
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.solver.cells import Cells
from fairtag.training import corridors as placing
from fairtag.training.corridors import place_corridors, public_prices, sample_visits
from fairtag.training.page_values import page_values

ITEMS, PAGES, PAGE, RHO = 30, 60, 6, 1.1


class Demand:
    """Linear in similarity and one behaviour value; two categories; every seventh item is not to be priced."""

    learned, categories = True, ("a", "b")
    category = np.arange(ITEMS) % 2
    nest = np.arange(ITEMS)
    scaling = SimpleNamespace(similarity=0.7)
    units = np.ones(2)

    def __init__(self, spread=0.0, seed=0):
        rng = np.random.default_rng(seed)
        self.a, self.b = rng.normal(1.0, 0.5, ITEMS), rng.uniform(5, 8, ITEMS)
        self.spread = np.full(ITEMS, spread)

    def page(self, rows, similarity, behaviour=None):
        z = 0.0 if behaviour is None else float(np.nan_to_num(behaviour[0]))
        return self.a[rows] + similarity + 0.2 * z, self.b[rows] + 0.8 * z

    def utilities(self, rows, similarity, behaviour, nu):
        z = np.nan_to_num(behaviour[:, 0])
        return self.a[rows] + similarity + 0.2 * z + nu, self.b[rows] + 0.8 * z

    def cells(self, rows, page=None):
        return Cells.none()

    def units_of(self, rows):
        return self.units[self.category[rows]]

    def slope_above(self, rows, threshold, similarity, behaviour=None):
        gap = self.page(rows, similarity, behaviour)[1] - threshold
        return norm.cdf(gap / np.maximum(self.spread[rows], 1e-12))

    def priceable(self, rows):
        return rows % 7 != 0


def log(seed=0):
    rng = np.random.default_rng(seed)
    n = PAGES * PAGE
    starts = np.arange(PAGES) * PAGE
    return SimpleNamespace(
        item=rng.integers(0, ITEMS, n),
        similarity=rng.uniform(0.5, 1.0, n),
        behaviour=np.where(rng.random((PAGES, 1)) < 0.1, np.nan, rng.normal(0, 1, (PAGES, 1))),
        starts=starts,
        page=np.repeat(np.arange(PAGES), PAGE),
        n_rows=n,
        row_weight=np.ones(n),
        weight=np.ones(PAGES),
    )


def with_page_values(model, data):
    return replace(model, estimates=replace(model.estimates, page_value=page_values(model, data)))


def shop(demand=None, rho=RHO, **policy):
    listed = np.linspace(10, 60, ITEMS).round(2)
    catalogue = pd.DataFrame(
        {
            schema.ITEM_ID: [f"i{n}" for n in range(ITEMS)],
            schema.CATEGORY: np.where(np.arange(ITEMS) % 2, "b", "a"),
            schema.LIST_PRICE: listed,
            schema.UNIT_COST: 0.5 * listed,
        }
    )
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(ITEMS, 5)).astype(np.float32)
    nothing = np.zeros(ITEMS)
    model = PricingModel(
        Path(),
        {},
        PricingPolicy(limits=GuardrailLimits(corridor_ratio=rho), **policy),
        None,
        catalogue,
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        demand or Demand(),
        None,
        ItemEstimates(0.9 * listed, listed, listed, np.full(ITEMS, np.nan), nothing, nothing, nothing),
    )
    return with_page_values(model, log())


def free(model):
    return public_prices(replace(model, estimates=replace(model.estimates, corridor_low=np.full(ITEMS, np.nan))))


def test_a_visit_knows_what_the_rest_of_its_page_attracts_and_earns():
    problem, chosen = free(shop())
    data = log()
    found = sample_visits(problem, chosen.price, data, visits=10**6)
    listed, demand = problem.market.list_price, problem.model.demand
    for code, visits in found.items():
        assert len(visits.worth) == (demand.category[data.item] == code).sum()
    visits = found[1]
    for at in range(0, len(visits.worth), 9):
        place = int(np.flatnonzero(data.similarity == visits.similarity[at])[0])
        page = data.page[place]
        rest = [row for row in np.flatnonzero(data.page == page) if row != place]
        a, b = demand.page(data.item[rest], data.similarity[rest], data.behaviour[page])
        price = chosen.price[data.item[rest]]
        pull = np.exp(a - b * price / listed[data.item[rest]])
        assert visits.outside[at] == pytest.approx(1 + pull.sum())
        gain = (pull * (price - 0.5 * listed[data.item[rest]])).sum()
        assert visits.worth[at] == pytest.approx(gain / visits.outside[at])


def test_the_corridor_is_the_best_one_by_brute_force_over_the_profit_of_whole_pages():
    model, data = shop(confidence=0.0), log()
    problem, chosen = free(model)
    low = place_corridors(model, data)
    for item in (1, 5, 12, 29):
        visits = sample_visits(problem, chosen.price, data)[item % 2]
        r, public = problem.r[item], chosen.price[item] / problem.r[item]
        pairs = [
            problem.model.demand.page(np.array([item]), np.array([s]), z)
            for s, z in zip(visits.similarity, visits.behaviour, strict=True)
        ]
        a, b = (np.array([float(pair[k][0]) for pair in pairs]) for k in (0, 1))
        own = 0.5 + problem.competition[item] + 1 / b  # the price of an item beside its page value
        asked = np.clip(np.minimum(own, public), 0.7, 1.0)

        def worth(low, asked=asked, a=a, b=b, visits=visits, r=r):
            y = np.clip(asked, low, min(RHO * low, 1.0))
            pull = np.exp(a - b * y)
            page = (visits.worth * visits.outside + pull * (y - 0.5) * r) / (visits.outside + pull)
            return page.mean() / r

        # a corridor that touches what somebody is asked: no discount is forced on everybody
        least = max(asked.min() / RHO, 0.7)
        best = max(worth(candidate) for candidate in np.linspace(least, asked.max(), 601))
        assert worth(low[item] / r) >= best - 1e-6


def test_list_lies_inside_wherever_list_is_what_is_shown():
    model, data = shop(Demand(spread=3.0)), log()  # unsure of its slopes: some items stay at list
    low = place_corridors(model, data)
    problem, chosen = public_prices(replace(model, estimates=replace(model.estimates, corridor_low=low)))
    listed = problem.market.list_price
    assert chosen.at_list.sum() > (np.arange(ITEMS) % 7 == 0).sum(), "some for want of confidence"
    assert (~chosen.at_list).any()
    np.testing.assert_allclose(chosen.price[chosen.at_list], listed[chosen.at_list])
    np.testing.assert_allclose(RHO * low[::7], listed[::7])


def test_a_corridor_that_costs_nothing_holds_list():
    model = shop(confidence=0.0, rho=1.5)
    low, listed = place_corridors(model, log()), model.market.list_price
    assert (low <= 0.7 * listed + 0.01).all()
    assert (1.5 * low >= listed - 1e-9).all()


def test_corridors_lie_between_the_guardrails():
    low, listed = place_corridors(shop(confidence=0.0), log()), shop().market.list_price
    assert (low >= 0.7 * listed - 1e-9).all()
    assert (low <= listed + 1e-9).all()


def test_chunks_do_not_change_the_answer(monkeypatch):
    whole = place_corridors(shop(), log())
    monkeypatch.setattr(placing, "CHUNK_ITEMS", 4)
    np.testing.assert_array_equal(place_corridors(shop(), log()), whole)


def test_without_a_learned_demand_every_corridor_ends_at_list():
    demand = Demand()
    demand.priceable = lambda rows: np.zeros(len(rows), dtype=bool)
    model = shop(demand)
    np.testing.assert_allclose(RHO * place_corridors(model, None), model.market.list_price)


def test_where_prices_follow_f_alone_f_lies_inside():
    model = shop(margin_weight=0.0, anchor_weight=1.0)
    low = place_corridors(model, log())
    _, chosen = free(model)
    assert chosen.price[1] == pytest.approx(model.estimates.f[1], abs=0.1)
    assert (low <= chosen.price + 0.01).all()
    assert (chosen.price <= RHO * low + 0.01).all()


def test_a_shop_without_personal_prices_has_its_public_price_inside():
    model = shop(personalise=False, confidence=0.0)
    low = place_corridors(model, log())
    _, chosen = free(model)
    assert (low <= chosen.price + 0.01).all()
    assert (chosen.price <= RHO * low + 0.01).all()


def test_no_other_price_that_is_the_same_on_every_page_earns_more_on_the_logged_pages(monkeypatch):
    monkeypatch.setattr("fairtag.training.page_values.BORROWED", 0.0)
    model, data = shop(confidence=0.0), log()
    data.behaviour = np.full_like(data.behaviour, np.nan)  # everybody has the public slope, as the formula has it
    problem, chosen = free(with_page_values(model, data))
    a, b = model.demand.utilities(data.item, data.similarity, data.behaviour[data.page], 0.0)
    listed = problem.market.list_price

    def profit(price):
        pull = np.exp(a - b * (price / listed)[data.item]).reshape(PAGES, PAGE)
        gain = (price - 0.5 * listed)[data.item].reshape(PAGES, PAGE)
        return float(((pull * gain).sum(1) / (1 + pull.sum(1))).sum())

    best, inside = profit(chosen.price), 0
    for item in np.flatnonzero(model.demand.priceable(np.arange(ITEMS))):
        for step in (-0.03 * listed[item], 0.03 * listed[item]):
            moved = chosen.price.copy()
            moved[item] = np.clip(moved[item] + step, problem.bounds.lo[item], problem.bounds.hi[item])
            inside += moved[item] != chosen.price[item]
            assert profit(moved) <= best * (1 + 1e-4), item  # to a price ending
    assert inside > 20
    cheap, dear = (profit(np.where(model.demand.priceable(np.arange(ITEMS)), x * listed, listed)) for x in (0.85, 1.0))
    assert best > max(cheap, dear)


def test_an_item_that_no_page_shows_has_the_mean_value_of_its_category():
    model, data = shop(confidence=0.0), log()
    data.item = np.where(data.item == 5, 7, data.item)
    value = page_values(model, data)
    same = [item for item in range(1, ITEMS, 2) if item != 5]
    assert value[same].min() < value[5] < value[same].max()
    assert not page_values(model, None).any()
    assert not page_values(shop(margin_weight=0.0, anchor_weight=1.0), data).any()


@pytest.mark.parametrize("column", [schema.UNIT_COST, schema.LIST_PRICE])
def test_an_item_that_lost_its_cost_or_its_price_spoils_no_other(column):
    whole, data = shop(confidence=0.0), log()
    catalogue = whole.catalogue.copy()
    catalogue.loc[3, column] = np.nan
    model = with_page_values(replace(whole, catalogue=catalogue), data)
    low, others = place_corridors(model, data), np.arange(ITEMS) != 3
    assert np.isfinite(model.estimates.page_value).all()
    np.testing.assert_allclose(low[others], place_corridors(whole, data)[others], rtol=0.05)
