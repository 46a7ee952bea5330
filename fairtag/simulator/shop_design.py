"""What to simulate: the size of a shop, and what is planted in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairtag.base.errors import ConfigError
from fairtag.simulator.planted_demand import Effects

MIN_ITEMS = 64  # one of each product type


@dataclass(frozen=True)
class ShopSize:
    """The size of a simulated shop.

    >>> ShopSize(items=128, impressions=2_400).pages
    100

    Args:
        items: Products in the catalogue.
        users: Customers.
        impressions: Items shown; there are ``impressions // page_size`` pages.
        page_size: Items on a page.
        wishes: Distinct queries.
        judgements: Judged query-item pairs.
    """

    items: int = 3_000
    users: int = 5_000
    impressions: int = 200_000
    page_size: int = 24
    wishes: int = 1_500
    judgements: int = 8_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ConfigError(f"{name}: {value} is refused; it must be at least 1")
        least = max(self.page_size, MIN_ITEMS)
        if self.items < least:
            raise ConfigError(f"items: {self.items} is refused; it must be at least {least}")
        if self.impressions < self.page_size:
            raise ConfigError(f"impressions: {self.impressions} is refused; it must fill a page of {self.page_size}")

    @property
    def pages(self) -> int:
        """Number of pages."""
        return self.impressions // self.page_size


TINY = ShopSize(items=128, users=120, impressions=2_400, page_size=12, wishes=150, judgements=600)
SMALL = ShopSize(items=400, users=600, impressions=24_000, page_size=24, wishes=400, judgements=2_000)
DEFAULT = ShopSize()


@dataclass(frozen=True)
class ShopDesign:
    """What is planted in a simulated shop.

    Args:
        effects: Sizes of the demand effects.
        endogenous: Prices follow cost, the competitor and an unobserved demand shock, instead of draws from a menu. The
            log then has no propensities, and a fit without a control function is biased.
        group_link: Correlation of income with thrift in [0, 1): how well behaviour predicts a group.
        season: Depth of the season in [0, 1): how much searches and traffic vary over the year.
        twins: Share of the products in [0, 1] that are listed twice: half of them are copies of the others.
        dissimilarity: How far a product and its copy have demand of their own, in (0, 1]: 1 is a plain logit, and near
            0 the two sell as one.
    """

    effects: Effects = field(default_factory=Effects)
    endogenous: bool = False
    group_link: float = 0.3
    season: float = 0.5
    twins: float = 0.0
    dissimilarity: float = 1.0

    def __post_init__(self) -> None:
        for name in ("group_link", "season"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name}: {getattr(self, name)} is refused; it must lie in [0, 1)")
        if not 0.0 <= self.twins <= 1.0:
            raise ConfigError(f"twins: {self.twins} is refused; it must lie in [0, 1]")
        if not 0.0 < self.dissimilarity <= 1.0:
            raise ConfigError(f"dissimilarity: {self.dissimilarity} is refused; it must lie in (0, 1]")
