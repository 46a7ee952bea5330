"""Bad, large, slow and unwelcome requests: each a 4xx that says why, none a 5xx, over HTTP and gRPC."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from fairtag.base.errors import RequestError
from serving.protocol.admission import Admission
from serving.protocol.client import RestClient
from serving.settings import Limits

V1, V2 = "/v1/models/fairtag:predict", "/v2/models/fairtag/infer"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def limits() -> Limits:
    return Limits(body_bytes=2_000)


def chunks(total: int) -> Iterator[bytes]:
    for _ in range(total // 1_000):
        yield b"x" * 1_000


def test_bodies_that_are_too_large_are_refused_chunked_or_not(serve: Callable[..., Any], limits: Limits) -> None:
    with serve(limits=limits) as running, httpx.Client(base_url=running.http) as client:
        for content in (b"x" * 10_000_000, chunks(10_000_000)):
            try:
                answer = client.post(V1, content=content, headers=JSON)
            except httpx.TransportError:  # refused while it was still being sent
                continue
            assert answer.status_code == 413
            assert "2000 bytes" in answer.json()["error"]
        assert client.post(V1, json={"instances": [{"query": "x"}]}).status_code == 200


def test_a_chunked_body_just_over_the_limit_is_told_so(serve: Callable[..., Any], limits: Limits) -> None:
    with serve(limits=limits) as running:
        answer = httpx.post(running.http + V1, content=chunks(3_000), headers=JSON)
    assert answer.status_code == 413


def test_a_body_that_never_ends_is_not_waited_for(serve: Callable[..., Any]) -> None:
    with serve(limits=Limits(body_seconds=0.5)) as running:
        host, port = running.http.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(f"POST {V1} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
            assert b"408" in slow.recv(1_000)


def test_heads_that_never_end_are_answered_and_closed_and_hold_nobody_up(serve: Callable[..., Any]) -> None:
    with serve(limits=Limits(head_seconds=1.0)) as running:
        host, port = running.http.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port)), timeout=60) for _ in range(200)]
        for connection in slow:
            connection.sendall(b"POST /v1/models/fairtag:predict HTTP/1.1\r\nhost: x\r\nx-slow: ")
        answer = httpx.post(running.http + V1, json={"instances": [{"query": "x"}]})
        assert answer.status_code == 200
        for connection in slow:
            told = b"".join(iter(lambda open_one=connection: open_one.recv(4_096), b""))
            assert told.startswith(b"HTTP/1.1 408 "), "it was told why, and the server closed it"
            connection.close()


@pytest.mark.parametrize("action", ["load", "unload"])
def test_nobody_unloads_the_model_over_the_network(serve: Callable[..., Any], action: str) -> None:
    with serve() as running:
        answer = httpx.post(f"{running.http}/v2/repository/models/fairtag/{action}")
        assert answer.status_code == 403
        name = action.capitalize()
        request = getattr(pb, f"RepositoryModel{name}Request")(model_name="fairtag")
        with grpc.insecure_channel(running.grpc) as channel:
            call = getattr(GRPCInferenceServiceStub(channel), f"RepositoryModel{name}")
            with pytest.raises(grpc.RpcError) as caught:
                call(request)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert httpx.get(f"{running.http}/v2/models/fairtag/ready").status_code == 200


def test_api_keys_are_asked_for_over_both_transports_but_not_by_probes(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("first-key\nsecond-key\n")
    body = {"instances": [{"query": "x"}]}
    with serve(api_keys_file=keys) as running:
        sent = [None, "Bearer wrong", "Basic first-key", "Bearer first-key", "bearer second-key"]
        statuses = [
            httpx.post(running.http + V1, json=body, headers={"authorization": s} if s else {}).status_code
            for s in sent
        ]
        assert statuses == [401, 401, 401, 200, 200]
        assert httpx.get(f"{running.http}/v2/models/fairtag/ready").status_code == 200
        with grpc.insecure_channel(running.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(pb.ModelInferRequest(model_name="fairtag"))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with RestClient(running.http, api_key="second-key") as client:
            assert client.pages([{"query": "x"}])


def test_a_client_that_sends_too_much_is_slowed_down(serve: Callable[..., Any]) -> None:
    with serve(limits=Limits(requests_per_second=0.001, burst=3)) as running:
        statuses = [httpx.post(running.http + V1, json={"instances": [{"query": "x"}]}) for _ in range(5)]
    assert [answer.status_code for answer in statuses] == [200, 200, 200, 429, 429]
    assert statuses[-1].headers["retry-after"] == "1"


def test_tokens_come_back_with_time_and_one_client_does_not_spend_anothers() -> None:
    now = [0.0]
    admission = Admission(Limits(requests_per_second=2, burst=1), clock=lambda: now[0])

    def allowed(client: str) -> bool:
        try:
            admission.identify(client, None)
        except RequestError:
            return False
        return True

    assert [allowed("a"), allowed("a"), allowed("b")] == [True, False, True]
    now[0] = 0.5
    assert [allowed("a"), allowed("a")] == [True, False]


BAD_HTTP: list[tuple[str, dict[str, Any], int]] = [
    (V1, {"content": b"", "headers": JSON}, 400),
    (V1, {"content": b"{", "headers": JSON}, 400),
    (V1, {"content": b'{"instances": [{"query": "\xff\xfe"}]}', "headers": JSON}, 400),
    (V1, {"content": b'{"instances": [{"query": "\\ud800"}]}', "headers": JSON}, 400),
    (V1, {"content": b'{"instances": NaN}', "headers": JSON}, 400),
    (V1, {"content": b"[" * 1_000, "headers": JSON}, 400),
    (V1, {"content": b"null", "headers": JSON}, 400),
    (V1, {"content": b"x=1", "headers": {"content-type": "application/x-www-form-urlencoded"}}, 415),
    (V1, {"json": {"instances": [{"query": "x", "gender": "f"}]}}, 422),
    (V1, {"json": {"instances": [{"task": "bundle", "wish": "party"}]}}, 501),
    ("/v1/models/nobody:predict", {"json": {"instances": [{"query": "x"}]}}, 404),
    ("/v1/models/fairtag:explain", {"json": {"instances": [{"query": ""}]}}, 400),
    ("/v1/quotes:verify", {"json": {"quote": "x"}}, 400),
    ("/v1/quotes:verify", {"json": {"quote": "x", "item_id": "a"}}, 400),
    ("/nowhere", {"json": {}}, 404),
    (V2, {"json": {}}, 422),
    (V2, {"content": b"{", "headers": JSON}, 422),
    (V2, {"content": b"\xff", "headers": JSON}, 400),
    (V2, {"json": {"inputs": []}}, 400),
    (V2, {"json": {"inputs": [{"name": "query", "shape": [2], "datatype": "BYTES", "data": ["a"]}]}}, 400),
    (V2, {"json": {"inputs": [{"name": "query", "shape": [1], "datatype": "FP32", "data": [1.5]}]}}, 400),
    (V2, {"json": {"inputs": [{"name": "query", "shape": [1], "datatype": "FP16", "data": [1.5]}]}}, 400),
    (V2, {"json": {"inputs": [{"name": "query", "shape": [1], "datatype": "BYTES", "data": [[["a"]], 3]}]}}, 400),
    (
        V2,
        {
            "content": b'{"inputs":[{"name":"query","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}',
            "headers": JSON,
        },
        400,
    ),
    (
        V2,
        {"content": b'{"inputs":[{"name":"query","shape":[1],"datatype":"BYTES","data":[NaN]}]}', "headers": JSON},
        400,
    ),
    (V2, {"json": {"inputs": [{"name": "religion", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}}, 422),
    (
        V2,
        {
            "json": {
                "inputs": [{"name": "query", "shape": [1], "datatype": "BYTES", "data": ["x"]}],
                "outputs": [{"name": "nothing"}],
            }
        },
        400,
    ),
    (V2, {"content": b"\x00\x01", "headers": {"content-type": "application/octet-stream"}}, 400),
]


def binary(head: Any, tail: bytes = b"", length: str | None = None) -> dict[str, Any]:
    text = json.dumps(head).encode()
    headers = {"content-type": "application/octet-stream"}
    headers["inference-header-content-length"] = str(len(text)) if length is None else length
    return {"content": text + tail, "headers": headers}


def tensor(size: int, **changes: Any) -> dict[str, Any]:
    known = {"name": "query", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    return {"inputs": [{**known, **changes}]}


BAD_HTTP += [
    (V2, binary(tensor(5), b"\x05\x00\x00\x00a"), 400),  # the text is shorter than it says
    (V2, binary(tensor(6), b"\x02\x00\x00\x00\xff\xfe"), 400),  # no UTF-8
    (V2, binary(tensor(6, shape=[3]), b"\x02\x00\x00\x00ab"), 400),
    (V2, binary(tensor(3, datatype="INT32"), b"abc"), 400),
    (V2, binary(tensor("many"), b"abc"), 400),
    (V2, binary({"inputs": [{}]}), 400),
    (V2, binary({"inputs": None}), 400),
    (V2, binary([]), 400),
    (V2, binary(tensor(0), length="abc"), 400),
    (V2, binary(tensor(0), length="-5"), 400),
    (V2, binary(tensor(0), length="999999"), 400),
]


def test_no_bad_request_is_a_server_error(serve: Callable[..., Any]) -> None:
    with serve() as running, httpx.Client(base_url=running.http) as client:
        wrong = []
        for path, request, expected in BAD_HTTP:
            answer = client.post(path, **request)
            told = answer.json().get("error", "")
            if answer.status_code != expected or not told or "Traceback" in answer.text or "Error(" in answer.text:
                wrong.append((path, str(request)[:120], answer.status_code, expected, answer.text[:200]))
        assert not wrong
        assert client.post(V1, json={"instances": [{"query": "x"}]}).status_code == 200


def infer(channel: grpc.Channel, *inputs: Any, raw: list[bytes] | None = None) -> grpc.StatusCode:
    request = pb.ModelInferRequest(model_name="fairtag", inputs=list(inputs), raw_input_contents=raw or [])
    try:
        GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def given(name: str, datatype: str, shape: list[int], **contents: Any) -> Any:
    kwargs = {"contents": pb.InferTensorContents(**contents)} if contents else {}
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, **kwargs)


def test_no_bad_grpc_request_is_an_internal_error(serve: Callable[..., Any]) -> None:
    bad = grpc.StatusCode.INVALID_ARGUMENT
    with serve(limits=Limits(body_bytes=20_000)) as running, grpc.insecure_channel(running.grpc) as channel:
        assert infer(channel, given("query", "BYTES", [1], bytes_contents=[b"drill"])) is grpc.StatusCode.OK
        assert infer(channel) is bad
        assert infer(channel, given("query", "BYTES", [2], bytes_contents=[b"drill"])) is bad
        assert infer(channel, given("query", "BYTES", [1], bytes_contents=[b"\xff"])) is bad
        assert infer(channel, given("query", "FP32", [1], fp32_contents=[float("nan")])) is bad
        assert infer(channel, given("query", "NONSENSE", [1])) is bad
        assert infer(channel, given("gender", "BYTES", [1], bytes_contents=[b"f"])) is bad
        assert infer(channel, given("query", "BYTES", [1]), raw=[b"\x09\x00\x00\x00ab"]) is bad
        assert infer(channel, given("query", "BYTES", [1]), raw=[b"ab", b"cd"]) is bad
        assert infer(channel, given("page_size", "INT32", [1]), raw=[b"abc"]) is bad
        huge = given("query", "BYTES", [1], bytes_contents=[b"x" * 50_000])
        assert infer(channel, huge) is grpc.StatusCode.RESOURCE_EXHAUSTED
        request = pb.ModelInferRequest(model_name="nobody")
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_v2_metadata_names_every_tensor(serve: Callable[..., Any]) -> None:
    with serve() as running:
        rest = httpx.get(f"{running.http}/v2/models/fairtag").json()
        with grpc.insecure_channel(running.grpc) as channel:
            over_grpc = GRPCInferenceServiceStub(channel).ModelMetadata(pb.ModelMetadataRequest(name="fairtag"))
    assert [t["name"] for t in rest["inputs"]] == [t.name for t in over_grpc.inputs]
    assert {"name": "price_minor", "datatype": "INT64", "shape": [-1, -1]} in rest["outputs"]
    assert {"name": "query", "datatype": "BYTES", "shape": [-1]} in rest["inputs"]


def test_a_bug_shows_nothing_of_itself(serve: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with serve() as running:
        running.core.search = lambda *_, **__: 1 / 0
        answer = httpx.post(running.http + V1, json={"instances": [{"query": "my secret wish"}]})
        with grpc.insecure_channel(running.grpc) as channel:
            code = infer(channel, given("query", "BYTES", [1], bytes_contents=[b"my secret wish"]))
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert code is grpc.StatusCode.INTERNAL
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("serving")]
    assert any("ZeroDivisionError" in line for line in ours)
    assert not any("secret wish" in line for line in ours)


def test_metrics_cost_little_however_often_they_are_asked_for(serve: Callable[..., Any]) -> None:
    """An endpoint that computed them for each request could be kept busy by anybody who may connect."""
    with serve(limits=Limits(metrics_seconds=60.0, reads_per_second=0.001, burst=5)) as running:
        computed: list[int] = []
        running.assembly.metrics.watch("asked", lambda: computed.append(1) or [])
        computed.clear()  # a registry looks at whatever is registered
        with httpx.Client(base_url=running.http) as client:
            statuses = [client.get("/metrics").status_code for _ in range(9)]
            assert statuses == [200] * 5 + [429] * 4
            assert len(computed) == 1
            assert client.get("/docs").status_code == client.head("/metrics").status_code == 429
            assert client.get("/metrics").headers["retry-after"] == "1"
            for probe in ("/", "/v2/health/live", "/v2/health/ready", "/v2/models/fairtag/ready", "/v1/models/fairtag"):
                assert client.get(probe).status_code == 200, probe
            assert client.post(V1, json={"instances": [{"query": "x"}]}).status_code == 200


def test_metrics_are_not_shown_beyond_a_gateway(serve: Callable[..., Any]) -> None:
    """They tell how many pages are priced, how far below list and what is refused."""
    with serve() as running, httpx.Client(base_url=running.http) as client:
        assert client.get("/metrics").status_code == 200
        answer = client.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"})
    assert (answer.status_code, answer.json()["field"]) == (403, "path")
    assert "fairtag_pages" not in answer.text
