"""The same answer over every protocol, with the clients that others will use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.constants.constants import PredictorProtocol

from fairtag.base import schema
from fairtag.base.errors import QuoteWrongUser
from fairtag.base.tables import coerce
from fairtag.encoder.encoder import describe_encoder
from fairtag.encoder.onnx import OnnxEncoder
from fairtag.fairness.invariants import check_invariants, violations
from fairtag.model.pricing_model import ENCODER, load_pricing_model
from fairtag.policy.disclosure import read_disclosures
from fairtag.search.similarity import similarity
from pipelines.endpoint import serve as endpoint
from serving.page.core import ModelCore
from serving.protocol.client import GrpcClient, RestClient
from serving.protocol.payload import Page
from serving.protocol.tensors import Tensor, request_tensors, tensor_pages

REQUESTS: list[dict[str, Any]] = [
    {"task": "search", "query": "cordless drill", "user_id": "hunter", "jurisdiction": "DE", "page_size": 6},
    {"task": "price", "item_ids": ["item-007", "item-003", "nobody-sells-this"], "user_id": "hunter"},
    {"task": "search", "query": "größe 42 schuhe", "opted_out": True, "user_id": "stranger"},
]
OWN = ("quote_id", "quote", "session_id", "issued_at", "expires_at", "feature_age_seconds")  # of each request alone


def kserve_v1(running: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    async def ask() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol=PredictorProtocol.REST_V1.value))
        try:
            return await client.infer(running.http, {"instances": requests}, model_name="fairtag")
        finally:
            await client.close()

    return asyncio.run(ask())["predictions"]


def _inputs(requests: list[dict[str, Any]], *, binary: bool) -> list[InferInput]:
    inputs = []
    for tensor in request_tensors(requests):
        value = InferInput(tensor.name, list(tensor.shape), tensor.datatype, data=list(tensor.data))
        if binary:
            kinds = {"BYTES": np.object_, "BOOL": np.bool_, "INT32": np.int32, "INT64": np.int64}
            array = np.array(list(tensor.data), dtype=kinds[tensor.datatype]).reshape(tensor.shape)
            value.set_data_from_numpy(array, binary_data=True)
        inputs.append(value)
    return inputs


def _pages(response: Any) -> list[dict[str, Any]]:
    tensors = []
    for output in response.outputs:
        flat = [v.decode() if isinstance(v, bytes) else v for v in output.as_numpy().ravel().tolist()]
        tensors.append(Tensor(output.name, output.datatype, tuple(output.shape), flat))
    return tensor_pages(tensors)


def kserve_v2(running: Any, requests: list[dict[str, Any]], *, binary: bool = False) -> list[dict[str, Any]]:
    async def ask() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol=PredictorProtocol.REST_V2.value))
        parameters = {"binary_data_output": True} if binary else None
        request = InferRequest("fairtag", _inputs(requests, binary=binary), request_id="r1", parameters=parameters)
        try:
            return await client.infer(running.http, request, model_name="fairtag")
        finally:
            await client.close()

    return _pages(asyncio.run(ask()))


def kserve_v2_binary(running: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return kserve_v2(running, requests, binary=True)


def kserve_grpc(running: Any, requests: list[dict[str, Any]], *, raw: bool = False) -> list[dict[str, Any]]:
    async def ask() -> Any:
        client = InferenceGRPCClient(running.grpc)
        try:
            return await client.infer(InferRequest("fairtag", _inputs(requests, binary=raw), request_id="r1"))
        finally:
            await client.close()

    return _pages(asyncio.run(ask()))


def kserve_grpc_raw(running: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return kserve_grpc(running, requests, raw=True)


def plain_http(running: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = httpx.post(f"{running.http}/v1/models/fairtag:predict", json={"instances": requests})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def own_v1(running: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with RestClient(running.http) as client:
        return client.pages(requests)


def own_v2(running: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with RestClient(running.http, v2=True) as client:
        return client.pages(requests)


def own_grpc(running: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with GrpcClient(running.grpc) as client:
        return client.pages(requests)


CLIENTS = (
    kserve_v1,
    kserve_v2,
    kserve_v2_binary,
    kserve_grpc,
    kserve_grpc_raw,
    plain_http,
    own_v1,
    own_v2,
    own_grpc,
)


def shared(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in page.items() if name not in OWN} for page in pages]


@pytest.mark.parametrize("ask", CLIENTS, ids=lambda ask: ask.__name__)
@pytest.mark.parametrize(
    "requests", [[request] for request in REQUESTS] + [REQUESTS], ids=["search", "price", "opted-out", "together"]
)
def test_every_client_gets_the_same_pages(
    serve: Callable[..., Any], ask: Callable[..., Any], requests: list[dict[str, Any]]
) -> None:
    with serve() as running:
        reference = plain_http(running, requests)
        pages = ask(running, requests)
    assert shared(pages) == shared(reference)
    for page in pages:
        Page.model_validate(page)


@pytest.fixture(scope="module")
def shop_server(serve_shop: Callable[..., Any]) -> Iterator[Any]:
    with serve_shop() as (running, _reader):
        yield running


@pytest.fixture(scope="module")
def asked(shop: Any) -> list[dict[str, Any]]:
    """Pages of a real catalogue for somebody the feature store knows, somebody it does not, and nobody."""
    known = str(shop.tables.users["user_id"].iloc[0])
    items = sorted(shop.tables.items["item_id"].unique())[3:9]
    return [
        {"task": "search", "query": "oak bookcase", "user_id": known, "jurisdiction": "DE"},
        {"task": "price", "item_ids": items, "user_id": known, "jurisdiction": "US-NY"},
        {"task": "search", "query": "cordless drill", "user_id": "a-stranger", "jurisdiction": "DE"},
        {"task": "price", "item_ids": items},
    ]


@pytest.mark.parametrize("ask", CLIENTS, ids=lambda ask: ask.__name__)
def test_every_client_gets_the_same_pages_of_a_trained_model(
    shop_server: Any, asked: list[dict[str, Any]], ask: Callable[..., Any]
) -> None:
    reference = plain_http(shop_server, asked)
    pages = ask(shop_server, asked)
    assert shared(pages) == shared(reference)
    for page in pages:
        Page.model_validate(page)
        assert page["degraded"] is None
        assert page["model_version"] == shop_server.core.version
    first, at_new_york, stranger, nobody = pages
    assert first["personalised"]
    assert first["disclosure"]
    assert first["feature_age_seconds"] >= 0
    told = "THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA"
    assert at_new_york["disclosure"] == (told if at_new_york["personalised"] else None)
    assert not stranger["personalised"]
    assert not nobody["personalised"]


def test_a_query_is_embedded_behind_the_querys_words_over_the_wire(serve: Callable[..., Any], shop: Any) -> None:
    folder, query = shop.model_folder / ENCODER, "oak bookcase"
    said = replace(describe_encoder(folder), query_prefix="query: ", item_prefix="passage: ")
    encoder = OnnxEncoder(folder, said)
    model = replace(load_pricing_model(shop.model_folder), encoder=encoder)
    with serve(core=ModelCore(model)) as running:
        page = running.page(query=query)
    embeddings = model.embeddings[[model.row_of[item["item_id"]] for item in page["items"]]]
    as_query, as_item = (
        similarity(encoder.encode([query], role)[0], embeddings, "cosine") for role in ("query", "item")
    )
    np.testing.assert_allclose([item["similarity"] for item in page["items"]], as_query, atol=1e-6)
    assert np.abs(as_query - as_item).max() > 1e-3


def test_a_trained_models_prices_are_explained_to_the_cent(shop_server: Any, asked: list[dict[str, Any]]) -> None:
    with RestClient(shop_server.http) as client:
        pages, explained = client.pages(asked), client.explain(asked)
    assert sum(bool(item["contributions_minor"]) for why in explained for item in why["items"]) > 20
    for page, why in zip(pages, explained, strict=True):
        assert [item["item_id"] for item in why["items"]] == [item["item_id"] for item in page["items"]]
        for item, reason in zip(page["items"], why["items"], strict=True):
            assert reason["price_minor"] == pytest.approx(item["price_minor"])
            if not reason["contributions_minor"]:  # out of stock: not priced, so nothing moved it
                continue
            moved = sum(reason["contributions_minor"].values())
            assert moved == pytest.approx(reason["price_minor"] - reason["base_minor"], abs=1e-6)


def test_a_trained_models_quote_is_honoured_at_checkout(shop_server: Any, asked: list[dict[str, Any]]) -> None:
    with RestClient(shop_server.http) as client:
        page = client.pages(asked[:1])[0]
        for item in page["items"]:
            honoured = client.verify(
                page["quote"], item["item_id"], user_id=asked[0]["user_id"], price_minor=item["price_minor"]
            )
            assert honoured["price_minor"] == item["price_minor"]
        with pytest.raises(QuoteWrongUser):
            client.verify(page["quote"], page["items"][0]["item_id"], user_id="somebody-else")


@pytest.mark.slow
def test_a_log_of_whole_and_degraded_pages_of_the_same_items_breaks_no_promise(
    serve_shop: Callable[..., Any], shop: Any
) -> None:
    users = [str(user) for user in shop.tables.users["user_id"].unique()[:12]]
    queries = ("oak bookcase", "cordless drill", "garden lamp")

    def ask(client: RestClient, wanted: list[str]) -> list[dict[str, Any]]:
        requests = [{"query": query, "user_id": user, "jurisdiction": "DE"} for user in wanted for query in queries]
        return [client.pages([request])[0] for request in requests]

    with serve_shop() as (running, reader), RestClient(running.http) as client:
        whole = ask(client, users[:8])
        reader.door.clear()
        degraded = ask(client, users[6:])  # some were promised prices before, some were not
        reader.door.set()
        until = time.monotonic() + 60
        while client.pages([{"query": "oak", "user_id": users[0], "jurisdiction": "DE"}])[0]["degraded"]:
            assert time.monotonic() < until
        again = ask(client, users)
    assert {page["degraded"] for page in whole + again} == {None}
    assert {page["degraded"] for page in degraded} == {"user_features_slow"}
    files = sorted((running.run_dir / "quotes").rglob("*.parquet"))
    quotes = coerce(pd.concat([pd.read_parquet(file) for file in files], ignore_index=True), schema.QUOTES)
    rho = running.core.model.policy.limits.corridor_ratio
    checked = check_invariants(quotes, rho=rho, disclosures=read_disclosures())
    assert {entry.rule: (entry.count, entry.examples) for entry in violations(checked)} == {}
    shown = quotes[quotes[schema.DEGRADED].notna()]
    both = set(shown[schema.ITEM_ID]) & set(quotes[quotes[schema.DEGRADED].isna()][schema.ITEM_ID])
    assert both, "items stand on pages of both kinds"
    promised = {(page["items"][0]["item_id"]): page["items"][0]["price_minor"] for page in whole[-3:]}
    kept = {item["item_id"]: item["price_minor"] for page in degraded[3:6] for item in page["items"]}
    assert {item: kept[item] for item in promised} == promised, "the last of the first eight sees the same prices"


@pytest.mark.slow
def test_the_command_serves_a_trained_model_folder_and_its_figures_are_its_own_although_feast_is_loaded(
    shop: Any, tmp_path: Path
) -> None:
    """Feast switches Prometheus to files for several processes when it is imported: ours must be there before it."""
    user = str(shop.tables.users["user_id"].iloc[0])
    with endpoint(shop.model_folder, shop.features, tmp_path / "run") as address, RestClient(address) as client:
        page = client.pages([{"query": "oak bookcase", "user_id": user, "jurisdiction": "DE"}])[0]
        figures = httpx.get(f"{address}/metrics").text.splitlines()
    assert page["degraded"] is None
    assert page["personalised"]
    assert 'fairtag_pages_total{protocol="v1",task="search"} 1.0' in figures
    assert 'fairtag_feature_reads_total{entity="user",outcome="read"} 1.0' in figures
    assert f'fairtag_model_info{{version="{page["model_version"]}"}} 1.0' in figures
    assert not any("pid=" in line for line in figures)
