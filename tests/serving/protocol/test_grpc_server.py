"""gRPC answers as HTTP does: versions, faults, deadlines, health, and every refusal counted by one vocabulary."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from serving.protocol.grpc_server import INFER, GrpcGuard, _host
from serving.settings import Limits

V1, V2 = "/v1/models/fairtag:predict", "/v2/models/fairtag"
QUERY = {"name": "query", "shape": [1], "datatype": "BYTES", "data": ["drill"]}


def request(version: str = "", text: bytes = b"drill") -> Any:
    made = pb.ModelInferRequest(model_name="fairtag", model_version=version)
    made.inputs.add(name="query", datatype="BYTES", shape=[1], contents=pb.InferTensorContents(bytes_contents=[text]))
    return made


def code(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_both_take_the_version_that_serves_and_refuse_another(serve: Callable[..., Any]) -> None:
    with (
        serve() as running,
        grpc.insecure_channel(running.grpc) as channel,
        httpx.Client(base_url=running.http) as http,
    ):
        stub, live = GRPCInferenceServiceStub(channel), running.core.version
        for version, http_status, grpc_code, ready in ((live, 200, "OK", True), ("not-there", 404, "NOT_FOUND", False)):
            path = f"{V2}/versions/{version}"
            assert http.post(f"{path}/infer", json={"inputs": [QUERY]}).status_code == http_status
            assert http.get(path).status_code == http_status
            assert http.get(f"{path}/ready").status_code == http_status
            assert code(stub.ModelInfer, request(version)) == grpc_code
            assert code(stub.ModelMetadata, pb.ModelMetadataRequest(name="fairtag", version=version)) == grpc_code
            assert stub.ModelReady(pb.ModelReadyRequest(name="fairtag", version=version)).ready is ready
        assert http.get(V2).json()["versions"] == [live]
        assert list(stub.ModelMetadata(pb.ModelMetadataRequest(name="fairtag")).versions) == [live]
        assert code(stub.ModelReady, pb.ModelReadyRequest(name="nobody", version=live)) == "NOT_FOUND"
        assert http.get("/v2/models/nobody/versions/1/ready").status_code == 404


def test_each_refusal_is_counted_once_under_the_status_of_http(
    serve: Callable[..., Any], refused: Callable[..., Any]
) -> None:
    with serve(limits=Limits(body_bytes=2_000)) as running, grpc.insecure_channel(running.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        raw_call = channel.unary_unary(INFER)
        assert code(stub.ModelInfer, request("other")) == "NOT_FOUND"
        assert code(stub.ModelInfer, request(text=b"\xff")) == "INVALID_ARGUMENT"
        assert code(stub.ModelInfer, request(text=b"x" * 3_000)) == "RESOURCE_EXHAUSTED"
        assert code(raw_call, b"\xff\xff\xff") == "INVALID_ARGUMENT", "no message of the service"
        assert code(channel.unary_unary("/inference.GRPCInferenceService/Nothing"), b"") == "UNIMPLEMENTED"
        assert code(stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="x")) == "PERMISSION_DENIED"
        running.core.search = lambda *_, **__: 1 / 0
        assert code(stub.ModelInfer, request()) == "INTERNAL"
        assert refused(running) == {
            ("grpc", "404"): 1,
            ("grpc", "400"): 2,
            ("grpc", "413"): 1,
            ("grpc", "501"): 1,
            ("grpc", "403"): 1,
            ("grpc", "500"): 1,
        }


def test_a_call_that_never_sends_its_message_is_not_waited_for(
    serve: Callable[..., Any], refused: Callable[..., Any]
) -> None:
    never = threading.Event()

    def silent() -> Any:
        never.wait(30)
        yield b""

    with serve(limits=Limits(body_seconds=0.3)) as running, grpc.insecure_channel(running.grpc) as channel:
        calls = [channel.stream_unary(INFER).future(silent()) for _ in range(40)]
        assert code(GRPCInferenceServiceStub(channel).ModelInfer, request(), timeout=30) == "OK"
        assert {str(call.exception().code().name) for call in calls} == {"DEADLINE_EXCEEDED"}
        never.set()
        assert refused(running) == {("grpc", "408"): 40}


def test_work_stops_when_a_caller_has_left_or_its_deadline_has_passed(
    serve: Callable[..., Any], until: Callable[..., None], refused: Callable[..., Any]
) -> None:
    with serve() as running, grpc.insecure_channel(running.grpc) as channel:
        running.core.slow = 0.5
        stub = GRPCInferenceServiceStub(channel)
        assert code(stub.ModelInfer, request(), timeout=0.1) == "DEADLINE_EXCEEDED"
        call = stub.ModelInfer.future(request())
        until(lambda: running.server.admission.in_flight == 1)
        call.cancel()
        until(lambda: running.server.admission.in_flight == 0)
        until(lambda: sum(refused(running).values()) == 2)
        assert {status for _, status in refused(running)} <= {"499", "504"}
        running.core.slow = 0.0
        assert code(stub.ModelInfer, request(), timeout=30) == "OK"


def test_the_address_of_a_peer() -> None:
    assert [_host(peer) for peer in ("ipv4:10.0.0.1:513", "ipv6:[::1]:513", "ipv6:%5B2001:db8::1%5D:5")] == [
        "10.0.0.1",
        "::1",
        "2001:db8::1",
    ]


installed = importlib.util.find_spec("grpc_health") and importlib.util.find_spec("grpc_reflection")


@pytest.mark.skipif(not installed, reason="grpcio-health-checking and grpcio-reflection are not installed")
def test_health_and_reflection_are_served(serve: Callable[..., Any], until: Callable[..., None]) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with serve() as running, grpc.insecure_channel(running.grpc) as channel:
        probe = health_pb2_grpc.HealthStub(channel)
        kinds = health_pb2.HealthCheckResponse
        serving, not_serving = kinds.SERVING, kinds.NOT_SERVING
        for service in ("", "inference.GRPCInferenceService"):
            assert probe.Check(health_pb2.HealthCheckRequest(service=service)).status == serving
        assert code(probe.Check, health_pb2.HealthCheckRequest(service="nobody")) == "NOT_FOUND"
        assert code(lambda: list(probe.Watch(health_pb2.HealthCheckRequest()))) == "UNIMPLEMENTED"
        running.server.dataplane.draining = True
        assert probe.Check(health_pb2.HealthCheckRequest()).status == not_serving
        running.server.dataplane.draining = False
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        (told,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
        names = {service.name for service in told.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names


def test_a_grpc_client_that_does_not_read_holds_no_place(
    serve: Callable[..., Any], until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that wait for a client to read hold no place of work, while their calls are still open."""
    writing: list[str] = []
    unread = asyncio.Event()

    class Unread:
        """A call whose client reads nothing: what is written waits."""

        def __init__(self, context: Any) -> None:
            self._context = context

        def __getattr__(self, name: str) -> Any:
            return getattr(self._context, name)

        async def write(self, answer: bytes) -> None:
            writing.append("waits")
            await unread.wait()
            await self._context.write(answer)

    serve_call = GrpcGuard._serve

    async def served(self: Any, method: str, handler: Any, messages: Any, context: Any) -> None:
        slow = ("slow-reader", "yes") in (context.invocation_metadata() or ())
        await serve_call(self, method, handler, messages, Unread(context) if slow else context)

    monkeypatch.setattr(GrpcGuard, "_serve", served)
    with serve(limits=Limits(concurrency=4)) as running, grpc.insecure_channel(running.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        calls = []
        for number in range(12):  # three times as many as there are places, one after another
            calls.append(stub.ModelInfer.future(request(), metadata=[("slow-reader", "yes")]))
            until(lambda: len(writing) == number + 1)  # noqa: B023 - waited for in this turn
        assert not any(call.done() for call in calls), "all their answers are unread"
        assert running.server.admission.in_flight == 0
        assert code(stub.ModelInfer, request(), timeout=30) == "OK"
        running.loop.call_soon_threadsafe(unread.set)
        assert {call.result().model_name for call in calls} == {"fairtag"}
