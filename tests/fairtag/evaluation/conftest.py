"""Pages of a shop with planted demand and prices drawn from a menu, as the value gates see them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fairtag.evaluation.log_evidence import LISTED, PERSONAL, PUBLIC, UNIFORM, LogEvidence
from fairtag.evaluation.page_value import PageLog, predicted

MENU = np.array([0.7, 0.775, 0.85, 0.925, 1.0])
CHANCE = np.array([0.175, 0.175, 0.175, 0.175, 0.3])
ITEMS, LIST = 8, 10.0


@dataclass(frozen=True)
class PlantedPages:
    """A log, the planted utilities and slopes of its rows, and how wrong a held-out demand model is about them."""

    log: PageLog
    a: np.ndarray
    b: np.ndarray
    wrong_a: np.ndarray
    wrong_b: np.ndarray

    def price(self, share):
        """(n,) a share of list."""
        return np.broadcast_to(share, self.a.shape) * LIST

    def truth(self, price):
        """Expected profit per page under the planted demand."""
        return float(predicted(self.log, self.a, self.b, price).mean())

    def logged(self):
        """Expected profit per page of the menu's own draw, by drawing it often."""
        rng = np.random.default_rng(99)
        return float(np.mean([self.truth(LIST * rng.choice(MENU, self.a.size, p=CHANCE)) for _ in range(20)]))

    def evidence(self, public, personal=None, uniform=1.0):
        """The evidence about prices given as shares of list."""
        named = {PUBLIC: public, PERSONAL: public if personal is None else personal, LISTED: 1.0, UNIFORM: uniform}
        return LogEvidence(
            self.log,
            self.a + self.wrong_a,
            self.b + self.wrong_b,
            {name: self.price(share) for name, share in named.items()},
            np.full(self.a.size, np.nan),
            days=100.0,
        )


def _planted_pages(seed, *, pages=4_000, slope=6.0, cost=0.5, wrong=0.0, level=-3.2):
    """Draw a shop: items of one list price, slopes around ``slope``; ``wrong`` is the spread of the models' errors."""
    rng = np.random.default_rng(seed)
    n = pages * ITEMS
    b = slope + rng.normal(0, 0.6, n)
    a = level + rng.normal(0, 0.4, n) + 0.85 * b
    point = rng.choice(5, n, p=CHANCE)
    log = PageLog(
        page=np.repeat(np.arange(pages), ITEMS),
        customer=rng.integers(0, pages // 2, pages),
        price=LIST * MENU[point],
        unit=np.full(n, LIST),
        cost=np.full(n, cost * LIST),
        bought=np.zeros(n),
        on_sale=np.ones(n, dtype=bool),
        propensity=CHANCE[point],
        levels=np.tile(LIST * MENU, (n, 1)),
    )
    utility = (a - b * MENU[point]).reshape(pages, ITEMS)
    options = np.column_stack([utility, np.zeros(pages)]) + rng.gumbel(size=(pages, ITEMS + 1))
    bought = (options.argmax(axis=1)[:, None] == np.arange(ITEMS)).astype(float).ravel()
    errors = rng.normal(0, wrong, (2, n)) + wrong * np.array([[0.5], [-1.0]])
    return PlantedPages(replace(log, bought=bought), a, b, errors[0], errors[1] * 3)


@pytest.fixture(scope="session")
def planted_pages():
    return _planted_pages
