"""The pricing policy refuses what cannot be meant, and survives the way to disk and back."""

import json
from datetime import date

import numpy as np
import pytest

from fairtag.base.errors import ConfigError
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.pricing_policy import PricingPolicy


def test_a_policy_survives_the_way_to_disk_and_back():
    policy = PricingPolicy(
        limits=GuardrailLimits(max_discount=0.4, endings=(49, 99), ending_period=100, competitor_above=0.02),
        reference_weights=(0.25, 0.5, 0.25),
        anchor_weight=0.5,
        epoch_hours=6,
        currency="EUR",
    )
    assert PricingPolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_the_defaults_are_those_of_the_specification():
    policy = PricingPolicy()
    assert policy.limits.discount_only
    assert policy.confidence == 0.8
    assert policy.reference_weights == (0.0, 1.0, 0.0)
    assert policy.margin_weight == 1.0
    assert policy.anchor_weight == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin_weight", -1.0),
        ("margin_weight", np.nan),
        ("margin_weight", np.inf),
        ("margin_weight", 0.0),  # nothing left to maximise
        ("anchor_weight", -0.1),
        ("anchor_weight", np.nan),
        ("reference_weights", (0.5, 0.6, 0.0)),
        ("reference_weights", (-0.5, 1.5, 0.0)),
        ("reference_weights", (np.nan, 1.0, 0.0)),
        ("reference_weights", (0.5, 0.5)),
        ("confidence", 1.1),
        ("confidence", np.nan),
        ("exploration", -0.01),
        ("intent_alpha", 2.0),
        ("epoch_hours", 0),
        ("stock_horizon_days", 0),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name):
        PricingPolicy(**{name: value})


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "fairtag.policy/0"},
        {"presonalise": False},
        {"limits": {"max_discuont": 0.1}},
        {"limits": {"max_discount": "a lot"}},
        {"confidence": "high"},
        {"reference_weights": 1.0},
    ],
)
def test_a_document_that_does_not_say_what_a_policy_says_is_refused(change):
    with pytest.raises(ConfigError, match="policy"):
        PricingPolicy.from_json({**PricingPolicy().to_json(), **change})


def test_epochs_are_of_one_length_and_begin_at_midnight_of_1970():
    policy = PricingPolicy(epoch_hours=6)
    assert [policy.epoch_of(hour * 3600.0) for hour in (0, 5.999, 6, 12, 24)] == [0, 0, 1, 2, 4]
    assert policy.day_of(4) == date(1970, 1, 2)
    assert PricingPolicy().day_of(20_620) == date(2026, 6, 16)
    assert PricingPolicy().days_of(20_620) == (date(2026, 6, 16), date(2026, 6, 16))
    assert PricingPolicy(epoch_hours=36).days_of(1) == (date(1970, 1, 2), date(1970, 1, 3))
    assert PricingPolicy(epoch_hours=168).days_of(0) == (date(1970, 1, 1), date(1970, 1, 7))


def test_the_currency_decides_the_minor_units_and_is_written_once():
    assert PricingPolicy(currency="JPY").limits.minor_per_unit == 1
    assert PricingPolicy(currency="KWD").limits.minor_per_unit == 1_000
    assert PricingPolicy(limits=GuardrailLimits(max_discount=0.1)).in_currency("CLF").limits.minor_per_unit == 10_000
    with pytest.raises(ConfigError, match="write it once"):
        PricingPolicy(currency="JPY", limits=GuardrailLimits(currency="USD"))


@pytest.mark.parametrize("code", ["eur", "€", "EURO", "", "XAU", "XXX"])
def test_a_policy_in_no_currency_is_refused(code):
    with pytest.raises(ConfigError, match="no ISO 4217 currency code"):
        PricingPolicy(currency=code)
