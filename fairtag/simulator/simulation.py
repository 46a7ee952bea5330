"""Simulate a shop with planted demand: the data of the demo, and the oracle of the tests.

>>> shop = simulate_shop(TINY, seed=1)
>>> len(shop.tables.latest_items()), shop.tables.metadata["dataset"]
(128, 'synthetic')
>>> round(float(shop.planted.beta_category.min()), 1)    # the true price slope of a category
5.5

Products come from :mod:`fairtag.simulator.catalogue`, queries and their latent relevance from
:mod:`fairtag.simulator.queries`, customers from :mod:`fairtag.simulator.customers`, demand from
:mod:`fairtag.simulator.planted_demand`, and events from :mod:`fairtag.simulator.traffic`. The season changes what
people search for and how often, never a demand parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairtag.base import schema
from fairtag.base.tables import Tables, coerce
from fairtag.simulator.catalogue import make_catalogue
from fairtag.simulator.customers import Purchases, make_customers
from fairtag.simulator.planted_demand import Effects, PlantedDemand, plant
from fairtag.simulator.queries import make_wishes
from fairtag.simulator.shop_design import DEFAULT, SMALL, TINY, ShopDesign, ShopSize
from fairtag.simulator.shop_tables import (
    impressions_table,
    items_table,
    judgements_table,
    metadata,
    orders_table,
    users_table,
)
from fairtag.simulator.traffic import Pages, Traffic

__all__ = [
    "DEFAULT",
    "SMALL",
    "TINY",
    "Effects",
    "PlantedDemand",
    "ShopDesign",
    "ShopSize",
    "SimulatedShop",
    "simulate_shop",
]


@dataclass(frozen=True)
class SimulatedShop:
    """A simulated shop: its tables, and the planted truth behind them."""

    tables: Tables
    planted: PlantedDemand


def simulate_shop(size: ShopSize = DEFAULT, *, seed: int = 0, design: ShopDesign | None = None) -> SimulatedShop:
    """Simulate a shop; equal arguments give equal tables.

    Args:
        size: Numbers of items, customers and impressions.
        seed: Seed of every draw.
        design: What is planted; the default design if None.

    Returns:
        The tables, all labelled simulated, and the planted truth. Its impression arrays have the row order of
        ``tables.impressions``, its item arrays that of ``tables.latest_items()``.
    """
    design = design or ShopDesign()
    rng = np.random.default_rng(seed)
    catalogue = make_catalogue(size.items, rng, design.twins)
    wishes = make_wishes(catalogue.words, size.wishes, rng)
    customers = make_customers(size.users, len(catalogue.words.categories), design.group_link, rng)
    planted = plant(catalogue, wishes, design.effects, size.page_size, rng, design.dissimilarity)
    traffic = Traffic(size, design, catalogue, customers, planted, rng)
    pages = traffic.run()
    bought = Purchases.concatenate(traffic.bought)
    tables = Tables(
        items=items_table(catalogue, traffic.snapshots),
        users=users_table(customers, catalogue, traffic.snapshots, bought),
        impressions=impressions_table(catalogue, customers, wishes, pages, rng),
        orders=orders_table(catalogue, customers, bought),
        judgements=judgements_table(catalogue, wishes, size.judgements, rng),
        audit_groups=coerce(customers.audit_table(), schema.AUDIT_GROUPS),
        metadata=metadata(seed, size, design),
    )
    return SimulatedShop(tables, _with_truth(planted, pages))


def _with_truth(planted: PlantedDemand, pages: Pages) -> PlantedDemand:
    return replace(
        planted,
        item_row=pages.items.ravel(),
        page_row=np.repeat(np.arange(len(pages.user)), pages.items.shape[1]),
        similarity=pages.similarity.ravel(),
        shock=pages.shock.ravel(),
        behaviour=pages.behaviour,
    )
