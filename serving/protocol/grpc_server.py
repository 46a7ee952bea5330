"""KServe's gRPC service, with the same admission and the same refusals as HTTP, and gRPC's health and reflection.

gRPC itself reads a message before it asks anybody, waits for it without end, and answers what it cannot read by itself,
uncounted. So the guard reads and writes the messages: each has a deadline, and every refusal is counted.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc  # type: ignore[import-untyped]  # its stubs are a package of their own
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are a package of their own
from grpc import StatusCode, aio
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from fairtag.base.errors import RequestError, UnavailableError
from serving.logs import where
from serving.metrics import GRPC, Metrics
from serving.protocol.admission import CALLER, Admission, Proxies, Shares
from serving.protocol.dataplane import PricingDataPlane
from serving.protocol.guard import CLIENT_LEFT
from serving.settings import ServingSettings

logger = logging.getLogger(__name__)

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
STATUS = {
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    408: StatusCode.DEADLINE_EXCEEDED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
# A connection is closed after this time, and what is still unread on it after some more: gRPC has no other bound on
# clients that do not read. Clients connect again by themselves.
CONNECTION_AGE_SECONDS, CONNECTION_GRACE_SECONDS = 600, 30
CALLS_OF_A_CONNECTION = 256


_FULL = RequestError("call", "more calls", "there are as many as there may be; try again in a second", status=503)


class GrpcGuard(aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Reads, admits and answers calls; every error becomes its gRPC status, and the text of a bug never leaves.

    Args:
        admission: Keys, rates and room for work.
        metrics: Where refusals are counted, by the status that HTTP has for them.
        settings: Limits of a request and trusted proxies.
    """

    def __init__(self, admission: Admission, metrics: Metrics, settings: ServingSettings) -> None:
        self._admission = admission
        self._metrics = metrics
        self._limits = settings.limits
        self._proxies = Proxies(settings.trusted_proxies)
        self._calls = Shares(settings.limits.connections)

    async def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """The handler of a call: one that reads and writes for a method of one question and one answer."""
        handler = await continuation(details)
        if handler is not None and handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                partial(self._stream, handler.stream_stream), handler.request_deserializer, handler.response_serializer
            )
        if handler is not None and handler.unary_unary is None:
            handler = None  # health's Watch: a stream without end for every prober; they fall back to Check
        return grpc.stream_stream_rpc_method_handler(partial(self._serve, details.method, handler))

    async def _serve(self, method: str, handler: Any, _messages: Any, context: Any) -> None:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        client = self._proxies.client(_host(context.peer()), metadata.get("x-forwarded-for"))
        taken = self._calls.take(client, 1)
        try:
            if not taken:
                raise _FULL  # noqa: TRY301 - every refusal leaves by the same door
            answer = await self._answer(method, handler, context, client, metadata.get("authorization"))
            async with asyncio.timeout(self._limits.write_seconds):
                await context.write(answer)
        except asyncio.CancelledError:  # the client has left
            self._metrics.refuse(GRPC, CLIENT_LEFT)
            raise
        except Exception as error:  # the border: whatever it was, the caller gets a status
            status, text = _status(error)
            self._metrics.refuse(GRPC, status)
            if status == 500:
                logger.error("%s in %s", type(error).__name__, where(error))  # noqa: TRY400 - a traceback may quote a request
            await context.abort(STATUS.get(status, StatusCode.INVALID_ARGUMENT), text)
        finally:
            if taken:
                self._calls.give(client, 1)

    async def _answer(self, method: str, handler: Any, context: Any, client: str, authorization: str | None) -> bytes:
        """The serialised answer of a call."""
        if handler is None:
            raise RequestError(
                "method", method, f"there is no such method; reflection lists those of {SERVICE}", status=501
            )
        if method == INFER:  # probes are never queued or turned away
            caller = self._admission.identify(client, authorization)
            remaining = context.time_remaining()
            caller.seconds = math.inf if remaining is None else max(remaining, 0.0)
            CALLER.set(caller)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                message = await context.read()
        except TimeoutError:
            rule = f"it must arrive within {self._limits.body_seconds:g} s"
            raise RequestError("message", "late", rule, status=408) from None
        if message is aio.EOF:
            raise RequestError("message", "none", "send one message")
        if len(message) > self._limits.body_bytes:
            raise RequestError("message", "too large", f"it may have {self._limits.body_bytes} bytes", status=413)
        try:
            request = handler.request_deserializer(message)
        except DecodeError:
            raise RequestError("message", "(not shown)", f"it must be a message of {method}") from None
        return bytes(handler.response_serializer(await handler.unary_unary(request, context)))

    async def _stream(
        self, answers: Callable[..., AsyncIterator[Any]], messages: Any, context: Any
    ) -> AsyncIterator[Any]:
        """A stream, which ends when its time is up."""
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                async for answer in answers(messages, context):
                    yield answer
        except TimeoutError:
            self._metrics.refuse(GRPC, 504)
            await context.abort(StatusCode.DEADLINE_EXCEEDED, "the stream's time is up; open another")


class VersionedServicer(InferenceServicer):  # type: ignore[misc]  # kserve ships no types
    """KServe's service, which here takes the version that serves and refuses another, as HTTP does."""

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:  # noqa: N802 - gRPC's name
        """Whether a model is ready; a version that does not serve is not."""
        if request.version and request.version != self._data_plane.version(request.name):
            return pb.ModelReadyResponse(ready=False)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:  # noqa: N802
        """Names, types and shapes of the tensors, and the version."""
        self._data_plane.check_version(request.name, request.version)
        metadata = await super().ModelMetadata(request, context)
        metadata.versions.append(self._data_plane.version(request.name))
        return metadata

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """Pages as tensors."""
        self._data_plane.check_version(request.model_name, request.model_version)
        return await super().ModelInfer(request, context)


def _status(error: Exception) -> tuple[int, str]:
    """The HTTP status of an error, and what the caller is told."""
    if isinstance(error, RequestError):
        return error.status, str(error)
    if isinstance(error, UnavailableError | ModelNotReady):
        return 503, str(error)
    if isinstance(error, ModelNotFound):
        return 404, str(error)
    if isinstance(error, InvalidInput):
        return 400, str(error)
    if isinstance(error, TimeoutError):
        return 504, "the answer was not read in time"
    return 500, "internal error"


def _host(peer: str) -> str:
    """The address in ``ipv4:10.0.0.1:51312`` or ``ipv6:%5B::1%5D:51312``."""
    return peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")


def grpc_server(
    dataplane: PricingDataPlane, repository: ModelRepositoryExtension, guard: GrpcGuard, settings: ServingSettings
) -> aio.Server:
    """The gRPC server, not started yet.

    Args:
        dataplane: Answers.
        repository: Loads and unloads models, or refuses to.
        guard: Admits.
        settings: Limits of a message and of calls.
    """
    options = [
        ("grpc.max_receive_message_length", 2 * settings.limits.body_bytes),  # up to this the guard refuses, and counts
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", CALLS_OF_A_CONNECTION),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_SECONDS * 1_000),
        ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_SECONDS * 1_000),
    ]
    server = aio.server(interceptors=(guard,), options=options, maximum_concurrent_rpcs=settings.limits.connections)
    add_GRPCInferenceServiceServicer_to_server(VersionedServicer(dataplane, repository), server)
    _add_health_and_reflection(server, dataplane)
    return server


def _add_health_and_reflection(server: aio.Server, dataplane: PricingDataPlane) -> None:
    """GRPC's own probe, and the list of methods that tools such as grpcurl ask for."""
    if importlib.util.find_spec("grpc_health") is None or importlib.util.find_spec("grpc_reflection") is None:
        logger.warning(
            "gRPC health and reflection are not served: install grpcio-health-checking and grpcio-reflection"
        )
        return
    from grpc_health.v1 import health_pb2 as health  # type: ignore[import-untyped]  # ships no types
    from grpc_health.v1.health_pb2_grpc import (  # type: ignore[import-untyped]
        HealthServicer,
        add_HealthServicer_to_server,
    )
    from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

    class Health(HealthServicer):  # type: ignore[misc]  # generated
        """Ready as the data plane is."""

        async def Check(self, request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
            if request.service not in ("", SERVICE):
                raise RequestError("service", request.service, f"it must be {SERVICE} or empty", status=404)
            serving = health.HealthCheckResponse.SERVING, health.HealthCheckResponse.NOT_SERVING
            return health.HealthCheckResponse(status=serving[not await dataplane.ready()])

    add_HealthServicer_to_server(Health(), server)
    names = (SERVICE, health.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
