"""A simulated quote log with planted shocks, in the columns of the endpoint's log.

Studies of the monitors need thousands of hours of traffic whose truth is known. Pricing each page with a model would
take days and prove no more, so the stream prices by a fixed rule of the customer's promotion response and lets
customers buy by a logit. Each shock changes one thing::

    quotes, outcomes = QuoteStream().draw(start, hours=24, pages=2_400, shocks=Shocks(price_shift=0.05))
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairtag.base import schema
from fairtag.base.pseudonym import user_key
from fairtag.policy.disclosure import read_disclosures

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

SYLLABLES = ("ba", "ko", "ri", "lu", "ten", "mo", "sa", "vel", "pin", "dor", "fa", "zu")
DAY_MICROSECONDS = 86_400_000_000
DEPTH = 0.15  # deepest personal discount
ATTRIBUTE = "income"
GROUPS = ("higher", "lower")


@dataclass(frozen=True)
class Shocks:
    """Changes planted in a stretch of the stream; the default plants none.

    Args:
        price_shift: Relative change of every price, list price and cost of one category.
        category: The category that is shifted.
        new_words: Share of pages whose query uses words that training never saw.
        elasticity: Factor on the price sensitivity of the customers' purchases.
        group_gap: Relative price rise for customers of the second group.
        broken: Column that arrives constant, as after a failure upstream.
        season: How much the category mix and purchases vary with hour and day; this is no drift.
    """

    price_shift: float = 0.0
    category: str = "category-0"
    new_words: float = 0.0
    elasticity: float = 1.0
    group_gap: float = 0.0
    broken: str | None = None
    season: float = 0.2


@dataclass(frozen=True)
class QuoteStream:
    """A shop whose quotes can be drawn for any stretch of time.

    Args:
        items: Number of items.
        categories: Number of categories.
        users: Number of customers.
        page_size: Items on a page.
        secret: Key of the customers' pseudonyms.
        seed: Seed of the shop. Each stretch is also seeded by its start, so stretches can be drawn in any order.
    """

    items: int = 400
    categories: int = 6
    users: int = 2_000
    page_size: int = 8
    secret: bytes = b"a stream of made-up customers only"
    seed: int = 7

    def draw(
        self, start: pd.Timestamp, hours: float, pages: int, shocks: Shocks | None = None
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Quotes and outcomes of ``pages`` pages, spread over ``hours`` hours from ``start``."""
        shocks = shocks or Shocks()
        rng = np.random.default_rng([self.seed, int(start.timestamp())])
        shop = _shop(self)
        begin = np.sort(rng.uniform(0, hours * 3600, pages))
        times = start.floor("us") + pd.to_timedelta(begin.round(3), unit="s")
        page = _page(self, shop, rng, times, shocks)
        frame = _rows(self, shop, rng, page, shocks)
        outcomes = _outcomes(frame, page, rng, shocks)
        if shocks.broken is not None:
            frame[shocks.broken] = frame[shocks.broken].iloc[0]
        return frame, outcomes

    def audit_groups(self) -> pd.DataFrame:
        """The audit table: each customer's group, keyed by user id (``u12``)."""
        users = [f"u{u}" for u in range(self.users)]
        groups = np.asarray(GROUPS, dtype=object)[_shop(self).group]
        return pd.DataFrame({schema.USER_ID: users, schema.ATTRIBUTE: ATTRIBUTE, schema.GROUP: groups})


@dataclass(frozen=True)
class _Shop:
    category: Int
    list_price: Float
    cost: Float
    response: Float
    group: Int
    queries: list[npt.NDArray[np.object_]]
    keys: npt.NDArray[np.object_]


@dataclass(frozen=True)
class _Page:
    times: pd.DatetimeIndex
    user: Int
    category: Int
    item: Int  # (pages, page_size)
    query: npt.NDArray[np.object_]
    demand: Float  # (pages,) level of the hour and day


@lru_cache(maxsize=8)
def _shop(stream: QuoteStream) -> _Shop:
    rng = np.random.default_rng(stream.seed)
    category = np.arange(stream.items) % stream.categories
    list_price: Float = np.round(np.exp(rng.normal(3.2, 0.7, stream.items)), 2).astype(np.float64) + 1
    queries = [
        np.asarray([" ".join(_word(rng) for _ in range(rng.integers(1, 4))) for _ in range(150)], dtype=object)
        for _ in range(stream.categories)
    ]
    return _Shop(
        category,
        list_price,
        list_price * rng.uniform(0.5, 0.7, stream.items),
        rng.beta(2, 3, stream.users),
        (rng.random(stream.users) < 0.4).astype(np.int64),
        queries,
        np.asarray([user_key(f"u{u}", stream.secret) for u in range(stream.users)], dtype=object),
    )


def _word(rng: np.random.Generator) -> str:
    return "".join(SYLLABLES[k] for k in rng.integers(0, len(SYLLABLES), 2))


def _page(stream: QuoteStream, shop: _Shop, rng: np.random.Generator, times: pd.DatetimeIndex, shocks: Shocks) -> _Page:
    pages = len(times)
    hour = times.hour.to_numpy() + times.minute.to_numpy() / 60
    day = times.dayofweek.to_numpy()
    wave = shocks.season * (np.sin(2 * np.pi * hour / 24) + 0.5 * np.cos(2 * np.pi * day / 7))
    # The season moves traffic between the first two categories, and purchases; it changes no price rule.
    chosen = rng.integers(0, stream.categories, pages)
    moved = (chosen < 2) & (rng.random(pages) < np.abs(wave))
    category = np.where(moved, (wave > 0).astype(np.int64), chosen)
    per_category = stream.items // stream.categories
    offsets = rng.random((pages, per_category)).argpartition(stream.page_size, axis=1)[:, : stream.page_size]
    popularity = np.minimum(rng.geometric(0.03, pages) - 1, 149)
    query = np.asarray([shop.queries[c][k] for c, k in zip(category, popularity, strict=True)], dtype=object)
    fresh = rng.random(pages) < shocks.new_words
    query[fresh] = [f"q{word}x" for word in rng.integers(0, 40, int(fresh.sum()))]
    return _Page(times, rng.integers(0, stream.users, pages), category, offsets * stream.categories + category[:, None],
                 query, 0.5 * wave)  # fmt: skip


def _rows(stream: QuoteStream, shop: _Shop, rng: np.random.Generator, page: _Page, shocks: Shocks) -> pd.DataFrame:
    n, m = page.item.shape
    item, user = page.item.ravel(), np.repeat(page.user, m)
    shift = np.where(shop.category[item] == int(shocks.category.rsplit("-", 1)[1]), 1 + shocks.price_shift, 1.0)
    list_minor = np.round(100 * shop.list_price[item] * shift)
    # Part of the discount differs by item, as exploration makes it; a customer always sees the same price of an item.
    wobble = ((item * 7919 + user * 104729) % 97) / 96
    discount = DEPTH * (0.7 * shop.response[user] + 0.3 * wobble)
    gap = np.where(shop.group[user] == 1, 1 + shocks.group_gap, 1.0)
    price_minor = np.minimum(np.round(list_minor * (1 - discount) * gap), list_minor)
    reference = np.round(list_minor * 0.97)
    similarity = np.sort(rng.beta(8, 4, (n, m)), axis=1)[:, ::-1].ravel()
    sensitivity = 2.0 + 2.0 * shop.response[user]
    utility = -1.2 + 1.5 * similarity - sensitivity * price_minor / reference + np.repeat(page.demand, m)
    weights = np.exp(utility).reshape(n, m)
    probability = (weights / (1 + weights.sum(axis=1, keepdims=True))).ravel()
    moments = page.times.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    quote = [f"{int(t):x}-{k}" for k, t in enumerate(moments)]
    reason = np.empty(n * m, dtype=object)
    labels = np.asarray(["DEMAND_PRICE_SENSITIVE" if d > 0.06 else "ANCHOR" for d in discount], dtype=object)
    reason[:] = [[label] for label in labels]
    columns: dict[str, Any] = {
        schema.QUOTE_ID: np.repeat(np.asarray(quote, dtype=object), m),
        schema.TS: page.times.repeat(m),
        schema.MODEL_VERSION: "v1",
        schema.TASK: "search",
        schema.USER_KEY: shop.keys[user],
        schema.QUERY: np.repeat(page.query, m),
        schema.ITEM_ID: np.asarray([f"i{k}" for k in range(stream.items)], dtype=object)[item],
        schema.CATEGORY: np.asarray([f"category-{k}" for k in range(stream.categories)], dtype=object)[
            shop.category[item]
        ],
        schema.RANK: np.tile(np.arange(1, m + 1), n),
        schema.SIMILARITY: similarity,
        schema.LIST_PRICE_MINOR: list_minor.astype(np.int64),
        schema.PRICE_MINOR: price_minor.astype(np.int64),
        schema.REFERENCE_PRICE_MINOR: reference.astype(np.int64),
        schema.UNIT_COST_MINOR: np.round(100 * shop.cost[item] * shift).astype(np.int64),
        schema.LOW_MINOR: np.floor(list_minor * (1 - DEPTH)).astype(np.int64),
        schema.HIGH_MINOR: list_minor.astype(np.int64),
        schema.PURCHASE_PROBABILITY: probability,
        schema.PERSONALISED: True,
        schema.REASONS: reason,
        schema.PROPENSITY: 1.0,
        schema.JURISDICTION: "EU",
        schema.DISCLOSURE: read_disclosures().rule("EU", page.times[0].date()).text,
        schema.DEGRADED: None,
        schema.CURRENCY: "EUR",
        schema.EPOCH: np.repeat(moments // DAY_MICROSECONDS, m),
        schema.FEATURE_AGE_SECONDS: rng.uniform(0, 3600, n * m),
    }  # fmt: skip
    return pd.DataFrame(columns)


def _outcomes(frame: pd.DataFrame, page: _Page, rng: np.random.Generator, shocks: Shocks) -> pd.DataFrame:
    n, m = page.item.shape
    ratio = (frame[schema.PRICE_MINOR] / frame[schema.REFERENCE_PRICE_MINOR]).to_numpy()
    probability = frame[schema.PURCHASE_PROBABILITY].to_numpy()
    # The slope of real demand is scaled around the price ratio 0.95, where real and predicted demand agree.
    weights = (probability * np.exp(-(shocks.elasticity - 1) * 2.8 * (ratio - 0.95))).reshape(n, m)
    outside = 1 - probability.reshape(n, m).sum(axis=1, keepdims=True)
    share = np.concatenate([outside, weights], axis=1)
    cumulative = (share / share.sum(axis=1, keepdims=True)).cumsum(axis=1)
    choice = (rng.random((n, 1)) > cumulative).sum(axis=1)
    bought = np.flatnonzero(choice > 0) * m + choice[choice > 0] - 1
    rows = frame.iloc[bought]
    delay = pd.to_timedelta(rng.exponential(1800, len(rows)), unit="s")
    return pd.DataFrame(
        {
            schema.QUOTE_ID: rows[schema.QUOTE_ID].to_numpy(),
            schema.ITEM_ID: rows[schema.ITEM_ID].to_numpy(),
            schema.TS: (pd.DatetimeIndex(rows[schema.TS]) + delay).floor("us"),
            schema.QUANTITY: 1,
            schema.PRICE_MINOR: rows[schema.PRICE_MINOR].to_numpy(),
        }
    )
