"""The same answer over every protocol, with the clients that others will use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.constants.constants import PredictorProtocol

from serving.client import GrpcClient, RestClient
from serving.payload import Page
from serving.tensors import Tensor, request_tensors, tensor_pages

REQUESTS: list[dict[str, Any]] = [
    {"task": "search", "query": "cordless drill", "user_id": "hunter", "jurisdiction": "DE", "page_size": 6},
    {"task": "price", "item_ids": ["item-007", "item-003", "nobody-sells-this"], "user_id": "hunter"},
    {"task": "search", "query": "größe 42 schuhe", "opted_out": True, "user_id": "stranger"},
]
OWN = ("quote_id", "quote", "issued_at", "expires_at", "feature_age_seconds")  # of each request alone


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
            kinds = {"BYTES": np.object_, "BOOL": np.bool_, "INT32": np.int32}
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


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return {}


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
