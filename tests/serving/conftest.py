"""A small model made by hand, and a server around it in this process."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from pricing.context import MarketContext, UserContext
from pricing.page import PricedItem, PricedPage
from pricing.reasons import Reason
from serving.features import FeatureReader, MemoryReader, UserFeatures
from serving.metrics import Metrics
from serving.settings import FeatureSettings, Limits, ServingSettings

N = 60
SECRET = bytes(range(32)).hex()


@dataclass
class HandMadeCore:
    """Prices by a rule a reader can check: list less 10 %, less another 10 % for a known bargain hunter."""

    version: str = "handmade00001"
    currency: str = "EUR"
    minor_per_unit: int = 100
    item_ids: Sequence[str] = tuple(f"item-{i:03d}" for i in range(N))
    encoded: list[list[str]] = field(default_factory=list)

    @property
    def market(self) -> MarketContext:
        prices = 10.0 + np.arange(N)
        absent = np.full(N, np.nan)
        return MarketContext(prices, prices / 2, absent, absent, absent, np.full(N, 5.0))

    def epoch_of(self, seconds: float) -> int:
        return int(seconds // 86_400)

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        self.encoded.append(list(queries))
        rows = [np.random.default_rng(zlib.crc32(query.encode())).normal(size=8) for query in queries]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)

    def rows_of(self, item_ids: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        row_of = {item: row for row, item in enumerate(self.item_ids)}
        known = [row_of[item] for item in item_ids if item in row_of]
        return np.array(known, dtype=np.int64), [item for item in item_ids if item not in row_of]

    def retrieve(self, embedding: np.ndarray, query: str, user: UserContext, k: int) -> np.ndarray:
        start = zlib.crc32(query.encode()) % N
        return np.array([(start + i) % N for i in range(min(k, N))], dtype=np.int64)

    def price(
        self,
        rows: np.ndarray,
        embedding: np.ndarray | None,
        user: UserContext,
        market: MarketContext,
        fixed: np.ndarray | None,
        epoch: int,
    ) -> PricedPage:
        hunter = bool(user.behaviour and user.behaviour.get("promotion_response", 0) > 0.5) and not user.opted_out
        personal = user.behaviour is not None and not user.opted_out
        # The page itself moves prices a little, so that keeping promises is work and not luck.
        factor = (0.81 if hunter else 0.90) - 0.001 * len(rows)
        price = np.round(market.list_price * factor, 2)
        if fixed is not None:
            price = np.where(np.isnan(fixed), price, fixed)
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
                personalised=personal,
                reasons=(Reason.DEMAND_PRICE_SENSITIVE,) if hunter else (Reason.PRICE_ENDING,),
            )
            for place, row in enumerate(rows)
        )
        return PricedPage(
            items,
            personal,
            "told" if personal else None,
            user.jurisdiction or "default",
            0.0,
            1.0,
            epoch,
            self.version,
            "EUR",
        )

    def explain(self, rows: np.ndarray, *_: Any) -> list[dict[str, Any]]:
        return [{"item_id": self.item_ids[row], "drivers": {"demand": -0.5}} for row in rows]


HUNTER = UserFeatures(
    {"promotion_response": 0.9, "recency_days": 3.0}, ("item-001",), (2.0,), observed_at=1_700_000_000.0
)


@dataclass
class Running:
    """A server of this process."""

    http: str
    grpc: str
    assembly: Any
    server: Any
    loop: asyncio.AbstractEventLoop
    core: HandMadeCore
    run_dir: Path


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., ServingSettings]:
    def make(**changes: Any) -> ServingSettings:
        known: dict[str, Any] = {
            "bundle": tmp_path / "bundle",
            "run_dir": tmp_path / "run",
            "host": "127.0.0.1",
            "http_port": 0,
            "grpc_port": 0,
            "user_key": SECRET,
            "quote_keys": f'{{"active": "k1", "keys": {{"k1": "{SECRET}"}}}}',
            "drain_seconds": 0.0,
            "quote_log_seconds": 60.0,
            "limits": Limits(),
            "features": FeatureSettings(repo=tmp_path, deadline_ms=200),
        }
        return ServingSettings(**{**known, **changes})

    return make


@pytest.fixture
def serve(settings: Callable[..., ServingSettings]) -> Iterator[Callable[..., Any]]:
    """A context manager that runs a server in a thread of this process."""

    @contextmanager
    def run(
        *, core: HandMadeCore | None = None, reader: FeatureReader | None = None, exporter: Any = None, **changes: Any
    ) -> Iterator[Running]:
        from serving.assembly import Assembly
        from serving.server import PricingServer

        core = core or HandMadeCore()
        reader = reader or MemoryReader(users={"hunter": HUNTER})
        made = settings(**changes)
        assembly = Assembly(
            made,
            Metrics(CollectorRegistry()),
            load_core=lambda _path, _threads: core,
            open_reader=lambda _repo: reader,
            exporter=exporter,
        )
        started: list[Any] = []
        up = threading.Event()

        async def main() -> None:
            server = PricingServer(assembly)
            serving = asyncio.create_task(server.serve())
            listening = asyncio.create_task(server.listening.wait())
            await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
            started.extend((server, asyncio.get_running_loop()))
            up.set()
            await serving

        failures: list[BaseException] = []

        def body() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:
                failures.append(error)
                up.set()

        thread = threading.Thread(target=body)
        thread.start()
        assert up.wait(30)
        if failures:
            raise failures[0]
        server, loop = started
        try:
            yield Running(
                f"http://127.0.0.1:{server.http_port}",
                f"127.0.0.1:{server.grpc_port}",
                assembly,
                server,
                loop,
                core,
                made.run_dir,
            )
        finally:
            if thread.is_alive():
                loop.call_soon_threadsafe(server.request_stop)
            thread.join(30)
            assert not thread.is_alive(), "the server did not stop"
        if failures:
            raise failures[0]

    return run
