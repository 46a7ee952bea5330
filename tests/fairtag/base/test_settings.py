"""Settings: a mistake is one ConfigError that names the field, the value, the rule and what the setting is."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from fairtag.base.errors import ConfigError
from fairtag.base.settings import Field, Settings, layered, leaves, parse, rule_of


class Shop(Settings):
    items: int = Field(3_000, ge=1, description="Products of the shop.")


@dataclass(frozen=True)
class Prior:
    rounds: int = 8
    spreads: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ConfigError(f"rounds is {self.rounds}; it must be at least 0")


@dataclass(frozen=True)
class Model:
    prior: Prior = field(default_factory=Prior)


class Run(Settings):
    shop: Shop = Shop()
    prior: Prior = Prior()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shop": {"items": 0}}, r"shop\.items: 0 is refused; it must be greater .* 1 \(Products of the shop\.\)"),
        ({"shop": {"item": 1}}, r"shop\.item is not a setting; there are items; did you mean items\?"),
        ({"prior": {"rounds": -1}}, r"prior: rounds is -1; it must be at least 0"),
        ({"prior": {"rounds": "many"}}, r"prior\.rounds: 'many' is refused; it must be a valid integer"),
        ({"prior": {"round": 1}}, r"prior\.round is not a setting; .* did you mean rounds\?"),
        ({"shop": {"items": 0}, "seed": 1}, r"shop\.items: 0 is refused.*; seed is not a setting"),
    ],
)
def test_a_mistake_is_named_with_value_rule_and_remedy(values, message):
    for make in (lambda: Run(**values), lambda: parse(Run, values)):
        with pytest.raises(ConfigError, match=message):
            make()


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Shop().items = 1


def test_a_json_text_is_read_and_what_is_none_is_refused():
    assert parse(Shop, '{"items": 5}') == Shop(items=5)
    assert parse(Prior, '{"spreads": [1, 2]}', "demand") == Prior(spreads=(1.0, 2.0))
    with pytest.raises(ConfigError, match="demand: 'x' is not JSON"):
        parse(Prior, "x", "demand")
    with pytest.raises(ConfigError, match=r"demand: \[1\] is refused; write a JSON object"):
        parse(Prior, "[1]", "demand")
    with pytest.raises(ConfigError, match=r"demand\.prior\.rounds: 'x' is refused"):
        parse(Model, {"prior": {"rounds": "x"}}, "demand")


class Rates(Settings):
    peak: float = Field(0.1, gt=0)
    "Peak rate. It falls later."
    share: float = Field(0.5, ge=0, le=1)
    steps: int | None = Field(None, ge=0)
    kind: Literal["sgd", "adam"] = "adam"
    fused: bool = True


class Training(Settings):
    RENAMED: ClassVar[dict[str, str]] = {"lr": "rates.peak"}

    name: str = "first"
    rates: Rates = Rates()


class Job(Settings):
    training: Training = Training()


def test_a_former_name_is_refused_with_the_path_it_has_now_wherever_its_group_stands():
    with pytest.raises(ConfigError, match=r'^x\.lr is not a setting; it is x\.rates\.peak now: write .*"peak": 1\}\}$'):
        parse(Training, {"lr": 1}, "x")
    with pytest.raises(ConfigError, match=r"^training\.lr is not a setting; it is training\.rates\.peak now"):
        Job(training={"lr": 1})


def test_a_description_is_the_string_below_a_field_and_a_message_holds_its_first_sentence():
    with pytest.raises(ConfigError, match=r"rates\.peak: 0 is refused; .* \(Peak rate\.\)$"):
        Training(rates={"peak": 0})


def test_leaves_are_all_single_settings_with_what_they_may_be():
    assert {path: rule_of(field) for path, field in leaves(Job)} == {
        "training.name": "a text",
        "training.rates.peak": "a number above 0",
        "training.rates.share": "a number from 0 to 1",
        "training.rates.steps": "a whole number of at least 0, or null",
        "training.rates.kind": "one of sgd, adam",
        "training.rates.fused": "true or false",
    }


def test_a_later_layer_replaces_single_values_and_leaves_the_earlier_one_as_it_was():
    first = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert layered(first, {"a": {"c": {"d": 4}}}, {"a": {"c": {"f": 5}}, "e": {"g": 6}}) == {
        "a": {"b": 1, "c": {"d": 4, "f": 5}},
        "e": {"g": 6},
    }
    assert first == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
