"""How much below the honest price somebody gets who tries to: an attack on the simulated shop, and what defence costs.

A shopper wants one item. The honest price is that of their own account, on the page that their search finds. The
attacker asks again and again, each time as the endpoint allows: on other pages, without consent, from other places,
logged out, with fresh accounts; and pays the lowest price seen. What the attacker sees stays for the price day, so
every lever is pulled before the honest page is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from benchmarks.serving.catalogue import SIZE, small_shop
from fairtag.base import schema
from fairtag.base.tables import Tables
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.page.pricing import PageInputs, price_page
from fairtag.page.problem import intent_of
from fairtag.policy.context import UserContext
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import SimulatedShop, simulate_shop

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

SHOPPERS, ITEMS = 40, 8  # honest prices: one a shopper and item
IDENTITIES = 40  # the shopper's account and fresh ones
COMPOSITIONS = 40  # pages that hold the item
PAGE = 24
DAY = 20_620  # of June 2026, when every rule of the disclosure table is in force
HOME, PLACES = "US-NY", ("DE", "GB", "XX", None)
VALUED_PAGES = 1_000  # logged pages priced under the planted demand
REPLICATES = 1_000
SEED = 7


@dataclass(frozen=True)
class Shop:
    """A trained model, its shop, and the shoppers who attack it."""

    model: PricingModel
    simulated: SimulatedShop
    shoppers: tuple[UserContext, ...]
    queries: tuple[str, ...]


def quick() -> Result:
    """The same rows from a fifth of the shoppers."""
    return run(shoppers=SHOPPERS // 5)


def run(*, shoppers: int = SHOPPERS) -> Result:
    """Mean gain below the honest price by lever, and what prices are worth under the planted demand."""
    with TemporaryDirectory() as folder:
        shop = open_shop(Path(folder), SIZE, shoppers)
        rows = (*gain_rows(shop), *value_rows(shop))
    notes = (
        f"{shoppers} customers with known behaviour want {ITEMS} items each. Gain: 1 - lowest price seen / honest "
        "price, in %; intervals: 95 %, bootstrap over shoppers.",
        f"page_composition: {COMPOSITIONS} pages that hold the item. consent, place, login: the same page after opting "
        f"out, from {len(PLACES)} other places, as a guest. fresh_accounts: {IDENTITIES - 1} accounts that the shop "
        "does not know. everything: all of these together.",
        "Prices are those of the model; price locks, which only take levers away, are left out.",
        f"value_*: expected profit of {VALUED_PAGES:,} logged pages under the planted demand, over that at list.",
    )
    return Result(rows, notes)


def open_shop(folder: Path, size: ShopSize, shoppers: int) -> Shop:
    """Simulate a shop, fit a model on it, and pick customers whose behaviour is known."""
    model = load_pricing_model(small_shop(folder, size), verify=False)
    simulated = simulate_shop(size, seed=0)
    found = tuple(_customers(simulated.tables, model, shoppers))
    judgements = simulated.tables.judgements
    assert judgements is not None, "a simulated shop has judgements"
    return Shop(model, simulated, found, tuple(sorted(set(judgements[schema.QUERY]))))


def gain_rows(shop: Shop) -> Iterator[Row]:
    """Mean gain of each lever, and of all."""
    gains: dict[str, list[list[float]]] = {}
    vectors = shop.model.encoder.encode(list(shop.queries), "query")
    for number, user in enumerate(shop.shoppers):
        rng = np.random.default_rng([SEED, number])
        mine: dict[str, list[float]] = {}
        for at in rng.choice(len(shop.queries), ITEMS):
            for lever, gain in attack(shop, user, shop.queries[at], vectors[at], vectors, rng).items():
                mine.setdefault(lever, []).append(gain)
        for lever, values in mine.items():
            gains.setdefault(lever, []).append(values)
    for lever, by_lever in gains.items():
        by_shopper = 100.0 * np.array([np.mean(own) for own in by_lever])
        means = np.random.default_rng(SEED).choice(by_shopper, (REPLICATES, len(by_shopper))).mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        limit = "<= 1" if lever == "everything" else None
        yield Row(f"gain_{lever}", float(by_shopper.mean()), float(low), float(high), "% of the honest price", limit)


def attack(
    shop: Shop,
    user: UserContext,
    query: str,
    vector: NDArray[np.float32],
    vectors: NDArray[np.float32],
    rng: np.random.Generator,
) -> dict[str, float]:
    """What each lever gains on one item of a page, as a share of its honest price."""
    model = shop.model
    intent = intent_of(model, vector, user)
    assert intent is not None, "a search has a query"
    page = model.retriever.retrieve(intent, query, PAGE, model.market.stock)
    item = int(page[rng.integers(len(page))])
    honest = _price(model, page, vector, user, item)
    guest = UserContext(jurisdiction=HOME)
    pages = [(page, vector), *compositions(model, item, vector, vectors, rng)]
    fresh = [UserContext(f"fresh-{user.user_id}-{number}", jurisdiction=HOME) for number in range(1, IDENTITIES)]
    who = {
        "consent": [replace(user, opted_out=True)],
        "place": [replace(user, jurisdiction=place) for place in PLACES],
        "login": [guest],
        "fresh_accounts": fresh,
    }
    seen = {lever: min(_price(model, page, vector, other, item) for other in others) for lever, others in who.items()}
    seen["page_composition"] = min(_price(model, rows, z, user, item) for rows, z in pages)
    everybody = [user, *who["consent"], *who["place"], guest]
    both = min(_price(model, rows, z, other, item) for other in everybody for rows, z in pages)
    both = min(both, *(_price(model, *pages[n % len(pages)], other, item) for n, other in enumerate(fresh)))
    seen["everything"] = min(both, *seen.values())
    return {lever: 1.0 - min(price, honest) / honest for lever, price in seen.items()}


def compositions(
    model: PricingModel, item: int, vector: NDArray[np.float32], vectors: NDArray[np.float32], rng: np.random.Generator
) -> Iterator[tuple[Rows, NDArray[np.float32] | None]]:
    """Pages that hold the item: alone, beside cheap, dear, close and random items, and for other queries."""
    alone = np.array([item])
    price = np.argsort(model.market.list_price)
    close = np.argsort(-(model.embeddings @ model.embeddings[item]))
    for neighbours in (price[:PAGE], price[-PAGE:], close[:PAGE], close[-PAGE:]):
        yield _with(item, neighbours), vector
        yield _with(item, neighbours), None
    yield alone, vector
    yield alone, None
    for number in range(COMPOSITIONS - 10):
        others = rng.choice(len(model.item_ids), int(rng.integers(1, PAGE)), replace=False)
        yield _with(item, others), vectors[rng.integers(len(vectors))] if number % 2 else vector


def value_rows(shop: Shop) -> Iterator[Row]:
    """Expected profit under the planted demand of prices for known customers, and for guests, over that of list."""
    simulated, model = shop.simulated, shop.model
    planted, size = simulated.planted, SIZE.page_size
    items = planted.item_row.reshape(-1, size)[-VALUED_PAGES:]
    similarity = planted.similarity.reshape(-1, size)[-VALUED_PAGES:]
    behaviour = planted.behaviour[-len(items) :]
    listed, cost = planted.catalogue.list_price[items], planted.catalogue.unit_cost[items]
    logged = simulated.tables.impressions
    assert logged is not None, "a simulated shop has impressions"
    queries = logged[schema.QUERY].to_numpy().reshape(-1, size)[-VALUED_PAGES:, 0]
    texts = sorted({query for query in queries if query})
    vectors = dict(zip(texts, model.encoder.encode(texts, "query"), strict=True))
    at_list = planted.profit(items, similarity, behaviour, np.ones(items.shape), cost)
    for name, personal in (("customers", True), ("guests", False)):
        price = np.empty(items.shape)
        for number, rows in enumerate(items):
            user = _of_page(behaviour[number], number) if personal else UserContext(jurisdiction=HOME)
            page = price_page(model, PageInputs(rows, vectors.get(queries[number]), user, DAY))
            price[number] = [item.price_minor / model.policy.limits.minor_per_unit for item in page.items]
        value = planted.profit(items, similarity, behaviour, price / listed, cost)
        ratio = value / at_list.mean()
        means = np.random.default_rng(SEED).choice(ratio, (REPLICATES, len(ratio))).mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        yield Row(f"value_{name}", float(ratio.mean()), float(low), float(high), "times list")


def _of_page(behaviour: Floats, number: int) -> UserContext:
    known = {name: float(v) for name, v in zip(schema.USER_PRICING_FEATURES, behaviour, strict=True) if np.isfinite(v)}
    return UserContext(f"customer-{number}", known or None, jurisdiction=HOME)


def _customers(tables: Tables, model: PricingModel, count: int) -> Iterator[UserContext]:
    users = tables.users
    assert users is not None, "a simulated shop has users"
    newest = users.sort_values(schema.UPDATED_AT).groupby(schema.USER_ID, sort=True).tail(1)
    names = list(schema.USER_PRICING_FEATURES)
    known = newest.dropna(subset=names).sample(count, random_state=SEED)
    for number, row in enumerate(known.to_dict("records")):
        history = tuple(model.item_ids[(number * 7 + step) % len(model.item_ids)] for step in range(3))
        behaviour = {name: float(row[name]) for name in names}
        yield UserContext(str(row[schema.USER_ID]), behaviour, history, (1.0, 9.0, 30.0), jurisdiction=HOME)


def _with(item: int, others: Rows) -> Rows:
    return np.array([item, *(row for row in others.tolist() if row != item)][:PAGE], dtype=np.int64)


def _price(model: PricingModel, rows: Rows, vector: NDArray[np.float32] | None, user: UserContext, item: int) -> int:
    page = price_page(model, PageInputs(rows, vector, user, DAY))
    return page.items[int(np.flatnonzero(rows == item)[0])].price_minor
