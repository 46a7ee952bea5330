"""The gates: a sound model passes what it should, each defect fails its own gate, and the document says why."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DecisionError, DecisionRejected, ModelFolderError
from fairtag.evaluation.behaviour_gate import behaviour_gates, page_inputs
from fairtag.evaluation.budget_gate import budget_gates
from fairtag.evaluation.cross_fit import folds, price_log, refit_prices
from fairtag.evaluation.evaluate import _champion, _hold_out, evaluate
from fairtag.evaluation.fairness_gate import guarantees_gate, proxy_figures, proxy_findings, proxy_gate
from fairtag.evaluation.held_out_demand import fit_held_out_models, interval, predict_demand, read_pages
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.log_evidence import LISTED, PERSONAL, PUBLIC, UNIFORM, log_evidence
from fairtag.evaluation.price_gate import PriceAccuracy, price_gates
from fairtag.evaluation.relevance_gate import Relevance, paired_interval, relevance_gate
from fairtag.evaluation.value_gate import (
    PolicyPrices,
    non_inferiority,
    observational_gates,
    off_policy_gates,
    offer_figures,
)
from fairtag.model.capabilities import ALL
from fairtag.model.decision import content_hash, require_accepted
from fairtag.model.decision_report import write_report
from fairtag.model.manifest import DECISION, write_manifest
from fairtag.model.pricing_model import SEARCH
from fairtag.page.held_out import query_vectors, sample_pages, shadow_pages, shadow_quotes, until_lawful
from fairtag.search.dense_index import CHOICE
from fairtag.simulator.traffic import MENU_WEIGHTS
from fairtag.training.inputs import fit_part

LIMITS = EvaluationLimits(pages=150, audit_pages=2, audit_users=60)


@pytest.fixture(scope="module")
def hold_out(model, joined):
    return _hold_out(joined, [model])


@pytest.fixture(scope="module")
def vectors(model, hold_out):
    return query_vectors(model, hold_out)


@pytest.fixture(scope="module")
def pages(model, hold_out, vectors):
    return list(shadow_pages(model, sample_pages(hold_out, 60, 0), vectors))


@pytest.fixture(scope="module")
def demand(model, hold_out, vectors):
    judges = fit_held_out_models(model, hold_out)
    assert judges is not None
    return predict_demand(read_pages(model, sample_pages(hold_out, 150, 0), vectors), judges, 0)


@pytest.fixture(scope="module")
def decision(model_folder, market, joined):
    return evaluate(model_folder, model_folder, market.tables, joined, limits=LIMITS)


def verdicts(decision):
    return {gate["name"]: gate["status"] for gate in decision["gates"]}


@pytest.mark.slow
def test_the_report_says_which_index_searches_and_what_it_finds_of_held_out_queries(decision):
    index = decision["metrics"]["challenger"]["search_index"]
    assert (index["kind"], index["recall_at_100"]) == ("scan", 1.0)  # so few items need no codes
    assert index["queries"] > 0


@pytest.mark.slow
def test_a_model_is_not_inferior_to_itself(decision):
    found = {gate["name"]: gate for gate in decision["gates"]}
    assert found["non_inferiority"]["status"] == "pass"
    assert found["non_inferiority"]["value"] == 0.0
    assert found["relevance"]["status"] == "pass"
    assert found["relevance"]["value"] == 0.0
    assert decision["champion"]["model_digest"] == decision["challenger"]["model_digest"]


@pytest.mark.slow
def test_a_sound_model_keeps_its_promises_and_behaves(decision):
    found = verdicts(decision)
    for name in ("price_guarantees", "within_bounds", "monotone_in_cost", "opt_out", "price_accuracy", "items_found"):
        assert found[name] == "pass", name


@pytest.mark.slow
def test_the_document_is_whole_and_reads_as_a_page(decision, model_folder, tmp_path):
    assert decision["hash"] == content_hash(decision)
    page = write_report(tmp_path / "decision.html", decision).read_text()
    for gate in decision["gates"]:
        assert gate["name"].replace("_", " ") in page
    assert page.count("<svg") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    if not decision["accepted"]:
        with pytest.raises(DecisionRejected):
            require_accepted(decision, model_folder)


@pytest.mark.slow
def test_the_document_holds_what_needs_no_counterfactual(decision):
    for side in ("challenger", "champion"):
        offers = decision["metrics"][side]["offers"]
        assert offers["sold"] + offers["unsold"] > 100
        assert 0 <= offers["booking_regret"] <= 1
        assert all(0 <= offers[name] <= 1 for name in ("pdr", "pdp", "pir", "pip"))


def test_offers_count_only_what_could_be_bought(demand):
    pages = demand.pages
    logged = pages.rows[schema.PRICE].to_numpy(dtype=float)
    found = offer_figures(pages, PolicyPrices("as logged", logged))
    assert found["sold"] + found["unsold"] == pages.on_sale.sum()
    assert (found["pdr"], found["pir"], found["booking_regret"]) == (0.0, 1.0, 0.0)
    assert "pdp" not in found  # nothing was suggested below the logged price
    halved = offer_figures(pages, PolicyPrices("half", 0.5 * logged))
    assert (halved["pdr"], halved["pir"], halved["booking_regret"]) == (1.0, 0.0, 0.5)


def test_a_feature_that_is_a_group_under_another_name_is_seen(hold_out):
    users = pd.Series(hold_out[schema.USER_ID].unique(), name=schema.USER_ID)
    many = pd.concat([hold_out.assign(**{schema.USER_ID: hold_out[schema.USER_ID] + suffix}) for suffix in "ab"])
    group = np.where(np.arange(2 * len(users)) < len(users), "a", "b")
    groups = pd.DataFrame(
        {schema.USER_ID: [*(users + "a"), *(users + "b")], schema.ATTRIBUTE: "planted", schema.GROUP: group}
    )
    told = many.assign(**{schema.PROMOTION_RESPONSE: many[schema.USER_ID].str.endswith("a").astype(float)})
    limits = EvaluationLimits()
    copied, innocent = (proxy_findings(rows, groups, limits, 0) for rows in (told, many))
    assert proxy_figures(copied)["planted: a"] > 0.99
    assert proxy_figures(innocent)["planted: a"] < 0.65
    assert proxy_findings(many, groups.head(0), limits, 0) == proxy_findings(many, None, limits, 0) == ()
    failed = proxy_gate(copied, limits)
    assert failed.status == "fail"
    assert schema.PROMOTION_RESPONSE in failed.note
    assert proxy_gate(innocent, limits).status == "pass"
    nothing = proxy_gate((), limits)
    assert (nothing.status, nothing.note) == ("not applicable", "not checked: the data have no audit groups")


def test_an_encoder_worse_than_the_champion_fails_relevance():
    rng = np.random.default_rng(0)
    good, bad = rng.uniform(0.7, 1.0, 200), rng.uniform(0.5, 0.8, 200)
    rival = Relevance(good, good)
    assert relevance_gate(Relevance(bad, bad), rival, 0.01, 0).status == "fail"
    assert relevance_gate(Relevance(good, bad), None, 0.01, 0).status == "pass"
    few = Relevance(good[:5], bad[:5])
    assert relevance_gate(few, rival, 0.01, 0).status == "could not tell"
    assert relevance_gate(few, rival, 0.01, 0).needs == "about 60 more judged queries"
    assert relevance_gate(few, None, 0.01, 0).status == "not applicable"  # nothing can become worse


def test_prices_no_better_than_a_median_fail_and_a_narrow_interval_fails():
    rng = np.random.default_rng(0)
    true = np.exp(rng.normal(3, 1, 400))
    median = np.full(400, np.exp(3.0))
    guess = np.exp(rng.normal(3, 1, 400))
    bad = PriceAccuracy(true, guess, guess * 0.99, guess * 1.01, median)
    assert [gate.status for gate in price_gates(bad, 0.9, 0.02, 0)] == ["fail", "fail"]
    near = true * np.exp(rng.normal(0, 0.1, 400))
    good = PriceAccuracy(true, near, near * np.exp(-0.1645), near * np.exp(0.1645), median)
    assert [gate.status for gate in price_gates(good, 0.9, 0.02, 0)] == ["pass", "pass"]


def test_a_policy_that_gives_everything_away_is_refused(demand):
    cost = demand.pages.cost
    given_away = PolicyPrices("given away", cost * 1.01)
    listed = PolicyPrices("list", demand.pages.listed)
    prices = dict.fromkeys((PUBLIC, PERSONAL, LISTED, UNIFORM), demand.pages.listed)
    found = observational_gates(demand, {**prices, PUBLIC: given_away.price}, LIMITS, 0)
    statuses = {gate.name: gate.status for gate in found}
    assert [statuses[name] for name in ("profit_uplift", "uplift_over_list", "uplift_over_uniform")] == ["fail"] * 3
    assert all("observational" in gate.note for gate in found)
    assert non_inferiority(demand, given_away, listed, 0.01, 0).status == "fail"


def test_without_an_experiment_a_model_s_opinion_does_not_pass_where_one_is_required(demand):
    prices = dict.fromkeys((PUBLIC, PERSONAL, LISTED, UNIFORM), demand.pages.listed)
    strict = LIMITS.model_copy(update={"require_experiment": True})
    assert "pass" in {gate.status for gate in observational_gates(demand, prices, LIMITS, 0)}
    assert "pass" not in {gate.status for gate in observational_gates(demand, prices, strict, 0)}


def test_judges_score_customers_they_have_not_seen_and_agree_with_the_planted_demand(demand, market):
    planted = market.planted
    rows = demand.pages.rows
    relevance = planted.relevance(rows[schema.QUERY].tolist())[np.arange(len(rows)), demand.pages.item]
    a, b = planted.page(demand.pages.item[:, None], relevance[:, None], demand.pages.behaviour)
    price = demand.pages.listed * 0.9
    ours = demand.page_profit(price)
    truth = replace(demand, a=a[:, 0], b=b[:, 0]).page_profit(price)
    assert ours.mean() == pytest.approx(truth.mean(), rel=0.25)


def test_a_log_is_priced_as_the_endpoint_would_have_priced_it(model, hold_out, vectors):
    sample = sample_pages(hold_out, 40, 0)
    certain = replace(model, policy=replace(model.policy, exploration=0.0), capabilities=ALL)
    shown = {
        (shadow.page_id, item.item_id): item.price_minor / 100
        for shadow in shadow_pages(certain, sample, vectors)
        for item in shadow.page.items
    }
    found = price_log(model, sample, vectors)
    expected = [shown[page, item] for page, item in zip(sample[schema.PAGE_ID], sample[schema.ITEM_ID], strict=True)]
    np.testing.assert_allclose(found.personal, expected, atol=1e-9)
    assert (found.personal <= found.public).all()
    assert (found.floor <= found.public + 1e-9).all()


def test_a_fold_is_priced_by_demand_that_never_saw_its_customers(model, joined):
    early = fit_part(joined)
    vectors = query_vectors(model, early)
    fold = folds(early[schema.USER_ID], 2)
    assert pd.Series(fold).groupby(early[schema.USER_ID].to_numpy()).nunique().max() == 1
    whole = refit_prices(model, early, vectors, 2, 0)
    unlucky = early.assign(purchased=early[schema.PURCHASED].where(fold == 1, other=False))
    other = refit_prices(model, unlucky, vectors, 2, 0)
    np.testing.assert_array_equal(whole.public[fold == 0], other.public[fold == 0])
    assert (whole.public[fold == 1] != other.public[fold == 1]).any()


def test_a_randomised_log_judges_by_what_was_shown_and_bought(model, joined, market, hold_out):
    models = fit_held_out_models(model, hold_out)
    menu = np.array(market.tables.metadata["price_menu"], dtype=float)
    vectors = query_vectors(model, joined)
    evidence = log_evidence(model, joined, models, menu, vectors, pages=600, folds=2, seed=0, clip=np.inf)
    log = evidence.log
    assert log.customer.size == 600
    named = {gate.name: gate for gate in off_policy_gates(evidence, LIMITS)}
    assert named["off_policy_balance"].status == named["off_policy_placebo"].status == "pass"
    given_away = replace(evidence, prices={**evidence.prices, PUBLIC: log.cost * 1.01})
    refused = {gate.name: gate.status for gate in off_policy_gates(given_away, LIMITS)}
    assert (refused["off_policy_uplift"], refused["uplift_over_list"]) == ("fail", "fail")
    at_list = np.isclose(log.price, log.levels[:, -1]) & np.isfinite(log.propensity)
    others = np.isfinite(log.levels[at_list]).sum(axis=1) - 1
    expected = MENU_WEIGHTS[-1] / (MENU_WEIGHTS[-1] + MENU_WEIGHTS[0] * others)  # the simulator's own draw
    assert np.isclose(log.propensity[at_list], expected).mean() > 0.95


def test_the_interval_covers_the_mean_and_the_customers_count_not_the_pages():
    rng = np.random.default_rng(0)
    draws = np.tile(rng.normal(1.0, 1.0, 400), (64, 1))
    alone = interval(draws, np.arange(400), 0)
    shared = interval(draws, np.arange(400) // 20, 0)
    assert alone[0] < draws[0].mean() < alone[1]
    assert alone == pytest.approx((draws[0].mean() - 0.098, draws[0].mean() + 0.098), abs=0.03)
    assert interval(np.repeat(draws, 1, axis=0), np.zeros(400, dtype=np.int64), 0)[0] == pytest.approx(draws[0].mean())
    assert shared[0] < draws[0].mean() < shared[1]


def test_a_tampered_price_breaks_a_promise(pages, model):
    quotes = shadow_quotes(pages, with_users=True)
    limits = model.policy.limits
    assert guarantees_gate([quotes], limits).status == "pass"
    broken = quotes.copy()
    broken.loc[0, schema.PRICE_MINOR] = broken.loc[0, schema.LIST_PRICE_MINOR] + 100
    gate = guarantees_gate([quotes, broken], limits)
    assert gate.status == "fail"
    assert "list" in gate.note
    assert guarantees_gate([quotes.iloc[:0]], limits).status == "could not tell"


def test_a_model_that_ignores_its_bounds_is_caught(pages, model, vectors):
    tried = page_inputs(model, pages, vectors)
    shadow = pages[0]
    cheap = shadow.page.items[0]._replace(price_minor=1)
    broken = replace(shadow, page=replace(shadow.page, items=(cheap, *shadow.page.items[1:])))
    assert behaviour_gates(model, [broken], tried)[0].status == "fail"
    assert [gate.status for gate in behaviour_gates(model, pages, tried)] == ["pass"] * 3


def test_a_slow_or_large_model_fails_its_budget(pages, model, vectors):
    tried = page_inputs(model, pages, vectors)
    tight = EvaluationLimits(price_milliseconds=1e-6, encode_milliseconds=1e-6, model_bytes=1.0)
    assert {gate.status for gate in budget_gates(model, tried, list(vectors), tight)} == {"fail"}


def test_shadow_pages_keep_their_promises_within_an_epoch(pages):
    quotes = shadow_quotes(pages, with_users=True)
    told = quotes.groupby([schema.USER_KEY, schema.ITEM_ID, schema.EPOCH])[schema.PRICE_MINOR].nunique()
    assert (told == 1).all()


def test_a_log_from_before_the_law_is_judged_as_if_it_were_of_today(model, hold_out, vectors):
    old = sample_pages(hold_out, 10, 0)
    old = old.assign(**{schema.TS: old[schema.TS] - pd.Timedelta(days=3_000)})
    priced = list(shadow_pages(model, old, vectors))
    assert any(shadow.page.personalised for shadow in priced)
    assert {shadow.ts.dayofweek for shadow in priced} == set(old[schema.TS].dt.dayofweek)
    assert until_lawful(old[schema.TS], "US-NY") % pd.Timedelta(weeks=1) == pd.Timedelta(0)
    nowhere, today = until_lawful(old[schema.TS], "US-TX"), until_lawful(hold_out[schema.TS], "US-NY")
    assert (nowhere, today) == (pd.Timedelta(0), pd.Timedelta(0))
    assert guarantees_gate([shadow_quotes(priced, with_users=True)], model.policy.limits).status == "pass"


def test_shadow_quotes_name_no_customer_unless_asked(pages):
    assert shadow_quotes(pages)[schema.USER_KEY].isna().all()


def test_a_champion_that_cannot_be_read_stops_the_judgement(model_folder, market, joined, tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(ModelFolderError, match=r"champion cannot be read.*take the alias champion"):
        evaluate(model_folder, tmp_path / "old", market.tables, joined, limits=LIMITS)


def test_a_champion_of_before_its_search_had_an_index_stops_the_judgement_alike(model_folder, tmp_path):
    older = tmp_path / "old"
    shutil.copytree(model_folder, older)
    (older / SEARCH / CHOICE).unlink()
    (older / DECISION).unlink()  # it is about the model as it was
    write_manifest(older, {})
    with pytest.raises(ModelFolderError, match=r"champion cannot be read.*index.json: missing"):
        _champion(older)


def test_a_paired_interval_of_no_difference_is_zero():
    assert paired_interval(np.zeros(50), 0) == (0.0, 0.0)


def test_a_hold_out_of_unknown_items_is_an_error_not_a_pass(model_folder, market, joined):
    foreign = joined.assign(item_id="nothing-we-sell")
    with pytest.raises(DecisionError, match="nothing can be evaluated"):
        evaluate(model_folder, None, market.tables, foreign, limits=LIMITS)
