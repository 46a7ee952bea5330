"""The same model behind other servers, each as its documentation recommends; one server a process.

Every peer takes a query and answers with a priced page as JSON. It encodes, retrieves and prices with the core that
our endpoint uses, in batches where the server offers them; it signs, locks and logs nothing, and reads no features,
so that what it is spared counts in its favour. A peer's package is imported when it runs.
"""

import argparse
import asyncio
import importlib
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from fairtag.page.priced_page import PageInputs, PricedPage
from fairtag.policy.context import UserContext
from serving.page.batching import EmbeddingCache, MicroBatcher
from serving.page.core import ModelCore

BATCHED = "batched_fastapi"  # no peer: FastAPI with our own micro-batching, to see what the rest of our endpoint costs
PEERS = ("fastapi", "litserve", "bentoml", "mlserver")
LITSERVE_TWO = "litserve_two_workers"  # beyond its default, which is one: against two workers of ours
PATHS = {
    "fastapi": "/price",
    BATCHED: "/price",
    "litserve": "/predict",
    LITSERVE_TWO: "/predict",
    "bentoml": "/price",
    "mlserver": "/v2/models/shop/infer",
}
BATCH = 32
WAIT_SECONDS = 0.002  # how long a peer may wait for a batch to fill; ours never waits
PAGE = 24
GUEST = UserContext(jurisdiction="DE")


class Shop:
    """The model folder's core, loaded when first asked.

    Args:
        model_folder: Folder of the model folder.
    """

    def __init__(self, model_folder: Path) -> None:
        self._model_folder = model_folder

    @cached_property
    def core(self) -> ModelCore:
        """The loaded core."""
        return ModelCore.load(self._model_folder, 1)

    def priced(self, query: str, vector: Any) -> PricedPage:
        """The priced page of an encoded query."""
        rows = self.core.retrieve(vector, query, GUEST, PAGE, self.core.market.stock)
        return self.core.price(PageInputs(rows, vector, GUEST, 20_000, market=self.core.market.rows(rows)))

    def page(self, query: str, vector: Any) -> dict[str, Any]:
        """The same as JSON has it."""
        return {"items": [item._asdict() for item in self.priced(query, vector).items]}

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
    """FastAPI on uvicorn as its documentation has it: a function with types, which FastAPI calls in its threads."""
    import uvicorn
    from fastapi import Body, FastAPI

    app = FastAPI()

    @app.post(PATHS["fastapi"])
    def price(query: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
        return shop.pages([query])[0]

    shop.core.encode(["warm up"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def serve_batched(shop: Shop, port: int) -> None:
    """A bare route on uvicorn with the micro-batching and the threads of our endpoint, and nothing else of it."""
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

    app.add_route(PATHS[BATCHED], price, methods=["POST"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def named_shop() -> Shop:
    """The shop that the command line named, in whatever process a peer's workers run."""
    return Shop(Path(os.environ["PEER_MODEL_FOLDER"]))


def main() -> None:
    """Serve one peer until it is terminated."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("peer", choices=(*PEERS, LITSERVE_TWO, BATCHED))
    options.add_argument("port", type=int)
    options.add_argument("model_folder", type=Path)
    given = options.parse_args()
    sys.argv = sys.argv[:1]
    os.environ["PEER_MODEL_FOLDER"] = str(given.model_folder)
    if given.peer == "fastapi":
        serve_fastapi(named_shop(), given.port)
    elif given.peer == BATCHED:
        serve_batched(named_shop(), given.port)
    elif given.peer == LITSERVE_TWO:
        importlib.import_module("benchmarks.peers.litserve_peer").serve(given.port, workers=2)
    else:
        importlib.import_module(f"benchmarks.peers.{given.peer}_peer").serve(given.port)


if __name__ == "__main__":
    main()
