"""The pages over a stand-in for the endpoint: what each shows, and what its forms do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from console.audit import AuditLog
from console.pages import PAGES
from console.shop import Shop
from fairtag.base import schema
from fairtag.base.files import save_arrays
from fairtag.model.decision import GateResult, make_decision, write_decision
from fairtag.model.manifest import MANIFEST
from fairtag.model.pricing_model import CATALOGUE, ESTIMATES
from fairtag.model.signature import policy_signer, policy_verifier, trusted_keys
from fairtag.policy.live_policy import open_store
from fairtag.policy.shop_policy import ShopPolicy


def test_every_page_answers_with_its_title_and_the_stop_button(console):
    browser = console()
    for page in PAGES:
        html = browser.see(page.path)
        assert f"<title>{page.title}" in html, page.name
        assert 'data-dialog="stop-dialog"' in html, page.name
        assert 'aria-current="page"' in html, page.name


def test_a_search_shows_titles_prices_discounts_reasons_and_facets(console, endpoint):
    html = console().see("/?q=drill&category=tools")
    request = endpoint.asked[-1][1]["instances"][0]
    assert (request["query"], request["category"], request["task"]) == ("drill", ["tools"], "search")
    assert "Cordless drill &lt;18 V&gt;" in html, "titles are text, never markup"
    assert "56.99 EUR" in html
    assert "\N{MINUS SIGN}5 %" in html
    assert "more discount pays off here" in html
    assert 'name="category" value="tools" checked' in html


def test_the_storefront_shows_the_disclosure_of_the_customer_whom_it_is_looked_at_as(console):
    browser = console()
    assert "SET BY AN ALGORITHM" not in browser.see("/?q=drill")
    browser.submit("/look/shopper", user_id="ada", place="US-NY", back="/?q=drill")
    html = browser.see("/?q=drill")
    assert "SET BY AN ALGORITHM" in html
    assert "53.99 EUR" in html


def test_a_guest_keeps_the_session_that_the_endpoint_handed_out(console, endpoint):
    browser = console()
    browser.see("/?q=drill")
    browser.see("/?q=lamp")
    assert endpoint.asked[-1][1]["instances"][0]["session_id"] == "guest-session"


def test_two_customers_are_asked_about_the_same_items(console, endpoint):
    html = console().see("/compare?q=drill&a=ada&b=bob")
    first, second = (body["instances"][0] for _, body in endpoint.asked[-2:])
    assert (first["user_id"], second["user_id"]) == ("ada", "bob")
    assert second["item_ids"] == ["i1", "i2", "i3"]
    assert "Both pay the same for all 3 items" in html


def test_a_purchase_is_verified_item_by_item_and_becomes_an_outcome(console, endpoint, tmp_path: Path):
    browser = console()
    browser.see("/?q=drill")
    browser.submit("/add", item="i1", page="q1")
    browser.submit("/add", item="i3", page="q1")
    html = browser.submit("/buy")
    assert "Bought 2 items" in html
    verified = [body for path, body in endpoint.asked if path.endswith(":verify")]
    assert [(body["item_id"], body["price_minor"]) for body in verified] == [("i1", 5_699), ("i3", 3_799)]
    (file,) = (tmp_path / "outcomes").glob("outcomes-*.parquet")
    rows = pd.read_parquet(file)
    assert list(rows[schema.ITEM_ID]) == ["i1", "i3"]
    assert list(rows[schema.PRICE_MINOR]) == [5_699, 3_799]
    assert set(rows.columns) == set(schema.OUTCOMES.names)
    assert "Nothing in it yet" in browser.see("/")
    assert "storefront/buy" in browser.see("/operations"), "who did what, also where no reason was asked for"


def test_a_price_that_the_endpoint_does_not_honour_is_not_charged(console, endpoint, tmp_path: Path):
    browser = console()
    browser.see("/?q=drill")
    browser.submit("/add", item="i1", page="q1")
    endpoint.refuse = (410, {"error": "it expired", "code": "QuoteExpired"})
    assert "nothing was bought" in browser.submit("/buy", status=409)
    assert not (tmp_path / "outcomes").exists()


def test_an_item_that_was_not_on_the_page_cannot_be_bought(console):
    browser = console()
    browser.see("/?q=drill")
    assert "search for it again" in browser.submit("/add", status=400, item="i9", page="q1")


def test_two_tabs_may_fill_the_basket_each_from_its_own_page(console, endpoint):
    browser = console()
    browser.see("/?q=drill")
    endpoint.quote_id = "q2"
    browser.submit("/look/shopper", user_id="ada", place="US-NY", back="/?q=lamp")
    html = browser.submit("/add", item="i1", page="q1")
    assert "56.99 EUR for a guest" in html, "the price that the first tab shows, not that of the second"
    html = browser.submit("/add", item="i3", page="q2")
    assert "35.99 EUR for ada" in html


def test_why_shows_the_sentence_and_one_bar_for_each_driver(console):
    html = console().see("/why?item=i1&user=ada")
    assert "Below the list price." in html
    assert "what the customer bought before" in html
    assert html.count('class="bar"') == 4, "base, two drivers, price"


def test_the_stop_button_and_its_undo_make_versions_of_the_live_policy(console, tmp_path: Path):
    browser = console()
    browser.see("/")
    html = browser.submit("/stop", what="all", why="costs are wrong")
    assert "Version 1: everything at list price" in html
    assert "Stopped:" in html
    html = browser.submit("/undo", why="costs are right")
    assert "prices as the model decides" in html
    history = open_store(tmp_path / "policy").history()
    assert [(change.version, change.why, change.undoes) for change in history] == [
        (1, "costs are wrong", 0),
        (2, "costs are right", 1),
    ]


def test_a_console_of_a_cluster_signs_its_stop_with_a_key_of_its_own(console, tmp_path: Path):
    people, own = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    both = b"".join(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in (people, own)
    )
    (tmp_path / "keys").write_bytes(both)
    (tmp_path / "signing-key").write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    verify = policy_verifier(trusted_keys(both, "keys"))
    by_people = open_store(tmp_path / "policy", policy_signer(people), verify)
    by_people.change(ShopPolicy().changed(limits={"max_discount": 0.6}), who="ada", why="it was evaluated")
    browser = console(policy_signing_key_file=tmp_path / "signing-key", policy_keys_file=tmp_path / "keys")
    browser.see("/")
    assert "Version 2: everything at list price" in browser.submit("/stop", what="all", why="costs are wrong")
    assert "Version 3" in browser.submit("/undo", why="costs are right")
    history = by_people.history()
    assert [each.policy.at_list for each in history] == [False, True, False]
    assert history[-1].policy.limits.max_discount == 0.6, "each endpoint has the evidence for it"


def test_an_undo_of_a_stop_without_a_model_follows_the_rules_of_approval_too(console, tmp_path: Path):
    store = open_store(tmp_path / "policy")
    store.change(ShopPolicy().changed(approval={"second_person": "widening"}), who="ada", why="rules")
    browser = console()
    browser.see("/")
    browser.submit("/stop", what="all", why="costs are wrong")
    assert "needs a second person" in browser.submit("/undo", status=400, why="costs are right")
    assert store.current().policy.at_list


def test_a_stop_without_a_reason_changes_nothing(console, tmp_path: Path):
    browser = console()
    browser.see("/")
    assert "a reason, in words, is needed" in browser.submit("/stop", status=400, what="all")
    assert open_store(tmp_path / "policy").newest() == 0


def test_status_says_which_version_the_endpoint_follows(console, endpoint):
    browser = console()
    endpoint.policy_version = 3
    assert browser.get("/status").json() == {"policy": 0, "endpoint": 3}


def test_actions_are_in_the_audit_log_also_those_that_were_refused(console, tmp_path: Path):
    browser = console()
    browser.see("/")
    browser.submit("/stop", what="all", why="costs are wrong")
    browser.submit("/stop", status=400, what="all")
    first, second = AuditLog(tmp_path / "state").entries()
    assert (first.action, first.outcome, first.fields["why"]) == ("stop/stop", "done", "costs are wrong")
    assert second.outcome.startswith("refused: ")
    assert "csrf" not in first.fields


def test_an_endpoint_that_is_down_is_a_page_with_the_remedy(console, endpoint):
    endpoint.refuse = (503, {"error": "starting"})
    assert "the endpoint answered 503" in console().see("/?q=drill", status=503).lower()


def test_operations_says_that_no_report_is_not_a_pass_and_shows_what_is_open(console, tmp_path: Path):
    assert "That is not a pass" in console().see("/operations")
    window = {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-02T00:00:00+00:00"}
    checks = [
        {"name": "traffic", "status": "pass", "summary": "enough", "component": ""},
        {"name": "stock_out", "status": "warn", "summary": "5 items may run out", "component": ""},
    ]
    report = {"job": "stock", "status": "warn", "window": window, "checks": checks, "detail": {}}
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "stock.json").write_text(json.dumps(report))
    (tmp_path / "reports" / "report.html").write_text("<p>all of it</p>")
    browser = console(reports=tmp_path / "reports")
    html = browser.see("/operations")
    assert "5 items may run out" in html
    assert "older than a day" in html
    answer = browser.get("/operations/report?name=report.html")
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert browser.get("/operations/report?name=../state/audit.jsonl").status_code == 404


def test_fairness_says_gaps_in_words_with_their_interval_and_hands_out_documents(console, tmp_path: Path):
    gap = {"change": 0.012, "low": 0.004, "high": 0.02, "n": 900, "status": "warn", "component": "18-34"}
    window = {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-02T00:00:00+00:00"}
    report = {"window": window, "checks": [{"name": "price_gap:age", "summary": "", **gap}]}
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "fairness.json").write_text(json.dumps(report))
    browser = console(reports=tmp_path / "reports")
    html = browser.see("/fairness")
    assert "18-34 pays 1.2 % more than everybody else for the same item, between 0.4 % more and 2.0 % more" in html
    assert "THIS PRICE WAS SET BY AN ALGORITHM" in html, "the law of New York"
    browser.see("/")
    browser.submit("/stop", what="all", why="a gap")
    history = browser.get("/fairness/download?name=policy-history.json").json()
    assert [change["why"] for change in history] == ["a gap"]
    assert browser.get("/fairness/download?name=/etc/passwd").status_code == 404


def test_models_say_the_decision_in_words_and_what_is_missing(console, tmp_path: Path):
    gates = [
        GateResult("relevance", 0.9, "at least 0.8", "pass"),
        GateResult("opt_out", 1.0, "0", "fail", needs="a fix"),
    ]
    model = {"version": "abc", "model_digest": "abcdef"}
    decision = make_decision(challenger=model, champion=None, data_fingerprint="f", gates=gates, metrics={})
    write_decision(tmp_path / "DECISION.json", decision)
    html = console(decision=tmp_path / "DECISION.json").see("/models")
    assert "It may serve search and uniform prices, and not yet personal prices." in html
    assert "Needs a fix" in html


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user_id": "x" * 500}, "at most 128 characters"),
        ({"user_id": "a\u200bb"}, "that can be seen"),
        ({"place": "<script>"}, "must be an ISO 3166 code"),
    ],
)
def test_a_customer_or_place_that_no_endpoint_takes_is_refused_and_not_kept(console, endpoint, fields, words):
    """What is kept is sent with every page: every one of them would be refused."""
    browser = console()
    browser.see("/")
    assert words in browser.submit("/look/shopper", status=400, **fields)
    browser.see("/?q=drill")
    asked = endpoint.asked[-1][1]["instances"][0]
    assert "user_id" not in asked
    assert "place" not in asked


def test_a_refusal_of_the_endpoint_names_the_field_as_a_person_knows_it(console, endpoint):
    endpoint.refuse = (
        400,
        {"error": "instances[0].query: '600 characters' is refused; it must be 1 to 512 characters"},
    )
    html = console().see("/?q=drill", status=400)
    assert "query: &#39;600 characters&#39; is refused" in html.lower()
    assert "instances" not in html


def test_a_shop_of_few_categories_fills_its_first_page(tmp_path):
    items = pd.DataFrame({"item_id": list("abcdef"), "category": ["x", "x", "x", "x", "y", "y"], "stock": 1.0})
    items.to_parquet(tmp_path / CATALOGUE)
    save_arrays(tmp_path, ESTIMATES, {"sales_rate": np.array([6.0, 5, 4, 3, 2, 1])}, {})
    (tmp_path / MANIFEST).write_text("{}")
    assert Shop(tmp_path, None).popular(5) == ["a", "b", "e", "f", "c"]
