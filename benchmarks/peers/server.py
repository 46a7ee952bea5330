"""The same model behind other servers, each set up as its documentation recommends.

``python -m benchmarks.peers.server NAME PORT MODEL_FOLDER`` runs one. Each takes a query and answers with a priced page
as JSON, computed by the model core that the endpoint uses, in batches where the server offers them. None signs, locks
or logs prices or reads features: what it is spared counts in its favour. A server's package is imported when it runs.
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
from fairtag.search.facets import Filters
from serving.page.batching import EmbeddingCache, MicroBatcher
from serving.page.core import ModelCore

BATCHED = "batched_fastapi"  # FastAPI with the endpoint's micro-batching: shows what the rest of the endpoint costs
PEERS = ("fastapi", "litserve", "bentoml", "mlserver")
LITSERVE_TWO = "litserve_two_workers"  # not its default of one: compared with two worker processes of the endpoint
PATHS = {
    "fastapi": "/price",
    BATCHED: "/price",
    "litserve": "/predict",
    LITSERVE_TWO: "/predict",
    "bentoml": "/price",
    "mlserver": "/v2/models/shop/infer",
}
BATCH = 32
WAIT_SECONDS = 0.002  # how long a server may wait for a batch to fill; the endpoint never waits
PAGE = 24
GUEST = UserContext(jurisdiction="DE")


class Shop:
    """The model core of a model folder, loaded when first used.

    Args:
        model_folder: The model folder.
    """

    def __init__(self, model_folder: Path) -> None:
        self._model_folder = model_folder

    @cached_property
    def core(self) -> ModelCore:
        """The loaded core."""
        return ModelCore.load(self._model_folder, 1)

    def priced(self, query: str, vector: Any) -> PricedPage:
        """The priced page of an encoded query."""
        market = self.core.market
        asked = self.core.read_query(query, Filters(), (), as_typed=False)
        rows = self.core.search(asked, vector, GUEST, PAGE, market.stock, market.list_price).rows
        return self.core.price(PageInputs(rows, vector, GUEST, 20_000, market=market.rows(rows)))

    def page(self, query: str, vector: Any) -> dict[str, Any]:
        """The priced page of an encoded query, as JSON."""
        return {"items": [item._asdict() for item in self.priced(query, vector).items]}

    def pages(self, queries: Sequence[str]) -> list[dict[str, Any]]:
        """The priced pages of some queries, encoded together."""
        return [self.page(query, vector) for query, vector in zip(queries, self.core.encode(queries), strict=True)]


def body_of(peer: str, query: str) -> str:
    """The request body of a server for a query."""
    if peer == "mlserver":
        tensor = {"name": "query", "shape": [1, 1], "datatype": "BYTES", "data": [query]}
        return json.dumps({"inputs": [{**tensor, "parameters": {"content_type": "str"}}]})
    if peer == "bentoml":
        return json.dumps({"queries": [query]})
    return json.dumps({"query": query})


def serve_fastapi(shop: Shop, port: int) -> None:
    """FastAPI on uvicorn as documented: a typed function, which FastAPI calls in its threads."""
    import uvicorn
    from fastapi import Body, FastAPI

    app = FastAPI()

    @app.post(PATHS["fastapi"])
    def price(query: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
        return shop.pages([query])[0]

    shop.core.encode(["warm up"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def serve_batched(shop: Shop, port: int) -> None:
    """A bare route on uvicorn with the endpoint's micro-batching and threads, and nothing else of it."""
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
    """The shop that the command line named, in whichever process a server's workers run."""
    return Shop(Path(os.environ["PEER_MODEL_FOLDER"]))


def main() -> None:
    """Run one server until it is terminated."""
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
