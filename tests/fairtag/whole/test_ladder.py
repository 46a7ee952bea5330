"""Every rung of the ladder: a catalogue alone is searched and quoted at list price, and says what comes next."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.types import Reason
from fairtag.data.derived_tables import complete_tables
from fairtag.data.point_in_time import training_set
from fairtag.evaluation.demand_gate import behaviour_gate, kept_gate
from fairtag.evaluation.evaluate import evaluate
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.notes import special_items
from fairtag.evaluation.price_gate import price_gates, score_prices
from fairtag.evaluation.search_gate import search_gate
from fairtag.model.capabilities import ALL, PERSONAL_PRICES, SEARCH, UNIFORM_PRICES
from fairtag.model.decision import GateResult, accepted_capabilities
from fairtag.model.pricing_model import load_pricing_model
from fairtag.page.catalogue_pages import catalogue_pages
from fairtag.page.pricing import PageInputs, explain_page, price_page
from fairtag.policy.context import UserContext
from fairtag.training.model import Lineage, fit_model_folder

DAY = 20_500  # a price day on which personal prices are lawful in New York
LIMITS = EvaluationLimits(pages=40, audit_pages=1, audit_users=10)


@pytest.fixture(scope="module")
def items_only(market):
    """Twelve items, one without a cost, one that costs nothing, two with one title; no other table."""
    newest = market.tables.latest_items().head(12)[[schema.ITEM_ID, schema.TITLE, schema.LIST_PRICE, schema.UNIT_COST]]
    cost, title = newest[schema.UNIT_COST].copy(), newest[schema.TITLE].copy()
    cost.iloc[0], cost.iloc[1] = np.nan, 0.0
    title.iloc[3] = title.iloc[2]
    frame = newest.assign(**{schema.UNIT_COST: cost, schema.TITLE: title})
    return complete_tables({"items": frame}, {"currency": "EUR", "as_of": "2026-03-01"})


@pytest.fixture(scope="module")
def folder(items_only, tiny_encoder, made_once):
    def make(out):
        lineage = Lineage("f", "test", "2026-01-01T00:00:00+00:00", "csv")
        joined = training_set(items_only)
        fit_model_folder(items_only, joined, tiny_encoder, out / "model_folder", lineage=lineage)

    return made_once("items-only", make) / "model_folder"


@pytest.fixture(scope="module")
def lone(folder):
    return load_pricing_model(folder)


def page(model, user=None):
    rows = np.arange(min(6, len(model.catalogue)))
    return price_page(model, PageInputs(rows, None, user or UserContext(jurisdiction="US-NY"), DAY))


def test_items_alone_are_quoted_at_list_and_say_why(lone):
    priced = page(lone)
    assert [item.price_minor for item in priced.items] == [item.list_price_minor for item in priced.items]
    assert priced.items[0].reasons == (Reason.COST_UNKNOWN,)
    assert priced.items[0].unit_cost_minor is None
    assert {item.reasons for item in priced.items[1:]} == {(Reason.PRICES_NOT_ACCEPTED,)}
    assert priced.items[1].unit_cost_minor == 0
    assert {item.purchase_probability for item in priced.items} == {None}


def test_a_price_at_list_is_explained_without_a_cost_and_without_demand(lone):
    """There is no optimum to come from: the whole way from the price of an item like it is the decision."""
    rows = np.arange(6)
    explained = explain_page(lone, PageInputs(rows, None, UserContext(jurisdiction="US-NY"), DAY))
    for item in explained:
        assert item["price_minor"] == item["list_price_minor"]
        assert item["contributions_minor"] == {"decision": item["price_minor"] - item["base_minor"]}
        assert item["summary"].startswith("The list price of")


@pytest.mark.slow
def test_items_alone_are_accepted_for_search_and_told_what_prices_need(folder, items_only):
    decision = evaluate(folder, None, items_only, training_set(items_only), limits=LIMITS)
    assert decision["accepted"]
    assert accepted_capabilities(decision) == {SEARCH}
    (needed,) = set(decision["capabilities"][UNIFORM_PRICES]["needs"])
    assert "44 in each of 1 categories" in needed
    assert "80 % power" in needed
    assert "a table users, or orders" in decision["capabilities"][PERSONAL_PRICES]["needs"][0]
    what = {note["what"]: note for note in decision["metrics"]["notes"]}
    assert what["items of unknown cost"]["count"] == what["items that cost nothing"]["count"] == 1
    assert what["items with the title of another"]["count"] == 2
    statuses = {gate["name"]: gate["status"] for gate in decision["gates"]}
    assert statuses["items_found"] == "pass"
    assert statuses["price_accuracy"] == "not applicable"


def test_a_search_that_does_not_find_the_items_is_refused(lone):
    pages = catalogue_pages(lone, 12)
    assert search_gate(lone, pages, 0.9).status == "pass"
    wrong = pages.assign(query=np.where(pages.page_id == "catalogue-5", "no such title", pages["query"]))
    gate = search_gate(lone, wrong, 1.0)
    assert gate.status == "fail"
    assert "'no such title'" in gate.note


def test_a_price_model_without_a_weight_decides_nothing_and_with_one_it_does(lone):
    scored = score_prices(lone)
    assert {gate.status for gate in price_gates(scored, 0.9, 0.02, 0, weighs=False)} == {"not applicable"}
    weighed = price_gates(scored, 0.9, 0.02, 0)
    assert {gate.status for gate in weighed} == {"could not tell"}
    assert "about 120 products, of which 30 are held out" in weighed[0].needs


def test_a_model_whose_prices_are_not_accepted_serves_list_with_its_reason(model, customer):
    limited = replace(model, capabilities=frozenset({SEARCH}))
    priced = page(limited, customer(model))
    assert all(item.price_minor == item.list_price_minor for item in priced.items)
    assert not priced.personalised
    assert {item.reasons for item in priced.items} == {(Reason.PRICES_NOT_ACCEPTED,)}
    assert all(item.propensity == 1.0 for item in priced.items)  # nothing is explored either


def test_uniform_prices_are_the_same_for_every_customer_and_say_so(model, customer, certain):
    uniform = replace(certain(model), capabilities=frozenset({SEARCH, UNIFORM_PRICES}))
    known, guest = page(uniform, customer(model)), page(uniform)
    assert [item.price_minor for item in known.items] == [item.price_minor for item in guest.items]
    assert any(item.price_minor < item.list_price_minor for item in known.items)
    assert not known.personalised
    assert all(Reason.PERSONAL_NOT_ACCEPTED in item.reasons for item in known.items)


def test_data_that_may_not_move_prices_still_foresee_purchases_and_those_of_who_opted_out_do_not(
    model, rows, query, customer, certain
):
    uniform = replace(certain(model), capabilities=frozenset({SEARCH, UNIFORM_PRICES}))

    def foreseen(model, user):
        page = price_page(model, PageInputs(rows, query, user, DAY))
        return [item.price_minor for item in page.items], [item.purchase_probability for item in page.items]

    known, nobody = customer(model), UserContext(jurisdiction=customer(model).jurisdiction)
    prices, likely = foreseen(uniform, known)
    assert prices == foreseen(uniform, nobody)[0], "no price knows the customer"
    assert likely != foreseen(uniform, nobody)[1]
    opted_out = replace(known, opted_out=True)
    assert foreseen(uniform, opted_out) == foreseen(uniform, replace(nobody, opted_out=True))


def test_an_item_of_unknown_cost_does_not_move_the_prices_of_its_page(model, certain):
    rows = np.arange(6)
    cost = model.market.unit_cost[rows].copy()
    cost[2] = np.nan
    market = replace(model.market.rows(rows), unit_cost=cost)
    unknown = replace(model, catalogue=model.catalogue.assign(unit_cost=np.nan))
    inputs = PageInputs(rows, None, UserContext(jurisdiction="US-NY"), DAY, market=market)
    priced = price_page(certain(unknown), inputs)
    assert priced.items[2].price_minor == priced.items[2].list_price_minor
    assert priced.items[2].reasons[0] is Reason.COST_UNKNOWN
    assert any(item.price_minor < item.list_price_minor for item in priced.items)
    assert np.isfinite(priced.expected_profit)
    explained = explain_page(certain(unknown), inputs)
    assert list(explained[2]["contributions_minor"]) == ["decision"]
    assert all(len(item["contributions_minor"]) > 1 for item in (explained[0], explained[1]))


def test_a_challenger_that_would_lose_what_the_champion_does_is_refused(model, lone):
    passed = GateResult("relevance", 0.9, "", "pass")
    lost = GateResult("profit_uplift", -1.0, "", "fail")
    assert kept_gate(None, [lost]).status == "not applicable"
    assert kept_gate(model, [passed]).status == "pass"
    gate = kept_gate(model, [passed, lost])
    assert gate.status == "fail"
    assert "personal prices, uniform prices" in gate.note
    assert kept_gate(lone, [passed, lost]).status == "pass"  # a champion of search alone loses nothing
    assert lone.capabilities == ALL


def test_without_behaviour_no_price_is_personal(joined, items_only):
    assert behaviour_gate(joined).status == "pass"
    assert behaviour_gate(training_set(items_only)).status == "could not tell"
    blind = joined.assign(**dict.fromkeys(schema.USER_PRICING_FEATURES, np.nan))
    assert behaviour_gate(blind).status == "could not tell"


def test_items_whose_price_never_varied_are_named(model, joined):
    still = joined[schema.ITEM_ID].iloc[0]
    frame = joined.assign(price=np.where(joined[schema.ITEM_ID] == still, joined.list_price, joined.price))
    named = {note["what"]: note for note in special_items(model, frame)}["items whose price never varied"]
    assert still in named["examples"] or named["count"] > 5
