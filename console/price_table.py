"""The table of prices: every item with list price, offered range, margin, stock, elasticity and competitor.

What rests on the model alone is computed once for each model, what the quote log adds once for each state of the log;
a request then filters, orders and cuts out one page.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from console.quotes import QuoteReader
from fairtag.base import schema
from fairtag.base.errors import RequestError
from fairtag.model.pricing_model import PricingModel

Floats = NDArray[np.float64]

ROWS = 50  # of one page of the table
HOURS = 24.0
DRAWS = 256  # of the posterior, for an interval of the elasticity
INTERVAL = (5.0, 95.0)  # per cent: a 90 % interval
SORTS = ("title", "list", "low", "quotes", "margin", "stock", "elasticity", "index")
FILTERS = {
    "quoted": "offered today",
    "below": "offered below list",
    "low-stock": "stock for less than a week",
    "dear": "dearer than the competitor",
    "thin": "margin below 10 %",
}


@dataclass(frozen=True)
class Table:
    """The rows that are asked for.

    Args:
        rows: One dictionary an item, as the template reads them.
        total: Items that meet the filters.
        page: Number of the page, 1 first.
        pages: How many there are.
        currency: ISO 4217 code.
    """

    rows: list[dict[str, Any]]
    total: int
    page: int
    pages: int
    currency: str


def elasticity(model: PricingModel, rows: NDArray[np.int64]) -> Floats:
    """(n,) by how many per cent purchases change when the list price rises by one: ``-b y (1 - q)`` of an item alone.

    NaN where demand was not learned. ``q`` is the probability that somebody who sees the item alone buys it.
    """
    if not model.demand.learned:
        return np.full(len(rows), np.nan)
    usual = np.full(len(rows), model.demand.scaling.similarity)
    a, b = model.demand.page(rows, usual)
    return _elastic(a, b)


def elasticity_interval(model: PricingModel, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(n,) ends of the 90 % interval of :func:`elasticity`, from draws of the posterior."""
    if not model.demand.learned or not len(rows):
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    usual = np.full(len(rows), model.demand.scaling.similarity)
    low, high = np.percentile(_elastic(*model.demand.draws(rows, usual, n_draws=DRAWS)), INTERVAL, axis=0)
    return np.asarray(low), np.asarray(high)


def _elastic(a: Floats, b: Floats) -> Floats:
    """At the list price, which is the reference price: y = 1."""
    chance = 1 / (1 + np.exp(-(a - b)))
    return np.asarray(-b * (1 - chance))


def model_frame(model: PricingModel) -> pd.DataFrame:
    """Every item of the catalogue as the model has it, money in minor units; what is not known is NaN.

    ``words`` is what a search looks into, ``alphabet`` the place of the title among all titles.
    """
    rows, unit = np.arange(len(model.item_ids), dtype=np.int64), model.policy.limits.minor_per_unit
    market, titles = model.market, model.catalogue[schema.TITLE].astype(str)
    items = pd.Series(model.item_ids, dtype=str)
    words = (titles.reset_index(drop=True) + " " + items).str.lower()
    return pd.DataFrame(
        {
            "row": rows,
            "item": items,
            "title": titles.to_numpy(),
            "words": words,
            "alphabet": words.rank(method="first"),
            "category": model.categories,
            "list": np.rint(market.list_price * unit),
            "cost": market.unit_cost * unit,
            "competitor": market.competitor_price * unit,
            "stock": market.stock,
            "rate": model.estimates.sales_rate,
            "elasticity": elasticity(model, rows),
        }
    )


def price_frame(items: pd.DataFrame, ranges: pd.DataFrame) -> pd.DataFrame:
    """The items with what they were offered at, and the margin, index and days of stock that follow.

    Args:
        items: Of :func:`model_frame`.
        ranges: Of :meth:`QuoteReader.ranges`; empty where no quote log is known.
    """
    offered = ranges.reindex(index=items["item"], columns=["low", "middle", "high", "quotes", "personal"])
    frame = pd.concat([items, offered.reset_index(drop=True).astype("float64")], axis=1)
    price = frame["middle"].fillna(frame["list"])
    frame["margin"] = (price - frame["cost"]) / price
    frame["index"] = 100 * price / frame["competitor"]
    frame["days"] = frame["stock"] / frame["rate"].where(frame["rate"] > 0)
    return frame


class PriceTable:
    """The table of one shop.

    Args:
        quotes: The quote log; None where it is not known.
    """

    def __init__(self, quotes: QuoteReader | None) -> None:
        self._quotes = quotes
        self._lock = threading.Lock()
        self._items: tuple[str, pd.DataFrame] | None = None
        self._frame: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None = None  # made of the first two

    def frame(self, model: PricingModel) -> pd.DataFrame:
        """Every item of a model, as :func:`price_frame` has them; the same object until model or log change."""
        with self._lock:
            if self._items is None or self._items[0] != model.version:
                self._items = (model.version, model_frame(model))
            items, ranges = self._items[1], pd.DataFrame() if self._quotes is None else self._quotes.ranges(HOURS)
            known = self._frame
            if known is None or known[0] is not items or (known[1] is not ranges and self._quotes is not None):
                self._frame = known = (items, ranges, price_frame(items, ranges))
            return known[2]

    def page(self, model: PricingModel, asked: dict[str, str]) -> Table:
        """The part of the table that a reader asks for.

        Args:
            model: The live model.
            asked: ``q``, ``category``, ``only`` (of :data:`FILTERS`), ``sort`` (of :data:`SORTS`, a minus first for the
                largest first) and ``page``.

        Raises:
            RequestError: A filter or an order is unknown.
        """
        frame = _ordered(_filtered(self.frame(model), asked), asked["sort"])
        pages = max(1, math.ceil(len(frame) / ROWS))
        page = min(max(1, int(asked["page"])) if asked["page"].isdecimal() else 1, pages)
        part = frame.iloc[(page - 1) * ROWS : page * ROWS]
        return Table(_rows(model, part), len(frame), page, pages, model.policy.currency)

    def row(self, model: PricingModel, item: str) -> dict[str, Any]:
        """One item.

        Raises:
            RequestError: The model does not know it.
        """
        if item not in model.row_of:
            raise RequestError("item", item, "is not in the model's catalogue", status=404)
        place = model.row_of[item]
        (row,) = _rows(model, self.frame(model).iloc[place : place + 1])
        return row


def _filtered(frame: pd.DataFrame, asked: dict[str, str]) -> pd.DataFrame:
    if asked["only"] and asked["only"] not in FILTERS:
        raise RequestError("only", asked["only"], f"must be one of {', '.join(FILTERS)}")
    for word in asked["q"].lower().split():
        frame = frame[frame["words"].str.contains(word, regex=False)]
    if asked["category"]:
        frame = frame[frame["category"] == asked["category"]]
    masks = {
        "quoted": frame["quotes"] > 0,
        "below": frame["low"] < frame["list"],
        "low-stock": frame["days"] < 7,
        "dear": frame["index"] > 100,
        "thin": frame["margin"] < 0.1,
    }
    return frame[masks[asked["only"]]] if asked["only"] else frame


def _ordered(frame: pd.DataFrame, sort: str) -> pd.DataFrame:
    """By a column, unknown values last; equal ones by title."""
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise RequestError("sort", name, f"must be one of {', '.join(SORTS)}")
    values = frame["alphabet" if name == "title" else name].to_numpy(dtype=np.float64)
    values = -values if sort.startswith("-") else values
    return frame.iloc[np.lexsort((frame["alphabet"], values))]


def _rows(model: PricingModel, part: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as the template reads them, with the interval of the elasticity; None for a value that is absent."""
    low, high = elasticity_interval(model, part["row"].to_numpy(dtype=np.int64))
    part = part.assign(elasticity_low=low, elasticity_high=high)
    return [
        {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in part.to_dict("records")
    ]
