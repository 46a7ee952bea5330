"""Does a change of the policy only narrow what may happen, or does it allow more? Decided field by field.

>>> old, new = ShopPolicy(), ShopPolicy().changed(limits={"max_discount": 0.2})
>>> [(each.field, each.effect) for each in differences(old, new, PricingPolicy())]
[('limits.max_discount', 'narrows')]
>>> [each.field for each in widenings(new, old, PricingPolicy())]
['limits.max_discount']

A narrower policy never lets a price occur that the wider one forbade: every price is the list price, which anyone may
pay, or lies inside the wider one's legal bounds, and inside its commercial ones unless a tightened legal bound leaves
nothing of them. Pins are held inside the bounds, so that adding one narrows; so are the arms of an
experiment, and to stop it leaves what holds without it. What cannot be shown to be narrower counts as wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.policy_sections import Promotion
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy

Effect = Literal["narrows", "widens"]
WIDER_WHEN_GREATER: Final = (
    "max_discount",
    "max_markup",
    "max_decrease",
    "max_increase",
    "competitor_below",
    "competitor_above",
    "corridor_ratio",
)

STOPPED: Final = "experiments.stopped"
WORDS: Final = {
    ("at_list", "yes"): "everything at list price, inside the fairness corridor",
    ("at_list", "no"): "prices as the model decides",
    ("personal_prices.allowed", "no"): "personal prices off",
    ("personal_prices.allowed", "yes"): "personal prices as the place allows",
}


@dataclass(frozen=True)
class Difference:
    """One field that two policies differ in.

    Args:
        field: Its path in the document, such as ``limits.max_discount``.
        before: What held, in words.
        after: What holds then, in words.
        effect: Whether the change narrows what may happen, or allows more.
    """

    field: str
    before: str
    after: str
    effect: Effect

    @property
    def words(self) -> str:
        """The difference in one line."""
        return WORDS.get((self.field, self.after)) or f"{self.field}: {self.before} -> {self.after}"


def differences(old: ShopPolicy, new: ShopPolicy, accepted: PricingPolicy) -> tuple[Difference, ...]:
    """Every field in which two policies differ, on top of what the model's decision accepted.

    Args:
        old: The policy that held.
        new: The policy that would hold.
        accepted: The pricing policy of the model folder.
    """
    return (
        *_switches(old, new),
        *_pricing(old, new, accepted),
        *_lists(old, new, accepted),
        *_experiments(old, new),
        *_approval(old, new),
    )


def widenings(old: ShopPolicy, new: ShopPolicy, accepted: PricingPolicy) -> tuple[Difference, ...]:
    """The differences that allow more; none where the new policy only narrows."""
    return tuple(each for each in differences(old, new, accepted) if each.effect == "widens")


def _switches(old: ShopPolicy, new: ShopPolicy) -> Iterator[Difference]:
    for field, before, after, narrower in (
        ("at_list", old.at_list, new.at_list, new.at_list),
        (
            "personal_prices.allowed",
            old.personal_prices.allowed,
            new.personal_prices.allowed,
            not new.personal_prices.allowed,
        ),
    ):
        if before != after:
            yield _difference(field, before, after, narrower=narrower)


def _pricing(old: ShopPolicy, new: ShopPolicy, accepted: PricingPolicy) -> Iterator[Difference]:
    """Limits, endings, exploration and confidence, as they apply with the model."""
    before, after = old.over(accepted), new.over(accepted)
    a, b = before.limits, after.limits
    capped = any(x is not None for x in (a.competitor_above, a.max_increase, b.competitor_above, b.max_increase))
    if a.min_margin != b.min_margin:  # the cost floor outranks a cap: raised, it may lift a price above the cap
        raised = b.min_margin > a.min_margin and not capped
        yield _difference("limits.min_margin", a.min_margin, b.min_margin, narrower=raised)
    if a.discount_only != b.discount_only:
        yield _difference("limits.discount_only", a.discount_only, b.discount_only, narrower=b.discount_only)
    for name in WIDER_WHEN_GREATER:
        x, y = (_room(limits, name) for limits in (a, b))
        if x != y:
            yield _difference(f"limits.{name}", getattr(a, name), getattr(b, name), narrower=y < x)
    if _digits(a) != _digits(b):
        yield _difference("limits.endings", _endings(a), _endings(b), narrower=_coarser(b, a))
    if a.menu_size != b.menu_size:
        yield _difference("limits.menu_size", a.menu_size, b.menu_size, narrower=False)
    if before.exploration != after.exploration:
        fewer = after.exploration < before.exploration
        yield _difference("exploration", before.exploration, after.exploration, narrower=fewer)
    if before.exploration_method != after.exploration_method:
        moved = (before.exploration_method, after.exploration_method)
        yield _difference("exploration_method", *moved, narrower=after.exploration == 0)
    if before.confidence != after.confidence:
        surer = after.confidence > before.confidence
        yield _difference("confidence", before.confidence, after.confidence, narrower=surer)


def _lists(old: ShopPolicy, new: ShopPolicy, accepted: PricingPolicy) -> Iterator[Difference]:
    """What is named one by one: places, categories, items, pins, promotions."""
    places, named = (old.personal_prices, new.personal_prices), (old.exclusions, new.exclusions)
    for field, before, after in (
        ("personal_prices.places_off", places[0].places_off, places[1].places_off),
        ("personal_prices.categories_off", places[0].categories_off, places[1].categories_off),
        ("exclusions.items", named[0].items, named[1].items),
        ("exclusions.categories", named[0].categories, named[1].categories),
    ):
        yield from _members(field, before, after, str, lambda _: True)
    yield from _members("pins", old.pins, new.pins, _pin_words, lambda _: True)
    deepest = new.over(accepted).limits.max_discount
    yield from _members(
        "promotions", old.promotions, new.promotions, _promotion_words, lambda each: each.cut <= deepest
    )


def _members(
    field: str, old: tuple[Any, ...], new: tuple[Any, ...], words: Callable[[Any], str], narrow: Callable[[Any], bool]
) -> Iterator[Difference]:
    """What was taken out of a list widens; what was put in narrows where it may."""
    for each in new:
        if each not in old:
            yield _difference(field, "none", words(each), narrower=narrow(each))
    for each in old:
        if each not in new:
            yield _difference(field, words(each), "none", narrower=False)


def _experiments(old: ShopPolicy, new: ShopPolicy) -> Iterator[Difference]:
    """Experiments that begin, change or end; whoever is in none sees what the rest of the policy says."""
    before, after = ({each.name: each for each in policy.experiments} for policy in (old, new))
    for name in (*before, *(name for name in after if name not in before)):
        one, other = before.get(name), after.get(name)
        if one != other:
            stopped = one is not None and (other is None or (other.stopped and not one.stopped))
            words = ("none" if each is None else each.words for each in (one, other))
            yield _difference(STOPPED if stopped else "experiments", *words, narrower=True)


def _approval(old: ShopPolicy, new: ShopPolicy) -> Iterator[Difference]:
    a, b = old.approval, new.approval
    for name in ("narrow", "widen"):
        x, y = getattr(a, name), getattr(b, name)
        if set(x) != set(y):
            fewer = bool(y) and (not x or set(y) < set(x))
            yield _difference(
                f"approval.{name}", ", ".join(x) or "everybody", ", ".join(y) or "everybody", narrower=fewer
            )
    order = ("never", "widening", "always")
    if a.second_person != b.second_person:
        stricter = order.index(b.second_person) > order.index(a.second_person)
        yield _difference("approval.second_person", a.second_person, b.second_person, narrower=stricter)


def _difference(field: str, before: object, after: object, *, narrower: bool) -> Difference:
    return Difference(field, _shown(before), _shown(after), "narrows" if narrower else "widens")


def _shown(value: object) -> str:
    return (
        {True: "yes", False: "no", None: "no limit"}[value] if value is None or isinstance(value, bool) else f"{value}"
    )


def _room(limits: GuardrailLimits, name: str) -> float:
    """How much a limit allows; infinite where it is off."""
    value = limits.markup if name == "max_markup" else getattr(limits, name)
    return math.inf if value is None else float(value)


def _digits(limits: GuardrailLimits) -> tuple[Any, ...]:
    """What tells two sets of endings apart."""
    if not limits.endings:
        return (limits.endings,)
    return (tuple(sorted(set(limits.endings))), limits.ending_period)


def _endings(limits: GuardrailLimits) -> str:
    if limits.endings is None:
        return "those of the currency"
    return f"{', '.join(map(str, limits.endings))} of {limits.ending_period}" if limits.endings else "any"


def _coarser(new: GuardrailLimits, old: GuardrailLimits) -> bool:
    """Whether every new ending was one before."""
    if old.endings == ():
        return True
    if not new.endings or not old.endings:
        return False
    period = math.lcm(new.ending_period, old.ending_period)
    return _spread(new, period) <= _spread(old, period)


def _spread(limits: GuardrailLimits, period: int) -> set[int]:
    """The endings over a longer period."""
    return {start + ending for start in range(0, period, limits.ending_period) for ending in limits.endings or ()}


def _pin_words(pin: Any) -> str:
    return f"{pin.item} at {pin.price:g}{_days(pin)}"


def _promotion_words(promotion: Promotion) -> str:
    covered = ", ".join((*promotion.items, *promotion.categories))
    return f"{promotion.name}: {promotion.cut:.0%} off {covered}{_days(promotion)}"


def _days(each: Any) -> str:
    parts = [f"{word} {day}" for word, day in (("from", each.starts), ("to", each.ends)) if day is not None]
    return f" {' '.join(parts)}" if parts else ""
