"""MLServer with adaptive batching, inference in the server's process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from mlserver import MLModel, MLServer, ModelSettings, Settings  # type: ignore[import-not-found]  # peers' environment
from mlserver.codecs import StringCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceResponse  # type: ignore[import-not-found]

from benchmarks.peers.server import BATCH, WAIT_SECONDS, Shop, named_shop


class Pricing(MLModel):  # type: ignore[misc]
    """Pages for batches of queries."""

    shop: Shop

    async def load(self) -> bool:
        """Load the model folder."""
        self.shop = named_shop()
        self.shop.core.encode(["warm up"])
        return True

    async def predict(self, payload: Any) -> Any:
        """The pages of some queries, one JSON text each."""
        queries = StringCodec.decode_input(payload.inputs[0])
        pages = await asyncio.to_thread(self.shop.pages, queries)
        output = StringCodec.encode_output("page", [json.dumps(page) for page in pages])
        return InferenceResponse(model_name=self.name, outputs=[output])


async def _serve(port: int) -> None:
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    server = MLServer(Settings(host="127.0.0.1", parallel_workers=0, load_models_at_startup=False, **ports))
    model = ModelSettings(name="shop", implementation=Pricing, max_batch_size=BATCH, max_batch_time=WAIT_SECONDS)
    await server.start([model])


def serve(port: int) -> None:
    """Serve until terminated."""
    asyncio.run(_serve(port))
