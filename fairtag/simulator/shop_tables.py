"""Write the arrays of a simulated shop as the tables of the schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import coerce
from fairtag.simulator.catalogue import Catalogue, Floats, Texts
from fairtag.simulator.customers import Customers, Purchases, histories_at
from fairtag.simulator.queries import Wishes, judge, relevance
from fairtag.simulator.shop_design import ShopDesign, ShopSize
from fairtag.simulator.traffic import MENU, Pages, Snapshot

START = pd.Timestamp("2026-01-01", tz="UTC")  # day 0
CLICK_BASE, CLICK_RELEVANCE = -3.5, 2.5  # log-odds of a click without a purchase
JUDGED_PER_QUERY = (5, 3, 2)  # judged items of a query: the most relevant, other candidates, any others


def times(day: Floats) -> pd.Series[Any]:
    """Days as times in UTC, rounded down to the second, so that no event moves past a snapshot."""
    return pd.Series(START + pd.to_timedelta(np.floor(day * 86_400.0), unit="s")).astype("datetime64[us, UTC]")


def items_table(catalogue: Catalogue, snapshots: list[Snapshot]) -> pd.DataFrame:
    """One row for each item and snapshot."""
    n = len(catalogue)
    parts = [
        {
            schema.ITEM_ID: catalogue.item_id,
            schema.UPDATED_AT: times(np.full(n, state.day)),
            schema.TITLE: catalogue.title,
            schema.DESCRIPTION: catalogue.description,
            schema.CATEGORY: catalogue.category_names,
            schema.BRAND: catalogue.brand,
            schema.UNIT_COST: state.unit_cost,
            schema.LIST_PRICE: catalogue.list_price,
            schema.MAP_PRICE: catalogue.map_price,
            schema.MSRP: catalogue.msrp,
            schema.COMPETITOR_PRICE: state.competitor,
            schema.STOCK: state.stock,
            schema.SALVAGE_VALUE: catalogue.salvage_value,
            schema.SHELF_LIFE_DAYS: catalogue.shelf_life_days,
        }
        for state in snapshots
    ]
    return coerce(pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True), schema.ITEMS)


def users_table(
    customers: Customers, catalogue: Catalogue, snapshots: list[Snapshot], bought: Purchases
) -> pd.DataFrame:
    """One row for each customer and snapshot."""
    parts = []
    for state in snapshots:
        items, ages = histories_at(state.day, bought, len(customers), catalogue.item_id)
        features = dict(zip(schema.USER_PRICING_FEATURES, state.behaviour.T, strict=True))
        fixed = {schema.USER_ID: customers.user_id, schema.UPDATED_AT: times(np.full(len(customers), state.day))}
        history = {schema.HISTORY_ITEMS: items, schema.HISTORY_AGE_DAYS: ages}
        parts.append(pd.DataFrame(fixed | features | history))
    return coerce(pd.concat(parts, ignore_index=True), schema.USERS)


def impressions_table(
    catalogue: Catalogue, customers: Customers, wishes: Wishes, pages: Pages, rng: np.random.Generator
) -> pd.DataFrame:
    """One row for each item shown: pages in order of time, items in the order shown."""
    n, k = pages.items.shape
    items = pages.items.ravel()
    purchased = (pages.chosen[:, None] == np.arange(k)).ravel()
    odds = CLICK_BASE + CLICK_RELEVANCE * pages.similarity.ravel()
    frame = pd.DataFrame(
        {
            schema.PAGE_ID: np.repeat(np.array([f"P{i:07d}" for i in range(n)], dtype=object), k),
            schema.ITEM_ID: catalogue.item_id[items],
            schema.TS: np.repeat(times(pages.day).to_numpy(), k),
            schema.USER_ID: np.repeat(customers.user_id[pages.user], k),
            schema.QUERY: np.repeat(wishes.text[pages.wish], k),
            schema.RANK: np.tile(np.arange(1, k + 1), n),
            schema.PRICE: pages.price.ravel(),
            schema.LIST_PRICE: catalogue.list_price[items],
            schema.CLICKED: purchased | (rng.random(n * k) < 1.0 / (1.0 + np.exp(-odds))),
            schema.PURCHASED: purchased,
            schema.QUANTITY: purchased.astype(np.int64),
            schema.PROPENSITY: pages.propensity.ravel(),
            schema.IN_STOCK: pages.in_stock.ravel(),
        }
    )
    return coerce(frame, schema.IMPRESSIONS)


def orders_table(catalogue: Catalogue, customers: Customers, bought: Purchases) -> pd.DataFrame:
    """One row for each order line, in order of time; each line is an order of its own."""
    lines = bought.take(np.argsort(bought.day, kind="stable"))
    frame = pd.DataFrame(
        {
            schema.ORDER_ID: np.array([f"O{i:07d}" for i in range(len(lines))], dtype=object),
            schema.ITEM_ID: catalogue.item_id[lines.item],
            schema.TS: times(lines.day),
            schema.USER_ID: customers.user_id[lines.user],
            schema.QUANTITY: lines.quantity,
            schema.PRICE: lines.price,
        }
    )
    return coerce(frame, schema.ORDERS)


def judgements_table(catalogue: Catalogue, wishes: Wishes, wanted: int, rng: np.random.Generator) -> pd.DataFrame:
    """Graded relevance of about ``wanted`` pairs: good, middling and wrong items of popular queries."""
    n_best, n_near, n_any = (min(count, len(catalogue) // 8) for count in JUDGED_PER_QUERY)
    n_queries = min(len(wishes), -(-wanted // (n_best + n_near + n_any)))
    chosen = np.sort(rng.choice(len(wishes), n_queries, replace=False, p=wishes.popularity / wishes.popularity.sum()))
    parts: list[dict[str, Texts | Floats]] = []
    for row, latent in zip(chosen, relevance(wishes, catalogue, chosen), strict=True):
        order = np.argsort(-(latent + rng.normal(0, 0.02, len(latent))))
        near = n_best + rng.choice(len(catalogue) // 4, n_near, replace=False)
        far = rng.choice(np.arange(n_best + len(catalogue) // 4, len(catalogue)), n_any, replace=False)
        rows = order[np.concatenate([np.arange(n_best), near, far])]
        parts.append(
            {
                schema.QUERY: np.full(len(rows), wishes.text[row], dtype=object),
                schema.ITEM_ID: catalogue.item_id[rows],
                schema.TITLE: catalogue.title[rows],
                schema.RELEVANCE: judge(latent[rows], rng),
            }
        )
    return coerce(pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True), schema.JUDGEMENTS)


def metadata(seed: int, size: ShopSize, design: ShopDesign) -> dict[str, Any]:
    """The metadata of the tables: everything is simulated, and how."""
    logged = "set by cost, competitor and an unobserved shock" if design.endogenous else "drawn from a 5-point menu"
    note = f"simulated shop, seed {seed}: no customer, product or price is real"
    return {
        "dataset": "synthetic",
        "currency": "USD",
        "provenance": {table.name: f"simulated: {note}" for table in schema.TABLES},
        "observational": design.endogenous,
        **({} if design.endogenous else {"price_menu": MENU.tolist()}),
        "notes": [f"Logged prices were {logged}.", "Audit groups influence behaviour features, never demand directly."],
        "seed": seed,
        "size": dict(vars(size)),
    }
