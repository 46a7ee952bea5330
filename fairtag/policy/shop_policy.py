"""``policy.yaml``: what the shop allows, as one document that people write, approve and take back.

The same format is read by ``fairtag run --policy``, by the pipeline's parameter ``policy``, by ``fairtag policy`` and
by the console. A document holds only what differs: from the defaults when a model is trained, from what the model's
decision accepted (its ``policy.json``) when a running endpoint follows it.

>>> policy = read_policy('{"limits": {"max_discount": 0.2}, "pins": [{"item": "item-7", "price": 19.99}]}')
>>> policy.over(PricingPolicy()).limits.max_discount
0.2
>>> policy.document()["pins"]
[{'item': 'item-7', 'price': 19.99}]

docs/policy.md is written for the pricing manager; its table of settings is made by
:mod:`fairtag.policy.policy_reference`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from pydantic import model_validator

from fairtag.base.errors import ConfigError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.base.settings import Field, Settings, layered, parse
from fairtag.base.yaml_text import read_yaml
from fairtag.policy.experiments import Experiment, require_one_at_a_time
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.policy_sections import Approval, Endings, Exclusions, Limits, PersonalPrices, Pin, Promotion
from fairtag.policy.pricing_policy import ExplorationMethod, PricingPolicy

SCHEMA: Final = "fairtag.shop-policy/1"
# Settings that a model is fitted with; a running endpoint keeps those of its model.
TRAINED: Final = (
    "currency",
    "margin_weight",
    "anchor_weight",
    "reference_weights",
    "intent_alpha",
    "similarity_in_price",
    "epoch_hours",
    "stock_horizon_days",
)
LIVE: Final = ("confidence", "exploration", "exploration_method")  # settings beside the limits that an endpoint follows
PRICING: Final = (*LIVE, *TRAINED)  # of PricingPolicy, under the same names


class Lookup(NamedTuple):
    """Names of a policy by what they are looked up by.

    Args:
        pins: Pins by item.
        items: Items at list.
        categories: Categories at list.
        impersonal: Categories without personal prices.
    """

    pins: Mapping[str, Sequence[Pin]]
    items: frozenset[str]
    categories: frozenset[str]
    impersonal: frozenset[str]


class ShopPolicy(Settings):
    """What the shop allows. What is not written stays as it is: the default, or what the model's decision accepted."""

    RENAMED: ClassVar[Mapping[str, str]] = {"personalise": "personal_prices.allowed"}

    at_list: bool = Field(
        False, examples=[False], description="Everything at list price: the stop. Pins and promotions do not count."
    )
    personal_prices: PersonalPrices = PersonalPrices()
    limits: Limits = Limits()
    endings: dict[str, Endings] = Field(
        {},
        examples=[{"EUR": {"digits": [49, 99], "period": 100}}],
        description="Price endings by ISO 4217 currency; those of the shop's own currency count.",
    )
    pins: tuple[Pin, ...] = Field(
        (),
        examples=[[{"item": "item-7", "price": 19.99, "starts": "2026-12-01", "ends": "2026-12-24"}]],
        description="Items at a price for everybody, from one day to another.",
    )
    exclusions: Exclusions = Exclusions()
    promotions: tuple[Promotion, ...] = Field(
        (),
        examples=[
            [{"name": "winter", "cut": 0.15, "categories": ["garden"], "starts": "2026-12-01", "ends": "2026-12-24"}]
        ],
        description="Cuts of list prices with dates.",
    )
    experiments: tuple[Experiment, ...] = Field(
        (),
        examples=[
            [
                {
                    "name": "learned-1",
                    "starts": "2026-12-01",
                    "effect": 0.43,
                    "arms": [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}],
                }
            ]
        ],
        description="Live tests of prices, at most one on a day.",
    )
    approval: Approval = Approval()
    exploration: float | None = Field(
        None, ge=0, le=1, examples=[0.05], description="Share of prices drawn at random inside the limits, to learn."
    )
    exploration_method: ExplorationMethod | None = Field(
        None,
        examples=["menu"],
        description="How they are drawn: each price of a menu equally often (`menu`), or as often as it is believed to "
        "be the best (`thompson`).",
    )
    confidence: float | None = Field(
        None, ge=0, le=1, examples=[0.8], description="List is served unless a price beats it with this probability."
    )
    currency: str | None = Field(None, examples=["EUR"], description="ISO 4217 code of all money.")
    margin_weight: float | None = Field(None, ge=0, examples=[1.0], description="Weight of profit in the objective.")
    anchor_weight: float | None = Field(None, ge=0, examples=[0.0], description="Pull towards the price model's f(v).")
    reference_weights: tuple[float, float, float] | None = Field(
        None, examples=[[0.0, 1.0, 0.0]], description="Weights of f(v), list and competitor in the reference price."
    )
    intent_alpha: float | None = Field(
        None, ge=0, le=1, examples=[0.7], description="Share of the query in the intent; the rest is the history."
    )
    similarity_in_price: bool | None = Field(
        None, examples=[False], description="Whether similarity to the query may move prices, or only ranks items."
    )
    epoch_hours: int | None = Field(None, ge=1, examples=[24], description="Length of a price day, hours.")
    stock_horizon_days: int | None = Field(
        None, ge=1, examples=[14], description="Days until stock is replenished; demand over them must fit the stock."
    )

    @model_validator(mode="before")
    @classmethod
    def _schema_is_known(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "schema" not in values:
            return values
        if (schema := values["schema"]) != SCHEMA:
            raise ConfigError(f"schema {schema!r} is refused, this version reads {SCHEMA!r}; write schema: {SCHEMA}")
        return {name: value for name, value in values.items() if name != "schema"}

    @model_validator(mode="after")
    def _sections_agree(self) -> ShopPolicy:
        for number, pin in enumerate(self.pins):
            if pin.item in self.exclusions.items:
                raise ConfigError(f"pins.{number}: {pin.item!r} is excluded, too; an item is pinned or stays at list")
            if any(pin.item == other.item and pin.meet(other) for other in self.pins[:number]):
                raise ConfigError(f"pins.{number}: {pin.item!r} has another pin on the same days; keep one of them")
        if self.endings and "endings" in self.limits.model_fields_set:
            raise ConfigError("endings and limits.endings say the same thing twice; keep endings by currency")
        require_one_at_a_time(self.experiments)
        self.pricing(PricingPolicy())  # its own rules
        return self

    def pricing(self, base: PricingPolicy) -> PricingPolicy:
        """The pricing policy that a model is trained with.

        Args:
            base: What holds where nothing is written.

        Raises:
            ConfigError: Two settings contradict each other.
        """
        return self._applied(base, PRICING)

    def over(self, accepted: PricingPolicy) -> PricingPolicy:
        """The pricing policy that an endpoint follows: what its model's decision accepted, with this on top.

        Args:
            accepted: Of the model folder; what a model is fitted with (:data:`TRAINED`) stays as it is.
        """
        return self._applied(accepted, LIVE)

    def _applied(self, base: PricingPolicy, names: tuple[str, ...]) -> PricingPolicy:
        values = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        code = values.get("currency", base.currency)
        limits = self.limits.given()
        if code in self.endings:
            limits |= {"endings": self.endings[code].digits, "ending_period": self.endings[code].period}
        kept = GuardrailLimits(**{**vars_of(base.limits), **limits, "currency": None})
        return replace(base, **values, limits=kept, personalise=base.personalise and self.personal_prices.allowed)

    def needs_model(self, accepted: PricingPolicy) -> tuple[str, ...]:
        """Settings that differ from those that the model was fitted with, so that they need another model."""
        given = {name: getattr(self, name) for name in TRAINED if getattr(self, name) is not None}
        return tuple(name for name, value in given.items() if value != getattr(accepted, name))

    def document(self) -> dict[str, Any]:
        """What the policy says, JSON values, without what says nothing; equal policies have equal documents."""
        return {"schema": SCHEMA, **_telling(self.model_dump(mode="json", exclude_unset=True), _USUAL)}

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical document."""
        return sha256_text(self._text)

    @cached_property
    def lookup(self) -> Lookup:
        """What is named one by one, as it is looked up on every page."""
        pins: dict[str, list[Pin]] = {}
        for pin in self.pins:
            pins.setdefault(pin.item, []).append(pin)
        named = self.exclusions
        impersonal = frozenset(self.personal_prices.categories_off)
        return Lookup(pins, frozenset(named.items), frozenset(named.categories), impersonal)

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return self.document() == {"schema": SCHEMA}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShopPolicy) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> Any:
        return _revived, (self._text,)  # to a worker with every page: the document once parsed is kept there

    @cached_property
    def _text(self) -> str:
        return canonical_json(self.document())

    def changed(self, **changes: Any) -> ShopPolicy:
        """The same with other values, checked.

        >>> ShopPolicy().changed(at_list=True).document()
        {'schema': 'fairtag.shop-policy/1', 'at_list': True}
        >>> ShopPolicy().changed(at_list=True).changed(at_list=False).empty
        True
        """
        return from_document(layered(self.document(), changes))


def vars_of(limits: GuardrailLimits) -> dict[str, Any]:
    """The limits by name."""
    return {name: getattr(limits, name) for name in GuardrailLimits.__dataclass_fields__}


@lru_cache(maxsize=8)
def _revived(text: str) -> ShopPolicy:
    return from_document(json.loads(text))


def _telling(given: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """A section without switches, lists and sections at their defaults; a null that is written stays."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        default = usual.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping) and name != "endings":
            if inner := _telling(value, default):
                found[name] = inner
        elif default is None or value != default:
            found[name] = value
    return found


_USUAL = ShopPolicy().model_dump(mode="json")


def from_document(document: Mapping[str, Any], where: str = "policy") -> ShopPolicy:
    """A policy from what a file holds.

    Args:
        document: The settings; ``schema`` may be left out.
        where: What they are called in an error.

    Raises:
        ConfigError: The schema or a name is unknown, or a value is not what its setting allows; the message names the
            field, the value, the rule and what the setting is.
    """
    return parse(ShopPolicy, document, where)


def read_policy(source: str | Path) -> ShopPolicy:
    """A policy from a file of YAML or JSON, or from a JSON text.

    Raises:
        ConfigError: It cannot be read, or is not a policy.
    """
    text = str(source)
    if text.lstrip().startswith("{"):
        where = "policy"
    else:
        where = text
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{source}: cannot be read ({error.strerror}); name a file, docs/policy.md has an example"
            ) from error
    try:
        document = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{where}: neither YAML nor JSON ({error})") from error
    if not isinstance(document, dict | None):
        raise ConfigError(f"{where}: {document!r} is refused; a policy is a table of settings, such as at_list: false")
    return from_document(document or {}, where)
