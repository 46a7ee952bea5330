"""Settings: a mistake is one ConfigError that names the field, the value, the rule and what the setting is."""

from dataclasses import dataclass, field

import pytest

from fairtag.base.errors import ConfigError
from fairtag.base.settings import Field, Settings, differences, parse


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


def test_differences_hold_what_was_changed_and_make_the_same_settings_again():
    assert differences(Run()) == {}
    changed = Run(shop={"items": 5}, prior={"spreads": (1, 2)})
    assert differences(changed) == {"shop": {"items": 5}, "prior": {"spreads": [1.0, 2.0]}}
    assert parse(Run, differences(changed)) == changed
