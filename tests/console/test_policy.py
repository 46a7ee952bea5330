"""The policy page over a fitted model: previews, narrowing at once, widening as a draft, the second person, pins."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from console.drafts import Drafts
from console.users import add_user
from fairtag.model.pricing_model import load_pricing_model
from fairtag.page.priced_page import PageInputs
from fairtag.page.pricing import price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.context import UserContext
from fairtag.policy.live_policy import open_store
from fairtag.policy.shop_policy import ShopPolicy


@pytest.fixture
def store(tmp_path: Path):
    return open_store(tmp_path / "policy")


@pytest.fixture
def browser(console, model_folder: Path, store):
    opened = console(model_folder=model_folder)
    opened.see("/policy")
    return opened


def test_a_tightened_limit_counts_at_once_and_names_who_and_why(browser, store):
    html = browser.submit("/policy/propose", discount="10", personal="yes", why="margins are thin")
    assert "Version 1: limits.max_discount: 0.3 -&gt; 0.1" in html
    current = store.current()
    assert current.policy.limits.max_discount == 0.1
    assert current.why == "margins are thin"


def test_a_wider_limit_is_kept_as_a_draft_that_says_what_is_missing(browser, store, tmp_path: Path):
    html = browser.submit("/policy/propose", discount="50", personal="yes", why="a sale")
    assert "Kept as draft" in html
    assert "allows more than was evaluated" in html
    assert store.newest() == 0
    (draft,) = Drafts(tmp_path / "state").open()
    assert draft.document["limits"] == {"max_discount": 0.5}
    assert "max_discount: 0.5" in browser.get(f"/policy/policy.yaml?draft={draft.id}").text
    html = browser.submit("/policy/approve", status=409, draft=draft.id)
    assert "evaluate it on held-out data first" in html
    assert "is dropped" in browser.submit("/policy/drop", draft=draft.id)
    assert Drafts(tmp_path / "state").open() == ()


def test_a_second_person_approves_where_the_policy_says_so(console, model_folder: Path, store, tmp_path: Path):
    store.change(ShopPolicy().changed(approval={"second_person": "always"}), who="root", why="rules")
    file = tmp_path / "users.json"
    tokens = {name: add_user(file, name, "approver") for name in ("ada", "bo")}
    browser = console(model_folder=model_folder, users_file=file)
    for name in ("ada", "bo"):
        browser.see("/login")
        browser.submit("/login", token=tokens[name], next="/policy")
        html = browser.see("/policy")
        if name == "ada":
            html = browser.submit(
                "/policy/propose",
                discount="10",
                personal="yes",
                why="margins",
                document="approval: {second_person: always}",
            )
            assert "Kept as draft" in html
            (draft,) = Drafts(tmp_path / "state").open()
            assert "needs a second person" in browser.submit("/policy/approve", status=400, draft=draft.id)
            browser.submit("/logout")
    assert "Approve and make live" in html
    assert "Version 2" in browser.submit("/policy/approve", draft=draft.id)
    assert (store.current().who, store.current().approved_by) == ("ada", "bo")


def test_a_preview_without_a_training_set_says_what_it_needs_and_keeps_nothing(browser, store):
    html = browser.submit("/policy/preview", discount="10", personal="yes")
    assert "Largest discount from list: 30 % → 10 %" in html
    assert "narrows" in html
    assert "needs the run&#39;s training set" in html
    assert store.newest() == 0


def test_a_preview_replays_held_out_pages(console, model_folder: Path, joined, tmp_path: Path):
    joined.to_parquet(tmp_path / "training_set.parquet")
    browser = console(model_folder=model_folder, training_set=tmp_path / "training_set.parquet")
    browser.see("/policy")
    html = browser.submit("/policy/preview", discount="0", corridor="50", personal="yes")
    share = re.search(r"([\d.]+) % of [\d,]+ prices change", html)
    assert share is not None
    assert float(share.group(1)) > 0
    assert "Profit a page" in html


def test_a_preview_replays_what_was_quoted_lately_and_says_so(console, model_folder: Path, joined, tmp_path: Path):
    model, quotes = load_pricing_model(model_folder), tmp_path / "quotes"
    now = datetime.now(UTC)
    inputs = PageInputs(np.arange(8), None, UserContext(jurisdiction="US-NY"), model.policy.epoch_of(now.timestamp()))
    page, moment = price_page(model, inputs), now - timedelta(days=2)
    ts = int(moment.timestamp() * 1e6)
    records = [quote_record(page, quote_id=name, ts=ts, task="price") for name in ("q1", "q2")]
    quotes.mkdir()
    file = quotes / f"quotes-{moment:%Y%m%dT%H%M%S}-a.parquet"
    quote_frame(records).to_parquet(file, index=False, coerce_timestamps="us")
    joined.to_parquet(tmp_path / "training_set.parquet")
    browser = console(model_folder=model_folder, training_set=tmp_path / "training_set.parquet", quotes=str(quotes))
    assert "quotes of the last days" in browser.see("/policy")
    html = browser.submit("/policy/preview", discount="0", personal="yes", pages="quotes", days="3")
    assert "of 16 prices change" in html
    assert "2 pages quoted in the last 3 days, priced again as on" in html
    assert "prices that anybody gets" in html
    html = browser.submit("/policy/preview", discount="0", personal="yes", pages="quotes", days="1")
    assert "nobody was quoted since" in html
    assert "held-out pages" in browser.submit("/policy/preview", discount="0", personal="yes")
    html = browser.submit("/policy/preview", status=400, discount="0", pages="quotes", days="400")
    assert "whole number of days from 1 to 31" in html
    alone = console(model_folder=model_folder, quotes=str(quotes))
    alone.see("/policy")
    assert "quoted in the last 7 days" in alone.submit("/policy/preview", discount="0", personal="yes")


def test_a_document_that_is_no_policy_is_refused_with_its_field(browser, store):
    html = browser.submit("/policy/propose", status=400, document="limits: {max_discount: 7}", why="x", personal="yes")
    assert "max_discount" in html
    assert store.newest() == 0


def test_a_pin_an_exclusion_and_their_release(console, model_folder: Path, store):
    item = load_pricing_model(model_folder).item_ids[0]
    browser = console(model_folder=model_folder)
    browser.see(f"/prices/item?item={item}")
    html = browser.submit("/prices/pin", item=item, price="12.5", ends="2999-12-31", why="a campaign")
    assert "Pinned at 12.50" in html
    assert (store.current().policy.pins[0].item, store.current().policy.pins[0].price) == (item, 12.5)
    html = browser.submit("/prices/release", item=item, why="it is over")
    assert store.current().policy.pins == (), "what held before was evaluated with the model"
    html = browser.submit("/prices/exclude", item=item, why="a quarrel")
    assert "Stays at its list price" in html


def test_a_policy_made_on_a_page_that_is_out_of_date_takes_nothing_back(console, model_folder: Path, store):
    """One opens the page; another stops everything; the first one's smaller discount must not undo the stop."""
    first = console(model_folder=model_folder)
    assert 'name="version" value="0"' in first.see("/policy")
    store.change(ShopPolicy(at_list=True), who="bo", why="costs are wrong")
    sent = {"discount": "10", "personal": "yes", "why": "margins are thin", "version": "0"}
    html = first.submit("/policy/propose", status=409, **sent)
    assert "Not applied: bo made version 1 since you opened this page" in html
    assert "costs are wrong" in html
    assert store.newest() == 1
    assert 'value="margins are thin"' in html, "what was typed stays"
    assert 'name="version" value="1"' in html, "sending it again is a decision about what holds now"
    assert "everything at list price" in html, "what it would take back is listed"


def test_an_undo_of_a_page_that_is_out_of_date_is_refused(console, store):
    store.change(ShopPolicy().changed(exploration=0.0), who="ada", why="at first")
    browser = console()
    assert 'name="version" value="1"' in browser.see("/undo")
    store.change(ShopPolicy(at_list=True), who="bo", why="costs are wrong")
    html = browser.submit("/undo", status=400, why="it was none", version="1")
    assert "Not done: bo made version 2 since you opened this page" in html
    assert store.current().policy.at_list
    assert "Version 3" in browser.submit("/undo", why="costs are right", version="2")


def test_a_draft_says_that_the_policy_has_changed_since_and_is_not_approved_unseen(
    console, model_folder: Path, store, tmp_path: Path
):
    store.change(ShopPolicy().changed(approval={"second_person": "always"}), who="root", why="rules")
    tokens = {name: add_user(tmp_path / "users.json", name, "approver") for name in ("ada", "bo")}
    browser = console(model_folder=model_folder, users_file=tmp_path / "users.json")
    browser.see("/login")
    browser.submit("/login", token=tokens["ada"], next="/policy")
    browser.see("/policy")
    document = "approval: {second_person: always}"
    browser.submit("/policy/propose", discount="10", personal="yes", why="margins", document=document, version="1")
    (draft,) = Drafts(tmp_path / "state").open()
    assert draft.version == 1
    browser.submit("/stop", what="all", why="costs are wrong", back="/policy")
    browser.submit("/logout")
    browser.see("/login")
    browser.submit("/login", token=tokens["bo"], next="/policy")
    assert "Made under version 1. It is the whole policy" in browser.see("/policy")
    html = browser.submit("/policy/approve", status=400, draft=draft.id, version="1")
    assert "decide again" in html
    assert store.current().policy.at_list


@pytest.mark.parametrize("typed", ["ten", "-5", "1e3", "nan", "inf", "<script>alert(1)</script>"])
def test_a_slider_that_holds_no_number_is_refused_and_nothing_of_it_is_run(browser, store, typed):
    html = browser.submit("/policy/preview", status=400, discount=typed, personal="yes")
    assert "must be a number of at least 0" in html
    assert "<script>alert" not in html
    assert store.newest() == 0


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("1,234", "2 decimal places at most"),
        ("1.234,50", "must be an amount in USD"),
        ("twelve", "must be an amount"),
        ("-5", "must be an amount"),
        ("1e9", "must be an amount"),
        ("0", "must be above 0"),
        ("9" * 400, "must be a number"),
    ],
)
def test_a_pin_at_what_can_be_read_in_two_ways_or_is_no_price_is_refused(
    console, model_folder: Path, store, price, words
):
    item = load_pricing_model(model_folder).item_ids[0]
    browser = console(model_folder=model_folder)
    browser.see(f"/prices/item?item={item}")
    assert words in browser.submit("/prices/pin", status=400, item=item, price=price, why="a campaign")
    assert store.newest() == 0


def test_a_pin_that_is_over_is_refused_and_one_that_has_ended_makes_way(console, model_folder: Path, store):
    item = load_pricing_model(model_folder).item_ids[0]
    browser = console(model_folder=model_folder)
    browser.see(f"/prices/item?item={item}")
    sent = {"item": item, "price": "12.50", "why": "a campaign"}
    assert "must not lie before today" in browser.submit("/prices/pin", status=400, ends="2020-02-01", **sent)
    assert store.newest() == 0
    over = {"item": item, "price": 11.0, "ends": "2020-02-01"}
    store.change(ShopPolicy().changed(pins=[over]), who="ada", why="long ago")
    assert "Pinned at 12.50 USD" in browser.submit("/prices/pin", **sent)
    assert [each.price for each in store.current().policy.pins] == [12.5]


def test_a_preview_names_items_that_the_catalogue_lacks(browser):
    html = browser.submit("/policy/preview", document="pins: [{item: nope, price: 5}]", personal="yes")
    assert "Item &#39;nope&#39; is not in the catalogue." in html


def test_a_pin_that_ends_before_it_starts_is_refused_with_its_days(console, model_folder: Path, store):
    item = load_pricing_model(model_folder).item_ids[0]
    browser = console(model_folder=model_folder)
    browser.see(f"/prices/item?item={item}")
    days = {"starts": "2999-02-01", "ends": "2999-01-01"}
    html = browser.submit("/prices/pin", status=400, item=item, price="12.50", why="a campaign", **days)
    assert "2999-01-01" in html
    assert store.newest() == 0


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[", "not YAML"),
        ("{" * 2_000, "nested too deeply"),
        ("pins: &all []\nexclusions: {items: *all}", "an alias is refused"),
        ("at_list: true\nat_list: false", "&#39;at_list&#39; stands more than once"),
        ("just words", "not a table of settings"),
    ],
)
def test_a_document_that_is_no_table_or_means_two_things_is_refused_in_words(browser, store, document, words):
    html = browser.submit("/policy/preview", status=400, document=document, personal="yes")
    assert words in html
    assert store.newest() == 0
