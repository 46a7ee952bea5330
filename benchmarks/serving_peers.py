"""The same model behind other servers, each as its documentation recommends; one server a process. Measures nothing.

Every peer takes a query and answers with a priced page as JSON. It encodes, retrieves and prices with the core that
our endpoint uses, in batches where the server offers them; it signs, promises and logs nothing, and reads no features,
so that what it is spared counts in its favour. A peer's package is imported when it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from pricing.context import UserContext
from serving.batching import EmbeddingCache, MicroBatcher
from serving.core import BundleCore

PEERS = ("fastapi", "litserve", "bentoml", "mlserver")
PATHS = {"fastapi": "/price", "litserve": "/predict", "bentoml": "/price", "mlserver": "/v2/models/shop/infer"}
BATCH = 32
WAIT_SECONDS = 0.002  # how long a peer may wait for a batch to fill; ours never waits
PAGE = 24
GUEST = UserContext(jurisdiction="DE")


class Shop:
    """The bundle's core, loaded when first asked.

    Args:
        bundle: Folder of the bundle.
        index_dir: Where the search codes are kept.
    """

    def __init__(self, bundle: Path, index_dir: Path) -> None:
        self._bundle = bundle
        self._index_dir = index_dir

    @cached_property
    def core(self) -> BundleCore:
        """The loaded core."""
        return BundleCore.load(self._bundle, 1, self._index_dir)

    def page(self, query: str, vector: Any) -> dict[str, Any]:
        """The priced page of an encoded query."""
        rows = self.core.retrieve(vector, query, GUEST, PAGE)
        priced = self.core.price(rows, vector, GUEST, self.core.market.rows(rows), None, 20_000)
        return {"items": [asdict(item) for item in priced.items]}

    def pages(self, queries: Sequence[str]) -> list[dict[str, Any]]:
        """The priced pages of some queries, encoded together."""
        return [self.page(query, vector) for query, vector in zip(queries, self.core.encode(queries), strict=True)]


def body_of(peer: str, query: str) -> str:
    """The request body a peer takes."""
    if peer == "mlserver":
        tensor = {"name": "query", "shape": [1, 1], "datatype": "BYTES", "data": [query]}
        return json.dumps({"inputs": [{**tensor, "parameters": {"content_type": "str"}}]})
    if peer == "bentoml":
        return json.dumps({"queries": [query]})
    return json.dumps({"query": query})


def serve_fastapi(shop: Shop, port: int) -> None:
    """FastAPI on uvicorn, with the micro-batching and the threads of our endpoint."""
    import orjson
    import uvicorn
    from fastapi import FastAPI, Request, Response

    app = FastAPI()
    encoder, threads = ThreadPoolExecutor(1), ThreadPoolExecutor(2)
    batcher = MicroBatcher(shop.core.encode, encoder, largest=BATCH, cache=EmbeddingCache(0))

    async def price(request: Request) -> Response:
        query = orjson.loads(await request.body())["query"]
        vector, _ = await batcher.encode(query)
        page = await asyncio.get_running_loop().run_in_executor(threads, shop.page, query, vector)
        return Response(orjson.dumps(page), media_type="application/json")

    app.add_route(PATHS["fastapi"], price, methods=["POST"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def serve_litserve(shop: Shop, port: int) -> None:
    """LitServe with its own batching."""
    import litserve  # type: ignore[import-not-found]  # of the peers' own environment

    class Api(litserve.LitAPI):  # type: ignore[misc]
        def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
            shop.core.encode(["warm up"])

        def decode_request(self, request: dict[str, Any]) -> str:
            return str(request["query"])

        def batch(self, inputs: list[str]) -> list[str]:
            return inputs

        def predict(self, inputs: list[str]) -> list[dict[str, Any]]:
            return shop.pages(inputs)

        def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return output

        def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
            return output

    api = Api(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", num_api_servers=1
    )


def serve_bentoml(shop: Shop, port: int) -> None:
    """BentoML with adaptive batching."""
    import bentoml  # of the peers' own environment

    @bentoml.service(workers=1, traffic={"timeout": 60})  # type: ignore[untyped-decorator]
    class Pricing:
        def __init__(self) -> None:
            shop.core.encode(["warm up"])

        @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=60_000, route=PATHS["bentoml"])  # type: ignore[untyped-decorator]
        def price(self, queries: list[str]) -> list[dict[str, Any]]:
            return shop.pages(queries)

    service: Any = Pricing
    service.serve_http(host="127.0.0.1", port=port, production=True)


def serve_mlserver(shop: Shop, port: int) -> None:
    """MLServer with adaptive batching, its inference in the same process as its server."""
    from mlserver import MLModel, MLServer, ModelSettings, Settings  # type: ignore[import-not-found]  # of the peers' own environment
    from mlserver.codecs import StringCodec  # type: ignore[import-not-found]
    from mlserver.types import InferenceResponse  # type: ignore[import-not-found]

    class Pricing(MLModel):  # type: ignore[misc]
        async def load(self) -> bool:
            shop.core.encode(["warm up"])
            return True

        async def predict(self, payload: Any) -> Any:
            queries = StringCodec.decode_input(payload.inputs[0])
            pages = await asyncio.to_thread(shop.pages, queries)
            output = StringCodec.encode_output("page", [json.dumps(page) for page in pages])
            return InferenceResponse(model_name=self.name, outputs=[output])

    async def main() -> None:
        ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
        server = MLServer(Settings(host="127.0.0.1", parallel_workers=0, load_models_at_startup=False, **ports))
        model = ModelSettings(name="shop", implementation=Pricing, max_batch_size=BATCH, max_batch_time=WAIT_SECONDS)
        await server.start([model])

    asyncio.run(main())


def main() -> None:
    """Serve one peer until it is terminated."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("peer", choices=PEERS)
    options.add_argument("port", type=int)
    options.add_argument("bundle", type=Path)
    options.add_argument("index_dir", type=Path)
    given = options.parse_args()
    sys.argv = sys.argv[:1]
    serve = {
        "fastapi": serve_fastapi,
        "litserve": serve_litserve,
        "bentoml": serve_bentoml,
        "mlserver": serve_mlserver,
    }
    serve[given.peer](Shop(given.bundle, given.index_dir), given.port)


if __name__ == "__main__":
    main()
