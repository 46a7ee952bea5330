"""The pricing policy: how prices are chosen and bounded, as a frozen document in the model folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, get_args

from fairtag.base.errors import ConfigError
from fairtag.base.money import USUAL_CURRENCY
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.search.similarity import ALPHA

SCHEMA = "fairtag.policy/2"
EPOCH_ZERO = date(1970, 1, 1)
ExplorationMethod = Literal["menu", "thompson"]


@dataclass(frozen=True)
class PricingPolicy:
    """The shop's pricing policy.

    Args:
        limits: Guardrails.
        margin_weight: w, weight of profit in the objective; 0 is the anchor objective, the price nearest to f(v).
        anchor_weight: lambda, pull towards f(v).
        reference_weights: Weights of f(v), list price and competitor price in the reference price; >= 0, sum 1.
        intent_alpha: Share of the query in the intent; the rest is the customer's history.
        personalise: Whether behaviour and history may move prices.
        similarity_in_price: Whether similarity to the query may move prices, or only ranks items. Where it may, the
            first query of a price day chooses the price.
        confidence: List is served unless the chosen prices beat it with this posterior probability.
        exploration: Share of prices drawn at random inside the bounds, so that the log can evaluate the next model.
        exploration_method: How they are drawn: evenly from a menu (``menu``), or each price as often as it is believed
            to be the best (``thompson``).
        epoch_hours: Length of a price day in hours; a quoted price stays for it.
        stock_horizon_days: Days until stock is replenished; demand over them must fit the stock.
        currency: ISO 4217 code of all money; it decides the minor units, and the price endings where none are given.

    Raises:
        ConfigError: A setting is outside its range.

    >>> policy = PricingPolicy(limits=GuardrailLimits(max_discount=0.2), exploration=0.0)
    >>> policy == PricingPolicy.from_json(policy.to_json())
    True
    >>> PricingPolicy(confidence=1.5)
    Traceback (most recent call last):
    ...
    fairtag.base.errors.ConfigError: confidence is 1.5; it must be in [0, 1]
    """

    limits: GuardrailLimits = field(default_factory=GuardrailLimits)
    margin_weight: float = 1.0
    anchor_weight: float = 0.0
    reference_weights: tuple[float, float, float] = (0.0, 1.0, 0.0)
    intent_alpha: float = ALPHA
    personalise: bool = True
    similarity_in_price: bool = False
    confidence: float = 0.8
    exploration: float = 0.05
    exploration_method: ExplorationMethod = "menu"
    epoch_hours: int = 24
    stock_horizon_days: int = 14
    currency: str = USUAL_CURRENCY

    def __post_init__(self) -> None:
        """Check all settings; the limits are in the policy's currency."""
        object.__setattr__(self, "limits", self.limits.in_currency(self.currency))
        for name, value in (
            ("intent_alpha", self.intent_alpha),
            ("confidence", self.confidence),
            ("exploration", self.exploration),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}; it must be in [0, 1]")
        if self.exploration_method not in get_args(ExplorationMethod):
            known = " or ".join(get_args(ExplorationMethod))
            raise ConfigError(f"exploration_method is {self.exploration_method!r}; it must be {known}")
        weights = (self.margin_weight, self.anchor_weight)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ConfigError(
                f"margin_weight {self.margin_weight} and anchor_weight {self.anchor_weight} must be finite and >= 0, "
                "one of them > 0"
            )
        shares = self.reference_weights
        if len(shares) != 3 or not all(share >= 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
            raise ConfigError(f"reference_weights are {shares}; they must be three, >= 0, and sum to 1")
        for name in ("epoch_hours", "stock_horizon_days"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def anchored(self) -> bool:
        """Whether prices follow f(v) alone, whatever demand says (the anchor objective)."""
        return self.margin_weight == 0

    @property
    def weighs_f(self) -> bool:
        """Whether f(v) moves any price: by the anchor or in the reference price."""
        return self.anchor_weight > 0 or self.anchored or self.reference_weights[0] > 0

    def epoch_of(self, seconds: float) -> int:
        """Number of the price day of an instant, given in seconds since 1970.

        >>> PricingPolicy().epoch_of(86_400.0)
        1
        """
        return int(seconds // (self.epoch_hours * 3600))

    def day_of(self, epoch: int) -> date:
        """The date on which a price day begins, UTC."""
        return EPOCH_ZERO + timedelta(hours=epoch * self.epoch_hours)

    def days_of(self, epoch: int) -> tuple[date, date]:
        """First and last date of a price day, UTC; the law of these dates holds for its quotes."""
        last = datetime.combine(EPOCH_ZERO, time()) + timedelta(hours=(epoch + 1) * self.epoch_hours, seconds=-1)
        return self.day_of(epoch), last.date()

    def in_currency(self, code: str) -> PricingPolicy:
        """The same policy for a shop with another currency.

        >>> PricingPolicy().in_currency("JPY").limits.minor_per_unit
        1
        """
        return replace(self, currency=code, limits=replace(self.limits, currency=code))

    def to_json(self) -> dict[str, Any]:
        """The document as JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PricingPolicy:
        """Read the document.

        Raises:
            ConfigError: The schema or a name is unknown, or a value is not allowed.
        """
        if document.get("schema") != SCHEMA:
            raise ConfigError(f"policy: schema {document.get('schema')!r}, this version reads {SCHEMA!r}")
        values = {name: value for name, value in document.items() if name != "schema"}
        limits = {**values.pop("limits", {})}
        _check_names(values, cls, "policy")
        _check_names(limits, GuardrailLimits, "policy.limits")
        try:
            for where, name in ((limits, "endings"), (values, "reference_weights")):
                if where.get(name) is not None:
                    where[name] = tuple(where[name])
            return cls(limits=GuardrailLimits(**limits), **values)
        except TypeError as error:
            raise ConfigError(f"policy: a value has the wrong type ({error})") from error


def _check_names(values: Mapping[str, Any], kind: type[Any], where: str) -> None:
    names = {entry.name for entry in fields(kind)}
    if unknown := sorted(set(values) - names):
        raise ConfigError(f"{where}: {', '.join(unknown)} is unknown; the names are {', '.join(sorted(names))}")
