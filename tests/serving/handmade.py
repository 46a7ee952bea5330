"""A small model made by hand, and a server of it: ``python handmade.py`` serves it as ``python -m serving`` would."""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import Tables
from fairtag.base.types import Reason
from fairtag.model.capabilities import ALL
from fairtag.page.day_corridor import DayCorridor, whole_corridor
from fairtag.page.priced_page import PageInputs, PricedItem, PricedPage
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.item_terms import personal_place
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.search.facets import Facet, Filters
from fairtag.search.query import SearchQuery
from fairtag.search.retrieval import SearchResult
from serving.settings import ServingSettings
from serving.stores.feature_reads import FeatureReader, MemoryReader, UserFeatures

N = 60
SECRET = bytes(range(32)).hex()


@dataclass
class HandMadeCore:
    """Prices by a rule a reader can check: list less 10 %, less another 10 % for a known bargain hunter."""

    version: str = "handmade00001"
    capabilities: frozenset[str] = ALL
    currency: str = "EUR"
    minor_per_unit: int = 100
    item_ids: Sequence[str] = tuple(f"item-{i:03d}" for i in range(N))
    encoded: list[list[str]] = field(default_factory=list)
    slow: float = 0.0
    epoch_seconds: int = 86_400
    share: float = 0.9  # of list that the prices are
    edited: str = ""  # file of the model folder that was edited
    lowest: float = float("nan")  # share of list at which the corridor begins; it ends at twice that

    @property
    def market(self) -> MarketContext:
        prices = 10.0 + np.arange(N)
        absent = np.full(N, np.nan)
        return MarketContext(prices, prices / 2, absent, absent, absent, np.full(N, 5.0), absent, absent)

    def epoch_of(self, seconds: float) -> int:
        return int(seconds // 86_400)

    def altered(self) -> str:
        return self.edited

    @property
    def accepted(self) -> None:
        return None

    def corridor(self, rows: np.ndarray, epoch: int = 0, policy: ShopPolicy | None = None) -> DayCorridor:
        return whole_corridor(self.lowest * self.market.list_price[rows], 2.0, 100)

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        self.encoded.append(list(queries))
        rows = [np.random.default_rng(zlib.crc32(query.encode())).normal(size=8) for query in queries]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)

    def rows_of(self, item_ids: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        row_of = {item: row for row, item in enumerate(self.item_ids)}
        known = [row_of[item] for item in item_ids if item in row_of]
        return np.array(known, dtype=np.int64), [item for item in item_ids if item not in row_of]

    def read_query(self, query: str, filters: Filters, facets: tuple[Facet, ...], *, as_typed: bool) -> SearchQuery:
        return SearchQuery(query, filters, facets)

    def search(
        self,
        asked: SearchQuery,
        embedding: np.ndarray,
        user: UserContext,
        k: int,
        stock: np.ndarray,
        list_price: np.ndarray,
    ) -> SearchResult:
        start = zlib.crc32(asked.text.encode()) % N
        rows = [(start + i) % N for i in range(N)]
        return SearchResult(np.array([row for row in rows if not stock[row] <= 0][:k], dtype=np.int64))

    def texts(self, item_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, str | None]]:
        known = {"title": "the title of {}", "category": "tools"}
        return [{name: known[name].format(item) if name in known else None for name in fields} for item in item_ids]

    def price(self, inputs: PageInputs) -> PricedPage:
        time.sleep(self.slow)
        rows, user = inputs.rows, inputs.user
        market = inputs.market or self.market.rows(rows)
        hunter = bool(user.behaviour and user.behaviour.get("promotion_response", 0) > 0.5) and not user.opted_out
        may = inputs.policy is None or personal_place(inputs.policy, user.jurisdiction)
        hunter, personal = hunter and may, user.behaviour is not None and not user.opted_out and may
        # The page itself moves prices a little, so that keeping locks is work and not luck.
        factor = self.share * (0.9 if hunter else 1.0) - 0.001 * len(rows)
        price = market.list_price if inputs.list_only else np.round(market.list_price * factor, 2)
        if inputs.corridor is not None:
            price = np.fmin(np.fmax(price, inputs.corridor.low), inputs.corridor.high)
        from_data = np.full(len(rows), personal)
        if inputs.locked_price is not None:
            own = ~np.isnan(inputs.locked_personal) & (not user.opted_out) & may
            locked = np.minimum(np.where(own, inputs.locked_personal, inputs.locked_price), market.list_price)
            imposed = np.abs(price - locked) > 0.005  # NaN where there is none
            price = np.fmin(np.where(imposed, locked, price), inputs.price_ceiling)
            from_data |= own & imposed
        items = tuple(
            PricedItem(
                item_id=self.item_ids[row],
                category="tools",
                rank=place + 1,
                similarity=1.0 / (place + 1),
                list_price_minor=round(market.list_price[place] * 100),
                price_minor=round(price[place] * 100),
                reference_price_minor=round(market.list_price[place] * 100),
                unit_cost_minor=round(market.unit_cost[place] * 100),
                low_minor=0,
                high_minor=round(market.list_price[place] * 100),
                purchase_probability=0.1 / (place + 1),
                personalised=bool(from_data[place]),
                reasons=(Reason.DEMAND_PRICE_SENSITIVE,) if hunter else (Reason.PRICE_ENDING,),
            )
            for place, row in enumerate(rows)
        )
        return PricedPage(
            items,
            bool(np.any(from_data)),
            "told" if np.any(from_data) else None,
            user.jurisdiction or "default",
            0.0,
            1.0,
            inputs.epoch,
            self.version,
            "EUR",
        )

    def explain(self, inputs: PageInputs) -> list[dict[str, Any]]:
        return [{"item_id": self.item_ids[row], "drivers": {"demand": -0.5}} for row in inputs.rows]


HUNTER = UserFeatures({"promotion_response": 0.9, "recency_days": 3.0}, ("item-001",), (2.0,))


def tables() -> Tables:
    """Users and items of the hand-made model, as tables of a day ago."""
    now = pd.Timestamp(datetime.now(UTC)).floor("us") - pd.Timedelta(days=1)
    items = pd.DataFrame({schema.ITEM_ID: [f"item-{i:03d}" for i in range(N)], schema.UPDATED_AT: now})
    items[schema.LIST_PRICE] = [100.0 + i for i in range(N)]
    items[schema.UNIT_COST] = items[schema.LIST_PRICE] / 2
    items[schema.STOCK] = 5.0
    users = pd.DataFrame({schema.USER_ID: [f"user-{i}" for i in range(7)], schema.UPDATED_AT: now})
    users[schema.PROMOTION_RESPONSE] = 0.9
    users[schema.RECENCY_DAYS] = 3.0
    users[schema.ORDERS_90D] = 1.0
    users[schema.SPEND_90D] = 10.0
    users[schema.HISTORY_ITEMS] = [["item-001"]] * 7
    users[schema.HISTORY_AGE_DAYS] = [[2.0]] * 7
    nothing = pd.DataFrame()
    return Tables(items=items, users=users, impressions=nothing, orders=nothing)


def load(settings: ServingSettings) -> HandMadeCore:
    """The model of the server and of its workers; a file VERSION in the model folder names it."""
    file = settings.model_folder / "VERSION"
    version = file.read_text() if file.is_file() else HandMadeCore.version
    return HandMadeCore(version=version, slow=float(os.environ.get("TEST_SLOW", "0")))


def main() -> int:
    """Serve the hand-made model; FAIRTAG_* as in production, TEST_FEAST a feature folder, TEST_SLOW seconds a page."""
    from serving.__main__ import parser, settings_of
    from serving.assembly import Assembly, open_feast
    from serving.logs import configure
    from serving.metrics import Metrics

    settings = settings_of(parser().parse_args())
    configure(settings.log_level)
    sys.argv = sys.argv[:1]
    from serving.server import PricingServer

    feast = "TEST_FEAST" in os.environ

    def open_reader(repo: Path) -> FeatureReader:
        return open_feast(repo) if feast else MemoryReader(users={"hunter": HUNTER})

    PricingServer(Assembly(settings, Metrics(), load_core=load, open_reader=open_reader)).start()
    return 0


if __name__ == "__main__":
    sys.exit(main())
