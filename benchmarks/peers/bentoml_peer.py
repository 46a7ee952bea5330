"""BentoML with adaptive batching, as its documentation recommends."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import bentoml  # type: ignore[import-not-found]  # installed in the servers' own environment

from benchmarks.peers.server import BATCH, named_shop


@bentoml.service(workers=1, traffic={"timeout": 60})
class Pricing:
    """Pages for batches of queries."""

    def __init__(self) -> None:
        self.shop = named_shop()
        self.shop.core.encode(["warm up"])

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=60_000, route="/price")  # type: ignore[untyped-decorator]
    def price(self, queries: list[str]) -> list[dict[str, Any]]:
        """The pages of some queries."""
        return self.shop.pages(queries)


def serve(port: int) -> NoReturn:
    """Serve until terminated, by BentoML's own command."""
    line = [sys.executable, "-m", "bentoml", "serve", f"{__name__}:Pricing", "--host", "127.0.0.1", "--port", str(port)]
    os.execv(line[0], line)  # noqa: S606 - a fixed command; signals are then its own
