"""Drawings: a picture that stands for an item without one, and the waterfall of a price. SVG without inline styles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

HUES = 8  # classes hue-0 to hue-7 of console.css
# Silhouettes in a field of 120 x 90; the first class is the body, the second a lighter part of it.
SHAPES = (
    '<rect class="body" x="34" y="24" width="52" height="44" rx="4"/>'
    '<path class="part" d="M34 38h52v6H34zM56 24h8v44h-8z"/>',
    '<circle class="body" cx="60" cy="45" r="28"/><circle class="part" cx="60" cy="45" r="12"/>',
    '<rect class="body" x="26" y="35" width="68" height="20" rx="10"/><circle class="part" cx="38" cy="45" r="6"/>',
    '<path class="body" d="M34 28h52v36a26 8 0 0 1-52 0z"/><ellipse class="part" cx="60" cy="28" rx="26" ry="8"/>',
    '<path class="body" d="M60 17l26 14v30L60 75 34 61V31z"/><path class="part" d="M60 45l26-14v30L60 75z"/>',
    '<path class="body" d="M38 54h44v14H38zM44 38h32v14H44z"/><path class="part" d="M50 22h20v14H50z"/>',
)


def picture(category: str | None, item_id: str) -> Markup:
    """A drawn stand-in for an item's picture: the shape and hue of its category, slightly its own.

    Args:
        category: Of the item.
        item_id: The item.
    """
    kind, own = _number(category or ""), _number(item_id)
    turn, size = own % 13 - 6, 0.9 + (own // 13 % 21) / 100
    spots = "".join(
        f'<circle class="spot" cx="{own // step % 120}" cy="{own // (step * 7) % 90}" r="{3 + own // step % 9}"/>'
        for step in (17, 101, 1_009)
    )
    place = f'transform="translate(60 45) rotate({turn}) scale({size:.2f}) translate(-60 -45)"'
    return Markup(  # noqa: S704 - numbers and our own shapes alone
        f'<svg class="drawn hue-{kind % HUES}" viewBox="0 0 120 90" aria-hidden="true" focusable="false">'
        f"{spots}<g {place}>{SHAPES[kind // HUES % len(SHAPES)]}</g></svg>"
    )


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


@dataclass(frozen=True)
class Step:
    """One bar of a waterfall, in percent of the drawing's width.

    Args:
        name: What moved the price.
        kind: ``total``, ``up`` or ``down``.
        minor: The amount, minor units: of a total the price, else the change.
        x: Where the bar begins.
        width: How wide it is.
    """

    name: str
    kind: str
    minor: int
    x: float
    width: float


def waterfall(
    base: int, parts: Mapping[str, int], price: int, words: Mapping[str, str], listed: int
) -> tuple[list[Step], float]:
    """The bars from the base to the price, and where the list price lies; all amounts in minor units.

    Args:
        base: What an item like this costs.
        parts: What each driver adds; they sum to ``price - base``.
        price: The price.
        words: Drivers in words.
        listed: List price.
    """
    levels = [base]
    for value in parts.values():
        levels.append(levels[-1] + value)
    low, high = min(*levels, price, listed), max(*levels, price, listed)
    floor = max(0.0, low - 0.6 * max(high - low, 0.02 * high))  # bars of totals keep some length
    scale = 100 / max(high - floor, 1)

    def place(value: float) -> float:
        return round((value - floor) * scale, 3)

    steps = [Step("an item like this", "total", base, 0, place(base))]
    at = base
    for name, value in parts.items():
        if value:
            start = place(min(at, at + value))
            width = max(place(max(at, at + value)) - start, 0.4)
            steps.append(Step(words.get(name, name), "up" if value > 0 else "down", value, start, width))
        at += value
    steps.append(Step("this price", "total", price, 0, place(price)))
    return steps, place(listed)


def sparkline(values: Sequence[float], width: int = 96, height: int = 22) -> Markup:
    """A small line of values over time; empty for fewer than two."""
    if len(values) < 2:
        return Markup("")
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = " ".join(
        f"{place * (width - 4) / (len(values) - 1) + 2:.1f},{height - 3 - (value - low) / span * (height - 6):.1f}"
        for place, value in enumerate(values)
    )
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<polyline points="{points}"/></svg>'
    )
