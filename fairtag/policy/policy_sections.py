"""The sections of ``policy.yaml``: limits, endings, personal prices, pins, exclusions, promotions, approval."""

from __future__ import annotations

from datetime import date
from typing import Any, Final, Literal

from pydantic import model_validator

from fairtag.base.errors import ConfigError
from fairtag.base.settings import Field, Settings

OFF: Final = ("max_decrease", "max_increase", "competitor_below", "competitor_above")  # limits that null switches off


class Limits(Settings):
    """The bounds that every price is held to; they are those of :class:`fairtag.policy.guardrails.GuardrailLimits`."""

    min_margin: float | None = Field(
        None, ge=0, lt=1, examples=[0.1], description="Smallest margin above the cost, as a share of the price."
    )
    max_discount: float | None = Field(None, ge=0, le=1, examples=[0.2], description="Largest discount from list.")
    discount_only: bool | None = Field(None, examples=[True], description="Whether nobody pays more than list.")
    max_markup: float | None = Field(
        None, ge=0, examples=[0.0], description="Largest markup on list, where `discount_only` is false."
    )
    max_decrease: float | None = Field(
        None, ge=0, le=1, examples=[0.1], description="Largest fall from the previous price; null for none."
    )
    max_increase: float | None = Field(
        None, ge=0, examples=[0.05], description="Largest rise from the previous price; null for none."
    )
    competitor_below: float | None = Field(
        None, ge=0, le=1, examples=[0.15], description="How far below the competitor's price; null for any."
    )
    competitor_above: float | None = Field(
        None, ge=0, examples=[0.1], description="How far above the competitor's price; null for any."
    )
    corridor_ratio: float | None = Field(
        None, ge=1, examples=[1.2], description="The corridor: nobody pays more than this times what anybody else pays."
    )
    endings: tuple[int, ...] | None = Field(
        None,
        examples=[[49, 99]],
        description="Allowed last digits, minor units; those of the currency when not given, any when empty.",
    )
    ending_period: int | None = Field(
        None,
        ge=1,
        examples=[100],
        description="What the endings are the remainder of: 10 for .x9, 100 for .49 and .99.",
    )
    menu_size: int | None = Field(
        None, ge=2, examples=[32], description="Most prices that are compared for an item; more are thinned evenly."
    )

    def given(self) -> dict[str, Any]:
        """What is written here, by the names of ``GuardrailLimits``; null counts where it switches a bound off."""
        written = {name: getattr(self, name) for name in self.model_fields_set}
        found = {name: value for name, value in written.items() if value is not None or name in (*OFF, "endings")}
        if found.get("discount_only") and "max_markup" not in found:
            found["max_markup"] = 0.0  # what the two would contradict each other about
        return found


class Endings(Settings):
    """Price endings of one currency."""

    digits: tuple[int, ...] = Field(examples=[[49, 99]], description="Last digits that a price may have, minor units.")
    period: int = Field(
        10, ge=1, examples=[100], description="What they are the remainder of: 10 for .x9, 100 for .49 and .99."
    )


class PersonalPrices(Settings):
    """Where a customer's data may move prices; law and consent come first in any case."""

    allowed: bool = Field(True, examples=[True], description="Whether there are personal prices at all.")
    places_off: tuple[str, ...] = Field(
        (), examples=[["DE", "US-NY"]], description="Places (ISO 3166) without personal prices."
    )
    categories_off: tuple[str, ...] = Field(
        (), examples=[["baby food"]], description="Categories without personal prices."
    )

    @model_validator(mode="after")
    def _places_can_be_read(self) -> PersonalPrices:
        if self.places_off:
            from fairtag.policy.disclosure import require_place

            for place in self.places_off:
                require_place(place)
        return self


class Days(Settings):
    """Days on which something holds. A day is a price day that begins on that date, UTC."""

    starts: date | None = Field(None, examples=["2026-12-01"], description="First day; at once when not given.")
    ends: date | None = Field(
        None, examples=["2026-12-24"], description="Last day; until it is removed when not given."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Days:
        if self.starts and self.ends and self.ends < self.starts:
            raise ConfigError(f"ends {self.ends} lies before starts {self.starts}; exchange them")
        return self

    def hold(self, day: date) -> bool:
        """Whether it holds on a day."""
        return (self.starts is None or self.starts <= day) and (self.ends is None or day <= self.ends)

    def meet(self, other: Days) -> bool:
        """Whether both hold on some day."""
        first = max(self.starts or date.min, other.starts or date.min)
        return first <= min(self.ends or date.max, other.ends or date.max)


class Pin(Days):
    """One item at one price for everybody, held inside the limits."""

    item: str = Field(min_length=1, examples=["item-7"], description="The item.")
    price: float = Field(gt=0, examples=[19.99], description="Its price, currency units.")


class Exclusions(Settings):
    """What stays at its list price."""

    items: tuple[str, ...] = Field((), examples=[["item-8"]], description="Items at list price.")
    categories: tuple[str, ...] = Field((), examples=[["gift cards"]], description="Categories at list price.")


class Promotion(Days):
    """A cut of list prices between two days."""

    name: str = Field(min_length=1, examples=["winter sale"], description="What it is called.")
    cut: float = Field(gt=0, lt=1, examples=[0.15], description="Share that is taken off the list price.")
    items: tuple[str, ...] = Field((), examples=[["item-9"]], description="Items that it covers.")
    categories: tuple[str, ...] = Field((), examples=[["garden"]], description="Categories that it covers.")

    @model_validator(mode="after")
    def _covers_something_between_two_days(self) -> Promotion:
        if not self.items and not self.categories:
            raise ConfigError(f"promotion {self.name!r} covers nothing; name items or categories")
        if self.starts is None or self.ends is None:
            raise ConfigError(f"promotion {self.name!r} has no starts or no ends; write the first and the last day")
        return self


class Approval(Settings):
    """Who may change the policy."""

    narrow: tuple[str, ...] = Field(
        (), examples=[["ada", "bo"]], description="Who may make a change that only narrows; everybody when empty."
    )
    widen: tuple[str, ...] = Field(
        (), examples=[["ada"]], description="Who may approve a change that allows more; everybody when empty."
    )
    second_person: Literal["never", "widening", "always"] = Field(
        "never", examples=["widening"], description="Which changes somebody else than their author must approve."
    )
