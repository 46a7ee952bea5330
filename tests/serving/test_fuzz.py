"""Requests nobody would send, a few of each kind; ``python -m benchmarks serving-fuzz`` sends over 20,000."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest

from benchmarks.serving.fuzz import PATIENCE_SECONDS, SURFACES, Target, known_items

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
