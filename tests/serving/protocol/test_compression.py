"""Compressed bodies are read within the limit of a body, whatever they would become."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairtag.base.errors import RequestError
from serving.protocol.compression import MEMBERS, decompress

V1, V2 = "/v1/models/fairtag:predict", "/v2/models/fairtag/infer"


@given(st.binary(max_size=500), st.sampled_from(["gzip", "x-gzip", "GZIP", "deflate"]))
def test_what_was_compressed_comes_back(body: bytes, encoding: str) -> None:
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    assert decompress(packed, encoding, len(body)) == body


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_read_or_refused(body: bytes, encoding: str) -> None:
    with contextlib.suppress(RequestError):  # any other error fails the test
        assert len(decompress(body, encoding, 100)) <= 100


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(bytes(101)), "gzip", 413),
        (gzip.compress(bytes(50)) * 3, "gzip", 413),
        (gzip.compress(b"") * (MEMBERS + 1), "gzip", 400),
        (gzip.compress(b"abc")[:-1], "gzip", 400),
        (gzip.compress(b"abc") + b"rest", "gzip", 400),
        (b"", "gzip", 400),
        (b"{}", "gzip", 400),
        (b"{}", "br", 415),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", 415),
        (b"{}", "zstd", 415),
    ],
    ids=[
        "too large",
        "members too large",
        "many members",
        "cut off",
        "rest",
        "empty",
        "no gzip",
        "br",
        "twice",
        "zstd",
    ],
)
def test_bad_encodings_are_refused_by_name(body: bytes, encoding: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        decompress(body, encoding, 100)
    assert caught.value.status == status
    assert caught.value.field in ("body", "content-encoding")


def test_an_identity_is_none() -> None:
    assert decompress(b"{}", "identity", 1) == b"{}"


def test_compressed_requests_are_answered_over_v1_and_v2(serve: Callable[..., Any]) -> None:
    tensors = {"inputs": [{"name": "query", "shape": [1], "datatype": "BYTES", "data": ["drill"]}]}
    with serve() as running:
        for path, asked in ((V1, {"instances": [{"query": "drill"}]}), (V2, tensors)):
            plain = json.dumps(asked).encode()
            for encoding, packed in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain))):
                headers = {"content-type": "application/json", "content-encoding": encoding}
                answer = httpx.post(running.http + path, content=packed, headers=headers)
                assert answer.status_code == 200, answer.text
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        bomb = httpx.post(running.http + V1, content=gzip.compress(bytes(100_000_000)), headers=headers)
        assert bomb.status_code == 413
        unknown = httpx.post(running.http + V1, content=b"x", headers={"content-encoding": "br"})
        assert (unknown.status_code, unknown.headers["accept-encoding"]) == (415, "gzip, deflate")
