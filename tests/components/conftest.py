"""Small valid tables of a shop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema


@pytest.fixture(scope="session")
def make_shop() -> Callable[..., dict[str, pd.DataFrame]]:
    """Builds valid tables of any size, for fixtures that outlive one test."""
    return shop


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    """Forty items, thirty users, two hundred impressions: every column of the contract, every rule kept."""
    return shop()


def shop(items: int = 40, users: int = 30, pages: int = 50, seed: int = 0) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2026-01-01", tz="UTC")
    return {
        "items": _items(rng, items, start),
        "users": _users(rng, users, items, start),
        "impressions": _impressions(rng, items, users, pages, start),
        "orders": _orders(rng, items, users, pages, start),
        "judgements": pd.DataFrame(
            {
                schema.QUERY: ["blue tile"] * items,
                schema.ITEM_ID: [f"i{n}" for n in range(items)],
                schema.TITLE: [f"tile {n}" for n in range(items)],
                schema.RELEVANCE: rng.uniform(0, 1, items),
            }
        ),
        "audit_groups": pd.DataFrame(
            {
                schema.USER_ID: [f"u{n}" for n in range(users)],
                schema.ATTRIBUTE: "age",
                schema.GROUP: rng.choice(["a", "b"], users),
            }
        ),
    }


def _items(rng: np.random.Generator, n: int, start: pd.Timestamp) -> pd.DataFrame:
    cost = rng.uniform(1, 5, n)
    return pd.DataFrame(
        {
            schema.ITEM_ID: [f"i{k}" for k in range(n)],
            schema.UPDATED_AT: start,
            schema.TITLE: [f"tile {k}" for k in range(n)],
            schema.DESCRIPTION: None,
            schema.CATEGORY: "tiles",
            schema.BRAND: "acme",
            schema.URL: "https://shop.example/item",
            schema.IMAGE: "https://shop.example/item.jpg",
            schema.UNIT_COST: cost,
            schema.LIST_PRICE: 2 * cost,
            schema.MAP_PRICE: np.nan,
            schema.MSRP: 3 * cost,
            schema.COMPETITOR_PRICE: 2 * cost,
            schema.STOCK: rng.integers(0, 100, n),
            schema.SALVAGE_VALUE: 0.5 * cost,
            schema.SHELF_LIFE_DAYS: 90.0,
        }
    )


def _users(rng: np.random.Generator, n: int, items: int, start: pd.Timestamp) -> pd.DataFrame:
    rows: dict[str, Any] = {
        schema.USER_ID: [f"u{k}" for k in range(n)],
        schema.UPDATED_AT: start,
        schema.RECENCY_DAYS: rng.uniform(0, 60, n),
        schema.ORDERS_90D: rng.integers(0, 9, n),
        schema.SPEND_90D: rng.uniform(0, 200, n),
        schema.PROMOTION_RESPONSE: rng.uniform(0, 1, n),
        schema.HISTORY_ITEMS: [[f"i{k % items}", "i0"] if k else [] for k in range(n)],
        schema.HISTORY_AGE_DAYS: [[1.0, 2.0] if k else [] for k in range(n)],
    }
    return pd.DataFrame(rows)


def _impressions(rng: np.random.Generator, items: int, users: int, pages: int, start: pd.Timestamp) -> pd.DataFrame:
    n = 4 * pages
    price = rng.uniform(1, 9, n)
    bought = rng.uniform(size=n) < 0.1
    return pd.DataFrame(
        {
            schema.PAGE_ID: [f"p{k // 4}" for k in range(n)],
            schema.ITEM_ID: [f"i{(k // 4 + k % 4) % items}" for k in range(n)],
            schema.TS: [start + pd.Timedelta(hours=1 + k // 4) for k in range(n)],
            schema.USER_ID: [f"u{(k // 4) % users}" for k in range(n)],
            schema.QUERY: "blue tile",
            schema.RANK: [k % 4 + 1 for k in range(n)],
            schema.PRICE: price,
            schema.LIST_PRICE: price * 1.1,
            schema.CLICKED: bought,
            schema.PURCHASED: bought,
            schema.QUANTITY: bought.astype(int),
            schema.WEIGHT: [1.0 + (k // 4) % 3 for k in range(n)],
            schema.PROPENSITY: 0.2,
            schema.IN_STOCK: True,
            **dict.fromkeys(schema.COVARIATES, 0.0),
        }
    )


def _orders(rng: np.random.Generator, items: int, users: int, n: int, start: pd.Timestamp) -> pd.DataFrame:
    return pd.DataFrame(
        {
            schema.ORDER_ID: [f"o{k}" for k in range(n)],
            schema.ITEM_ID: [f"i{k % items}" for k in range(n)],
            schema.TS: [start + pd.Timedelta(hours=2 + k) for k in range(n)],
            schema.USER_ID: [f"u{k % users}" for k in range(n)],
            schema.QUANTITY: 1.0,
            schema.PRICE: rng.uniform(1, 9, n),
        }
    )
