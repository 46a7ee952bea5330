"""Thousands of requests nobody would send: each is answered, in time, and none with a 5xx of ours.

FAIRTAG_FUZZ multiplies the number of cases; the long run behind the README uses 40 (over 20,000).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from serving.openapi import document
from serving.settings import Limits

TIMES = int(os.environ.get("FAIRTAG_FUZZ", "1"))
ANSWERED = {200, 400, 403, 404, 405, 406, 408, 409, 410, 413, 415, 422, 501}
QUICK = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
POSTS = ("/v1/models/fairtag:predict", "/v1/models/fairtag:explain", "/v2/models/fairtag/infer", "/v1/quotes:verify")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize("path", POSTS)
def test_the_published_document_promises_no_server_error(
    serve: Callable[..., Any], path: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(document("fairtag", Limits()))[path]["POST"]
    counts: Counter[int] = Counter()
    with serve() as running, httpx.Client(base_url=running.http, timeout=20) as client:

        @settings(QUICK, max_examples=40 * TIMES)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            body = {"json": case.body} if isinstance(case.body, dict | list | str | int | float | None) else {}
            try:
                answer = client.post(path, **body)
            except (UnicodeEncodeError, ValueError):  # what JSON cannot carry was never sent
                return
            counts[answer.status_code] += 1
            assert answer.status_code in ANSWERED, (path, case.body, answer.text)

        ask()
    assert counts, "something was sent"


HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "inference-header-content-length", "accept", "ce-id", "ce-specversion", "x-request-id"]
    ),
    st.sampled_from(["application/json", "application/json; charset=utf-8", "application/octet-stream", "text/plain"])
    | st.sampled_from(["0", "5", "-1", "99999999999999999999", "1.0", "a"]),
    max_size=4,
)
PATHS = st.sampled_from([*POSTS, "/v1/models/nobody:predict", "/v2/models/fairtag/versions/1/infer", "/", "/metrics"])


def test_any_bytes_under_any_headers_are_answered(serve: Callable[..., Any]) -> None:
    with serve() as running, httpx.Client(base_url=running.http, timeout=20) as client:

        @settings(QUICK, max_examples=300 * TIMES)
        @given(path=PATHS, content=st.binary(max_size=300) | st.text(max_size=100).map(_encoded), headers=HEADERS)
        def ask(path: str, content: bytes, headers: dict[str, str]) -> None:
            answer = client.post(path, content=content, headers=headers)
            assert answer.status_code in ANSWERED, (path, content, headers, answer.text)

        ask()
        assert client.get("/v2/models/fairtag/ready").status_code == 200


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")
