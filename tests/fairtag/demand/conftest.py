"""A small shop with planted demand as the estimator receives it: a training frame, a catalogue, text embeddings."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.demand.choices import Choices
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import Assortment, demand_data
from fairtag.demand.fit import fit_demand

CATEGORIES = ("cups", "lamps", "rugs")
SLOPES = (3.0, 5.0, 7.0)
SENTIMENT = 1.0  # planted effect of the text's first component on the slope
WIDE = DemandConfig(components=3, category_slope=4.0, text=2.0)  # priors that hardly shrink what is planted


@dataclass
class PlantedShop:
    """Frames and truth; row i of the catalogue is item i."""

    training: pd.DataFrame
    catalogue: pd.DataFrame
    embeddings: np.ndarray
    similarity: np.ndarray
    slope: np.ndarray
    utility: np.ndarray

    @property
    def assortment(self):
        return Assortment.of(self.catalogue, self.embeddings)

    def data(self, **changes):
        """The demand data, with other arguments where given."""
        arguments = {"similarity": self.similarity} | changes
        return demand_data(self.training, self.assortment, **arguments)


def make_shop(
    pages=2_500,
    page_size=8,
    items=60,
    *,
    seed=0,
    shock=0.0,
    slopes=SLOPES,
    kappa=1.5,
    omega=0.8,
    never_shown=0,
    level=-1.2,
    noise=0.2,
):
    """Draw a shop whose slopes follow category and text, and whose prices follow cost and, with ``shock``, demand."""
    rng = np.random.default_rng(seed)
    category = np.arange(items) % len(slopes)
    embeddings = rng.normal(size=(items, 6)) * [1.0, 0.7, 0.5, 0.2, 0.1, 0.1]
    score = (embeddings[:, 0] - embeddings[:, 0].mean()) / embeddings[:, 0].std()
    slope = np.asarray(slopes, dtype=float)[category] + SENTIMENT * score * (np.asarray(slopes)[category] > 1)
    utility = level + 0.85 * slope + noise * rng.normal(size=items)
    shown = items - never_shown
    item = np.concatenate([rng.choice(shown, page_size, replace=False) for _ in range(pages)])
    page = np.repeat(np.arange(pages), page_size)
    n = item.size
    promotion = rng.beta(2, 2, size=pages)
    z = ((promotion - 0.5) / 0.22)[page]
    similarity = rng.uniform(0.2, 1.0, n)
    cost = rng.uniform(0.4, 1.0, n)
    hidden = rng.normal(size=n)
    y = np.clip(0.2 + 0.9 * cost + 0.05 * shock * hidden + 0.04 * rng.normal(size=n), 0.4, 1.4)
    a = utility[item] + kappa * (similarity - 0.6) + 0.4 * shock * hidden
    u = a - (slope[item] + omega * z) * y
    noisy = u + rng.gumbel(size=n)
    none = rng.gumbel(size=pages)
    best = noisy.reshape(pages, page_size).max(axis=1)
    bought = (noisy == best[page]) & (best > none)[page]
    list_price = 10.0 + np.arange(items)
    training = pd.DataFrame(
        {
            schema.PAGE_ID: [f"p{p}" for p in page],
            schema.ITEM_ID: [f"i{i:04d}" for i in item],
            schema.PRICE: y * list_price[item],
            schema.LIST_PRICE: list_price[item],
            schema.PURCHASED: bought,
            schema.IN_STOCK: True,
            schema.UNIT_COST: cost * list_price[item],
            schema.COMPETITOR_PRICE: np.nan,
            schema.RECENCY_DAYS: rng.exponential(30, pages)[page],
            schema.ORDERS_90D: rng.poisson(3, pages)[page].astype(float),
            schema.SPEND_90D: rng.gamma(2, 90, pages)[page],
            schema.PROMOTION_RESPONSE: promotion[page],
        }
    )
    catalogue = pd.DataFrame(
        {
            schema.ITEM_ID: [f"i{i:04d}" for i in range(items)],
            schema.CATEGORY: [CATEGORIES[c] for c in category],
        }
    )
    return PlantedShop(training, catalogue, embeddings, similarity, slope, utility)


@pytest.fixture(scope="session")
def shop():
    """Prices that only cost and chance move."""
    return make_shop()


@pytest.fixture(scope="session")
def data(shop):
    return shop.data()


@pytest.fixture(scope="session")
def model(data):
    return fit_demand(data, WIDE)


@pytest.fixture(scope="session")
def wide():
    """A configuration whose priors hardly shrink what is planted, so that errors can be held against the truth."""
    return WIDE


@pytest.fixture(scope="session")
def shops():
    """The factory, for tests that plant something of their own."""
    return make_shop


def _simulate(rng, pages=600, features=3, groups=0, sizes=(1, 9), repeat=1, theta=None):
    """Pages of unequal size with choices drawn from known coefficients."""
    size = rng.integers(*sizes, pages)
    starts = np.concatenate([[0], np.cumsum(size)[:-1]])
    n = int(size.sum())
    X = rng.normal(size=(n, features))
    theta = rng.normal(size=features) * 0.7 if theta is None else theta
    utility = X @ theta
    group = Z = None
    if groups:
        group = np.concatenate([rng.choice(groups, k, replace=False) for k in size])
        Z = np.column_stack([np.ones(n), rng.normal(size=n)])
        utility = utility + (Z * (0.5 * rng.normal(size=(groups, 2)))[group]).sum(axis=1)
    page = np.repeat(np.arange(pages), size)
    bought, outside = np.zeros(n), np.zeros(pages)
    for _ in range(repeat):
        noisy = utility + rng.gumbel(size=n)
        none = rng.gumbel(size=pages)
        best = np.maximum.reduceat(noisy, starts)
        bought += (noisy == best[page]) & (best[page] > none[page])
        outside += best <= none
    return Choices(X, starts, bought, outside, group, Z, groups), theta


@pytest.fixture(scope="session")
def simulate():
    return _simulate


def _dense_information(choices, q):
    """Minus the Hessian, written out page by page over all coefficients, groups included."""
    columns = [choices.X]
    if choices.Z is not None:
        one_hot = np.eye(choices.n_groups)[choices.group]
        columns.append((one_hot[:, :, None] * choices.Z[:, None, :]).reshape(choices.n_rows, -1))
    full = np.hstack(columns)
    total = np.zeros((full.shape[1], full.shape[1]))
    for p in range(choices.n_pages):
        rows = choices.page == p
        W = np.diag(q[rows]) - np.outer(q[rows], q[rows])
        total += choices.trials[p] * full[rows].T @ W @ full[rows]
    return total


@pytest.fixture(scope="session")
def dense_information():
    return _dense_information


@pytest.fixture
def rng():
    return np.random.default_rng(20260701)
