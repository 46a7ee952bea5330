"""policy.yaml: one format, checked, with an example for every setting."""

from dataclasses import fields
from datetime import date

import pytest

from fairtag.base.errors import ConfigError
from fairtag.base.settings import leaves
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.policy_reference import example
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import PRICING, ShopPolicy, from_document, read_policy


def test_the_sections_hold_every_setting_of_the_pricing_policy():
    assert {*PRICING, "limits", "personalise"} == {each.name for each in fields(PricingPolicy)}
    assert set(PRICING) <= set(ShopPolicy.model_fields)


def test_every_setting_has_a_description_and_an_example_that_is_accepted():
    assert all(field.examples and field.description for _, field in leaves(ShopPolicy))
    document = example().document()
    assert from_document(document) == example()
    assert {"limits", "endings", "pins", "exclusions", "promotions", "approval"} <= document.keys()


def test_a_file_of_yaml_and_a_json_text_say_the_same(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("limits: {max_discount: 0.2}\npromotions:\n- {name: winter, cut: 0.1, categories: [garden],\n"
                    "   starts: 2026-12-01, ends: 2026-12-24}\n")  # fmt: skip
    policy = read_policy(file)
    assert policy.promotions[0].starts == date(2026, 12, 1)
    assert read_policy(__import__("json").dumps(policy.document())) == policy
    file.write_text("")
    assert read_policy(file).empty


def test_what_says_nothing_does_not_tell_policies_apart():
    assert ShopPolicy(at_list=False) == ShopPolicy()
    assert ShopPolicy().changed(personal_prices={"allowed": True}).empty
    assert ShopPolicy().changed(limits={"max_decrease": None}) != ShopPolicy(), "null switches a limit off"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"limits": {"max_discount": 2}}, "limits.max_discount: 2 is refused; it must be less than or equal to 1"),
        ({"limts": {}}, "did you mean limits"),
        ({"personalise": False}, "personal_prices.allowed"),
        ({"schema": "fairtag.shop-policy/9"}, "this version reads"),
        ({"limits": {"discount_only": True, "max_markup": 0.1}}, "contradict"),
        ({"pins": [{"item": "a", "price": 0}]}, "greater than 0"),
        ({"pins": [{"item": "a", "price": 1}, {"item": "a", "price": 2}]}, "another pin on the same days"),
        ({"pins": [{"item": "a", "price": 1}], "exclusions": {"items": ["a"]}}, "pinned or stays at list"),
        ({"pins": [{"item": "a", "price": 1, "starts": "2026-12-02", "ends": "2026-12-01"}]}, "exchange them"),
        ({"promotions": [{"name": "x", "cut": 0.1, "items": ["a"]}]}, "no starts or no ends"),
        ({"promotions": [{"name": "x", "cut": 0.1, "starts": "2026-12-01", "ends": "2026-12-01"}]}, "covers nothing"),
        ({"personal_prices": {"places_off": ["Germany"]}}, "ISO 3166"),
        ({"endings": {"EUR": {"digits": [9]}}, "limits": {"endings": [9]}}, "twice"),
        ({"endings": {"USD": {"digits": [99]}}}, r"endings \(99,\) must lie in"),
    ],
)
def test_a_mistake_is_named_with_field_value_rule_and_remedy(document, message):
    with pytest.raises(ConfigError, match=message):
        from_document(document)


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="table of settings"):
        read_policy(tmp_path / "list.yaml")


def test_a_model_is_trained_with_all_of_it_and_an_endpoint_keeps_what_its_model_was_fitted_with():
    policy = ShopPolicy().changed(epoch_hours=6, exploration=0.0, limits={"min_margin": 0.1})
    accepted = PricingPolicy(confidence=0.9)
    assert policy.pricing(accepted) == PricingPolicy(
        confidence=0.9, epoch_hours=6, exploration=0.0, limits=GuardrailLimits(min_margin=0.1)
    )
    assert policy.over(accepted).epoch_hours == 24
    assert policy.needs_model(accepted) == ("epoch_hours",)
    assert policy.needs_model(PricingPolicy(epoch_hours=6)) == ()


def test_the_endings_of_the_shops_own_currency_count():
    policy = ShopPolicy().changed(
        endings={"EUR": {"digits": [49, 99], "period": 100}, "JPY": {"digits": [80], "period": 100}}
    )
    for code, endings in (("EUR", (49, 99)), ("JPY", (80,)), ("USD", None)):
        assert policy.over(PricingPolicy().in_currency(code)).limits.endings == endings


def test_personal_prices_can_only_be_taken_away_from_a_model():
    off = ShopPolicy().changed(personal_prices={"allowed": False})
    assert not off.over(PricingPolicy()).personalise
    assert not ShopPolicy().over(PricingPolicy(personalise=False)).personalise
