"""Requests nobody would send, a few of each kind; ``python -m benchmarks serving-fuzz`` sends over 20,000."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest

from benchmarks.serving.fuzz import PATIENCE_SECONDS, SURFACES, V1, Target, honest, known_items

CASES = 25


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.slow
def test_every_odd_request_is_answered_and_none_with_a_server_error(serve: Callable[..., Any], surface: str) -> None:
    weight, ask = SURFACES[surface]
    with (
        serve() as running,
        httpx.Client(base_url=running.http, timeout=PATIENCE_SECONDS) as client,
        grpc.insecure_channel(running.grpc) as channel,
    ):
        target = Target(client, channel, known_items(client))
        ask(target, CASES * weight)
        assert target.statuses.total() >= CASES * weight // 4, "something was sent"
        assert client.get("/v2/models/fairtag/ready").status_code == 200


@pytest.mark.parametrize(
    ("status", "headers", "body", "counts"),
    [
        (503, {"retry-after": "1"}, {"error": "request: full is refused; try again"}, True),
        (503, {}, {"error": "request: full is refused; try again"}, False),  # it does not say when
        (504, {}, {"error": "request: longer than 30 s is refused; ask for fewer items"}, True),
        (400, {}, {"error": ""}, False),
        (400, {}, ["query"], False),
        (431, {}, {"error": "headers: too long is refused"}, True),
    ],
)
def test_a_refusal_counts_as_an_answer_only_if_it_says_what_is_wrong(
    status: int, headers: dict[str, str], body: Any, counts: bool
) -> None:
    assert honest(httpx.Response(status, headers=headers, json=body)) == counts
    assert not honest(httpx.Response(status, text="<h1>Service Unavailable</h1>"))


@pytest.mark.parametrize("status", [500, 502, 505])
def test_a_server_error_is_no_answer(status: int) -> None:
    def broken(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"error": "internal error"})

    with (
        httpx.Client(transport=httpx.MockTransport(broken), base_url="http://shop") as client,
        grpc.insecure_channel("localhost:1") as channel,
        pytest.raises(AssertionError, match="internal error"),
    ):
        Target(client, channel).post(V1, json={})


def test_a_dead_server_is_no_answer_over_grpc() -> None:
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

    with (
        httpx.Client() as client,
        grpc.insecure_channel("127.0.0.1:1") as channel,
        pytest.raises(AssertionError, match="UNAVAILABLE"),
    ):
        Target(client, channel).infer(ModelInferRequest(model_name="fairtag"))
