"""Customers of the simulated shop: tastes, purchases, behaviour features as of any day, and audit groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.simulator.catalogue import Catalogue, Floats, Ints, Texts

HISTORY = 20  # newest purchases in a behaviour snapshot
FEATURE_WINDOW = 90.0  # days of the orders and spend features
WARM_UP_DAYS = 180  # days of orders before the first page, so that first snapshots are not empty
ORDERS_PER_MONTH = 1.0  # mean orders of a customer without a search (repeat purchases, links)
MENU_DISCOUNTS = np.array([0.7, 0.775, 0.85, 0.925])  # price ratios of promotions on those orders

GROUPS: dict[str, tuple[str, ...]] = {
    "age": ("18-34", "35-54", "55 and over"),
    "income": ("low", "middle", "high"),
    "household_size": ("1", "2", "3 and over"),
}


@dataclass(frozen=True)
class Customers:
    """The customers; every array has one row for each, in the order of user_id.

    Args:
        user_id: Ids, sorted.
        taste: Share of interest in each category, shape (n, c).
        thrift: Latent share of units bought below list, shape (n,).
        rate: Orders per day without a search, shape (n,).
        groups: Group index by audit attribute; no demand parameter depends on it.
    """

    user_id: Texts
    taste: Floats
    thrift: Floats
    rate: Floats
    groups: dict[str, Ints]

    def __len__(self) -> int:
        return len(self.user_id)

    def audit_table(self) -> pd.DataFrame:
        """The audit groups as a table, one row for each user and attribute."""
        parts = [
            pd.DataFrame(
                {
                    schema.USER_ID: self.user_id,
                    schema.ATTRIBUTE: attribute,
                    schema.GROUP: np.array(GROUPS[attribute], dtype=object)[index],
                }
            )
            for attribute, index in self.groups.items()
        ]
        return pd.concat(parts, ignore_index=True)


def make_customers(n_users: int, n_categories: int, group_link: float, rng: np.random.Generator) -> Customers:
    """Draw customers.

    Args:
        n_users: Number of customers.
        n_categories: Number of categories.
        group_link: Correlation of income with thrift, which makes a behaviour feature a proxy for income.
        rng: Random generator.
    """
    leaning = rng.normal(size=n_users)
    income_score = -group_link * leaning + np.sqrt(1.0 - group_link**2) * rng.normal(size=n_users)
    thrift = 1.0 / (1.0 + np.exp(-(leaning - 0.1)))
    groups = {name: rng.integers(0, len(labels), n_users) for name, labels in GROUPS.items()}
    groups["income"] = np.digitize(income_score, (-0.43, 0.43)).astype(np.int64)
    return Customers(
        user_id=np.array([f"U{i:06d}" for i in range(n_users)], dtype=object),
        taste=rng.dirichlet(np.full(n_categories, 0.4), n_users),
        thrift=thrift,
        rate=rng.gamma(2.0, ORDERS_PER_MONTH / 60.0, n_users),
        groups=groups,
    )


@dataclass(frozen=True)
class Purchases:
    """Order lines as arrays: customer row, item row, day (0 is the first page), units, and price per unit in money."""

    user: Ints
    item: Ints
    day: Floats
    quantity: Ints
    price: Floats
    below_list: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, kept: NDArray[np.bool_] | Ints) -> Purchases:
        """Some of the lines, by mask or by row numbers."""
        arrays = {name: getattr(self, name)[kept] for name in self.__dataclass_fields__}
        return replace(self, **arrays)

    @staticmethod
    def concatenate(parts: list[Purchases]) -> Purchases:
        """The lines of several parts, in order."""
        fields = Purchases.__dataclass_fields__
        return Purchases(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


def other_purchases(
    customers: Customers, catalogue: Catalogue, start: float, end: float, rng: np.random.Generator
) -> Purchases:
    """Orders that customers place without a search between two days, sorted by day."""
    count = rng.poisson(customers.rate * (end - start))
    user = np.repeat(np.arange(len(customers)), count)
    wanted = choose_rows(customers.taste[user], rng)
    item = _item_of_category(catalogue, wanted, rng)
    below = rng.random(len(user)) < customers.thrift[user]
    ratio = np.where(below, rng.choice(MENU_DISCOUNTS, len(user)), 1.0)
    made = Purchases(
        user=user,
        item=item,
        day=rng.uniform(start, end, len(user)),
        quantity=1 + (rng.random(len(user)) < 0.12).astype(np.int64),
        price=np.round(catalogue.list_price[item] * ratio, 2),
        below_list=below,
    )
    return made.take(np.argsort(made.day, kind="stable"))


def choose_rows(weights: Floats, rng: np.random.Generator) -> Ints:
    """Draw one column for each row, with the row's weights."""
    cumulative = np.cumsum(weights, axis=1)
    chosen: Ints = (rng.random((len(weights), 1)) * cumulative[:, -1:] > cumulative).sum(axis=1)
    return chosen


def _item_of_category(catalogue: Catalogue, category: Ints, rng: np.random.Generator) -> Ints:
    order = np.argsort(catalogue.category, kind="stable")
    count = np.bincount(catalogue.category, minlength=len(catalogue.words.categories))
    first = np.cumsum(count) - count
    chosen: Ints = order[first[category] + (rng.random(len(category)) * count[category]).astype(np.int64)]
    return chosen


def behaviour_at(day: float, bought: Purchases, n_users: int) -> Floats:
    """Behaviour features of every customer as of a day, in the order of the pricing allow-list, shape (n, k).

    Only orders strictly before that day count. The recency of a customer without orders is NaN.
    """
    past = bought.take(bought.day < day)
    recent = past.take(past.day >= day - FEATURE_WINDOW)
    last = np.full(n_users, -np.inf)
    np.maximum.at(last, past.user, past.day)
    units = np.bincount(past.user, weights=past.quantity, minlength=n_users)
    below = np.bincount(past.user, weights=past.quantity * past.below_list, minlength=n_users)
    features = {
        schema.RECENCY_DAYS: np.where(np.isfinite(last), np.round(day - last, 3), np.nan),
        schema.ORDERS_90D: np.bincount(recent.user, minlength=n_users).astype(float),
        schema.SPEND_90D: np.round(np.bincount(recent.user, recent.price * recent.quantity, minlength=n_users), 2),
        schema.PROMOTION_RESPONSE: np.round(below / np.maximum(units, 1), 6),
    }
    return np.column_stack([features[name] for name in schema.USER_PRICING_FEATURES])


def histories_at(
    day: float, bought: Purchases, n_users: int, item_id: Texts
) -> tuple[list[list[str]], list[list[float]]]:
    """The newest items that each customer bought before a day, with their ages in days, newest first."""
    past = bought.take(bought.day < day)
    order = np.lexsort((-past.day, past.user))
    user, items = past.user[order], item_id[past.item[order]]
    ages = np.round(day - past.day[order], 3)
    bounds = np.searchsorted(user, np.arange(n_users + 1))
    pairs = [(int(a), min(int(b), int(a) + HISTORY)) for a, b in pairwise(bounds)]
    return [items[a:b].tolist() for a, b in pairs], [ages[a:b].tolist() for a, b in pairs]
