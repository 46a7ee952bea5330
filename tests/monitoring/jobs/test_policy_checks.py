"""Quotes against the live policy: planted violations of each kind are found, and what was promised is none."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.model.policy_change import AcceptedModel
from fairtag.model.signature import policy_signer, policy_verifier, trusted_keys
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.live_policy import STOPPED, LivePolicyStore
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy
from monitoring.__main__ import main
from monitoring.job_report import read_report
from monitoring.jobs.policy_checks import AGE, LIMITS, VERSION, PolicyAudit
from monitoring.jobs.policy_history import PolicyHistory
from monitoring.settings import Settings

DAY = datetime(2026, 2, 9, tzinfo=UTC)
MODEL = AcceptedModel("m1", "d1", PricingPolicy(limits=GuardrailLimits(endings=())))
ADA = {"who": "ada", "why": "because"}
SALE = {"name": "sale", "cut": 0.2, "items": ["mug"], "starts": "2026-02-09", "ends": "2026-02-09"}


def history(*policies: dict, hours: int = 1) -> PolicyHistory:
    """Versions that were made one after another, ``hours`` apart, the first at the start of the day."""
    with tempfile.TemporaryDirectory() as folder:
        return PolicyHistory.of(MODEL, _versions(*policies, hours=hours, folder=folder))


def _versions(*policies, folder, hours=1):
    times = iter(DAY + timedelta(hours=hours * number) for number in range(len(policies)))
    store = LivePolicyStore(Path(folder), now=lambda: next(times))
    for document in policies:
        store.change(ShopPolicy().changed(**document), accepted=MODEL.policy, **ADA)
    return store.history()


def quote(minutes: float, version: int, price: int = 1900, **changes) -> dict:
    """A mug, 20.00 at list, that costs 10.00."""
    return {
        schema.QUOTE_ID: f"q{minutes}-{version}-{price}-{changes.get(schema.USER_KEY, 'anna')}",
        schema.TS: pd.Timestamp(DAY) + pd.Timedelta(minutes=minutes),
        schema.MODEL_VERSION: "m1",
        schema.USER_KEY: "anna",
        schema.ITEM_ID: "mug",
        schema.CATEGORY: "kitchen",
        schema.RANK: 1,
        schema.LIST_PRICE_MINOR: 2000,
        schema.PRICE_MINOR: price,
        schema.LOW_MINOR: min(price, 1400),
        schema.HIGH_MINOR: 2000,
        schema.UNIT_COST_MINOR: 1000,
        schema.PERSONALISED: False,
        schema.REASONS: ["DEMAND_PRICE_SENSITIVE"],
        schema.JURISDICTION: "US-NY",
        schema.DEGRADED: None,
        schema.EPOCH: 20_493,  # 2026-02-09
        schema.POLICY_VERSION: version,
        **changes,
    }


def audited(past: PolicyHistory, *quotes: dict, settings: Settings | None = None):
    frame = pd.DataFrame(list(quotes))
    audit = PolicyAudit(past, settings or Settings())
    audit.add(frame)
    return {check.name: check for check in audit.checks(lambda _start: iter([frame]))}


def test_the_epoch_of_these_quotes_is_their_day():
    assert MODEL.policy.day_of(20_493) == date(2026, 2, 9)


def test_quotes_that_keep_to_a_live_version_pass():
    found = audited(history({"limits": {"max_discount": 0.3}, "exploration": 0.0}), quote(10, 1), quote(30, 1))
    assert {check.status for check in found.values()} == {Status.PASS}
    assert found[LIMITS].n == 2


@pytest.mark.parametrize(
    ("document", "changes", "rule"),
    [
        ({"limits": {"max_discount": 0.1}}, {"price": 1500}, "discount"),
        ({"limits": {"max_discount": 0.1}}, {"price": 1900, schema.LOW_MINOR: 1400}, "discount"),
        ({"limits": {"min_margin": 0.45}}, {"price": 1700}, "margin"),
        ({"exploration": 0.0}, {"price": 2100, schema.HIGH_MINOR: 2100}, "ceiling"),
        ({"at_list": True}, {}, "list"),
        ({"exclusions": {"items": ["mug"]}}, {}, "exclusion"),
        ({"exclusions": {"categories": ["kitchen"]}}, {}, "exclusion"),
        ({"pins": [{"item": "mug", "price": 18.0}]}, {}, "pin"),
        ({"promotions": [SALE]}, {}, "promotion"),
        ({"limits": {"endings": [49], "ending_period": 100}}, {}, "ending"),
        ({"personal_prices": {"allowed": False}}, {schema.PERSONALISED: True}, "personal"),
        ({"personal_prices": {"places_off": ["US-NY"]}}, {schema.PERSONALISED: True}, "personal"),
        ({"personal_prices": {"categories_off": ["kitchen"]}}, {schema.PERSONALISED: True}, "personal"),
    ],
)
def test_a_planted_breach_is_urgent_and_named_with_its_rule(document, changes, rule):
    found = audited(history(document), quote(10, 1, **changes))[LIMITS]
    assert found.status is Status.URGENT
    assert f"({rule} 1)" in found.summary
    assert json.loads(found.examples[0])["rule"] == rule
    assert json.loads(found.examples[0])["policy_version"] == 1


def test_a_price_that_was_promised_before_the_change_is_none_and_one_that_was_not_is():
    past = history({"exploration": 0.0}, {"exploration": 0.0, "limits": {"max_discount": 0.1}})
    before, after = quote(30, 1, 1500), quote(90, 2, 1500, **{schema.LOW_MINOR: 1500})
    assert audited(past, before, after)[LIMITS].status is Status.PASS
    assert audited(past, after)[LIMITS].status is Status.URGENT
    other = {**after, schema.USER_KEY: "bert"}
    assert audited(past, before, other)[LIMITS].status is Status.URGENT, "it was promised to somebody else"


def test_a_guests_promise_is_known_by_its_price_and_one_without_only_warns():
    past = history({"exploration": 0.0}, {"exploration": 0.0, "limits": {"max_discount": 0.1}})
    guest = {schema.USER_KEY: None, schema.LOW_MINOR: 1500}
    before, after = quote(30, 1, 1500, **guest), quote(90, 2, 1500, **guest)
    assert audited(past, before, after)[LIMITS].status is Status.PASS
    found = audited(past, after)[LIMITS]
    assert found.status is Status.WARN
    assert "1 prices of guests" in found.summary


def test_a_version_that_is_not_in_the_store_or_not_made_yet_is_urgent():
    past = history({"exploration": 0.0}, {"exploration": 0.02})
    assert audited(past, quote(90, 3))[VERSION].status is Status.URGENT
    assert audited(past, quote(54, 2))[VERSION].status is Status.URGENT, "made an hour after the first"
    assert audited(past, quote(56, 2))[VERSION].status is Status.PASS, "clocks differ by minutes"


@pytest.mark.parametrize(
    ("minutes", "status"), [(60, Status.PASS), (60.9, Status.PASS), (62, Status.WARN), (121, Status.URGENT)]
)
def test_a_version_that_was_replaced_warns_soon_and_is_urgent_after_the_stated_age(minutes, status):
    past = history({"exploration": 0.0}, {"exploration": 0.02})
    assert audited(past, quote(minutes, 1))[AGE].status is status


def test_an_endpoint_that_lost_its_store_and_put_everything_at_list_is_not_blamed():
    past = history({"exploration": 0.0, "limits": {"max_discount": 0.1}}, {"exploration": 0.02})
    safe = quote(300, 1, 2000, **{schema.DEGRADED: STOPPED, schema.REASONS: ["LOW_CONFIDENCE_LIST"]})
    assert {check.status for check in audited(past, safe).values()} == {Status.PASS}
    assert audited(past, {**safe, schema.PRICE_MINOR: 1500})[LIMITS].status is Status.URGENT


def test_quotes_of_another_model_are_held_to_no_policy_of_this_one():
    found = audited(history({"at_list": True}), quote(10, 1, **{schema.MODEL_VERSION: "m0"}))[LIMITS]
    assert (found.status, found.decides) == (Status.UNKNOWN, False)


def test_a_wider_version_without_evidence_counts_as_the_model_was_accepted():
    past = history({"limits": {"max_discount": 0.6}})
    assert audited(past, quote(10, 1, 1000))[LIMITS].status is Status.URGENT, "half off was never evaluated"


def test_versions_after_one_that_nobody_signed_are_not_trusted(tmp_path):
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    LivePolicyStore(tmp_path, sign=policy_signer(key)).change(ShopPolicy(at_list=True), **ADA)
    LivePolicyStore(tmp_path).change(ShopPolicy().changed(exploration=0.0), **ADA)
    versions, problem = LivePolicyStore(
        tmp_path, verify=policy_verifier(trusted_keys(public, "public.pem"))
    ).trusted_history()
    assert len(versions) == 1
    past = replace(PolicyHistory.of(MODEL, versions, problem), made=np.array([0]))
    found = audited(past, quote(90, 2))[VERSION]
    assert found.status is Status.URGENT
    assert "no trusted key signed it" in found.summary
    assert "1 of 1 quotes name a version that nobody signed" in found.summary


# --- the job ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(shop, tmp_path):
    """A model folder with a policy, the shop's log under version 1 of a live policy, and that policy's store."""
    import shutil

    from fairtag.model.manifest import read_manifest, write_manifest

    folder, store = tmp_path / "model", tmp_path / "policy"
    shutil.copytree(shop.profile, folder / "profile")
    (folder / "policy.json").write_text(json.dumps(PricingPolicy().to_json()))
    write_manifest(folder, {})
    version = str(read_manifest(folder)["version"])
    frame = shop.stream.draw(shop.day, 24, 300)[0].assign(**{schema.MODEL_VERSION: version, schema.POLICY_VERSION: 1})
    _versions({"limits": {"min_margin": 0.0}, "exploration": 0.0}, folder=store)
    return folder, store, frame


def quality(shop, served, tmp_path, frame, name, *more):
    folder, _, _ = served
    options = shop.options(shop.write(frame, name), tmp_path / "out", *more)[1:]
    options[options.index("--model-folder") + 1] = str(folder)
    code = main(["quality", *options])
    return code, {check.name: check for check in read_report(tmp_path / "out" / "quality.json").checks}


def test_the_quality_job_holds_the_log_to_the_store_that_it_is_told_of(shop, served, tmp_path):
    _, store, frame = served
    _, found = quality(shop, served, tmp_path, frame, "kept", "--policy-store", str(store))
    assert [found[name].status for name in (VERSION, AGE)] == [Status.PASS, Status.PASS]
    cheap = frame.assign(**{schema.PRICE_MINOR: (frame[schema.LIST_PRICE_MINOR] * 0.5).astype(int)})
    code, found = quality(shop, served, tmp_path, cheap, "cheap", "--policy-store", str(store))
    assert (code, found[LIMITS].status) == (2, Status.URGENT)


def test_without_a_store_the_job_says_what_to_name_and_a_store_that_is_gone_cannot_tell(shop, served, tmp_path):
    _, _, frame = served
    _, found = quality(shop, served, tmp_path, frame, "none")
    assert "--policy-store" in found[VERSION].summary
    assert not found[VERSION].decides
    code, found = quality(shop, served, tmp_path, frame, "gone", "--policy-store", "redis://127.0.0.1:1/0")
    assert (code, found[VERSION].status) == (3, Status.UNKNOWN)
