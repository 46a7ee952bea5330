"""Faults planted on purpose in quotes, tables or the shop itself, to test the monitors.

Each function changes one thing and returns a new frame, so a monitor sees that change only. Seasonality is among them
because a monitor must *not* report it as drift.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.simulator.planted_demand import USUAL_RATIO, PlantedDemand

MONEY = (
    *(schema.LIST_PRICE_MINOR, schema.PRICE_MINOR, schema.REFERENCE_PRICE_MINOR, schema.LOW_MINOR, schema.HIGH_MINOR),
)
NEW_WORDS = (  # queries with words that the simulated shop does not have
    *("robot vacuum spare battery", "e-scooter helmet", "matcha whisk", "smart doorbell", "air fryer liners"),
    *("padel racket", "heat pump cover", "cold plunge tub", "usb c hub", "walking pad treadmill"),
)
Breakage = Literal["missing", "constant", "scaled", "shuffled"]


def price_shift(quotes: pd.DataFrame, category: str, factor: float) -> pd.DataFrame:
    """(a) Multiply every price of one category by ``factor``, list price and bounds included; costs stay.

    Raises:
        DataError: No quote has the category.
    """
    hit = (quotes[schema.CATEGORY] == category).to_numpy()
    if not hit.any():
        raise DataError(
            f"quotes: none has the category {category!r}; choose one that was quoted",
            table="quotes",
            column=schema.CATEGORY,
        )
    shifted = quotes.copy()
    for column in MONEY:
        values = shifted[column].to_numpy(np.float64)
        shifted[column] = np.where(hit, np.maximum(np.round(values * factor), 1), values).astype(np.int64)
    return shifted


def vocabulary_change(frame: pd.DataFrame, share: float, seed: int, key: str = schema.QUOTE_ID) -> pd.DataFrame:
    """(b) Replace the query of a share of the pages by words unknown to the shop; ``key`` is the page's column."""
    pages = pd.unique(frame[key])
    rng = np.random.default_rng(seed)
    words = pd.Series(np.array(NEW_WORDS, dtype=object)[rng.integers(0, len(NEW_WORDS), len(pages))], index=pages)
    changed = frame[key].isin(pages[rng.random(len(pages)) < share])
    return frame.assign(**{schema.QUERY: frame[schema.QUERY].mask(changed, frame[key].map(words))})


def elasticity_change(planted: PlantedDemand, factor: float, pivot: float = USUAL_RATIO) -> PlantedDemand:
    """(c) Multiply every price slope by ``factor``; demand at the price ratio ``pivot`` stays the same.

    Each part of the utility gains ``(factor - 1) b pivot``, so that ``a - b y`` is unchanged at ``y = pivot``. The
    floor b_min is multiplied too.
    """
    gain = (factor - 1.0) * pivot
    return replace(
        planted,
        alpha_category=planted.alpha_category + gain * planted.beta_category,
        beta_category=planted.beta_category * factor,
        alpha_item=planted.alpha_item + gain * planted.beta_item,
        beta_item=planted.beta_item * factor,
        kappa=planted.kappa + gain * planted.beta_s,
        beta_s=planted.beta_s * factor,
        eta=planted.eta + gain * planted.omega,
        omega=planted.omega * factor,
        b_min=planted.b_min * factor,
    )


def group_gap(quotes: pd.DataFrame, members: Collection[str], gap: float, seed: int) -> pd.DataFrame:
    """(d) Multiply the prices of customers whose ``user_key`` is in ``members`` by ``1 + gap``, as a proxy would.

    Prices stay inside their bounds, as a proxy acts before the guardrails; where the upper bound binds, the gap is
    smaller than planted. Minor units are rounded at random with the exact mean, so that small prices have the gap too.
    """
    hit = quotes[schema.USER_KEY].isin(set(members)).to_numpy()
    exact = quotes[schema.PRICE_MINOR].to_numpy(np.float64) * (1.0 + gap)
    rounded = np.floor(exact + np.random.default_rng(seed).random(len(quotes)))
    inside = np.clip(rounded, quotes[schema.LOW_MINOR], quotes[schema.HIGH_MINOR])
    return quotes.assign(**{schema.PRICE_MINOR: np.where(hit, inside, quotes[schema.PRICE_MINOR]).astype(np.int64)})


def broken_column(
    frame: pd.DataFrame, column: str, how: Breakage, *, share: float = 1.0, seed: int = 0, factor: float = 100.0
) -> pd.DataFrame:
    """(e) Break a column on a share of the rows, as a faulty upstream job does.

    Args:
        frame: Any table.
        column: The column.
        how: ``missing`` values; ``constant``, all equal to the first; ``scaled`` by ``factor``, as when cents are read
            as dollars; or ``shuffled`` between rows.
        share: Share of rows to break.
        seed: Seed of the draw.
        factor: Factor of ``scaled``.

    Raises:
        ConfigError: ``how`` is unknown.
    """
    rng = np.random.default_rng(seed)
    hit = rng.random(len(frame)) < share
    values = frame[column]
    if how == "missing":
        broken = values.where(~hit)
    elif how == "constant":
        broken = values.where(~hit, values.iloc[0])
    elif how == "scaled":
        broken = values.where(~hit, values * factor)
    elif how == "shuffled":
        broken = values.copy()
        rows = np.flatnonzero(hit)
        broken.iloc[rows] = values.iloc[rng.permutation(rows)].to_numpy()
    else:
        raise ConfigError(f"how: {how!r} is refused; it must be missing, constant, scaled or shuffled")
    return frame.assign(**{column: broken})


def season(frame: pd.DataFrame, depth: float, seed: int, key: str = schema.QUOTE_ID) -> pd.DataFrame:
    """(f) Vary the category mix over the year by leaving out pages: no price, slope or customer changes, so no drift.

    A page is kept with probability ``(1 + depth cos(2 pi (day - peak) / 365)) / (1 + depth)``. The peaks of the
    categories are spread evenly over the year.

    Args:
        frame: Quotes, or any frame with ``ts``, ``category`` and the page's ``key``.
        depth: Depth of the season in [0, 1].
        seed: Seed of the draw.
        key: The column that identifies a page.
    """
    if not 0.0 <= depth <= 1.0:
        raise ConfigError(f"depth: {depth} is refused; it must lie in [0, 1]")
    pages = frame.drop_duplicates(key)
    codes = pd.factorize(pages[schema.CATEGORY], sort=True)[0]
    peak = 365.0 * codes / (codes.max(initial=0) + 1)
    day = pages[schema.TS].dt.dayofyear.to_numpy(np.float64)
    chance = (1.0 + depth * np.cos(2.0 * np.pi * (day - peak) / 365.0)) / (1.0 + depth)
    kept: NDArray[np.bool_] = np.random.default_rng(seed).random(len(pages)) < chance
    return frame[frame[key].isin(set(pages[key][kept]))].reset_index(drop=True)
