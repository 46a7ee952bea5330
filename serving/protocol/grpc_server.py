"""KServe's gRPC service, with the same admission and the same refusals as HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from grpc import StatusCode, aio  # type: ignore[import-untyped]  # its stubs are a package of their own
from grpc_interceptor import AsyncServerInterceptor
from grpc_interceptor.exceptions import GrpcException
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from fairtag.base.errors import RequestError, UnavailableError
from serving.logs import where
from serving.metrics import Metrics
from serving.protocol.admission import Admission
from serving.protocol.dataplane import PricingDataPlane

logger = logging.getLogger(__name__)

INFER = "/inference.GRPCInferenceService/ModelInfer"
STATUS = {
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
}


class GrpcGuard(AsyncServerInterceptor):
    """Admits calls and turns every error into its gRPC status; the text of a bug never leaves the server.

    Args:
        admission: Keys, rates and concurrency.
        metrics: Where refusals are counted.
    """

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        """Serve one call."""
        try:
            if method_name != INFER:  # probes are never queued or turned away
                return await method(request_or_iterator, context)
            metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
            with self._admission.admit(_host(context.peer()), metadata.get("authorization")):
                return await method(request_or_iterator, context)
        except Exception as error:  # the border: whatever it was, the caller gets a status
            code, text = _status(error)
            self._metrics.refusals.labels("grpc", code.name).inc()
            if code is StatusCode.INTERNAL:
                logger.error("%s in %s", type(error).__name__, where(error))  # noqa: TRY400 - a traceback may quote a request
            await context.abort(code, text)
            raise AssertionError("abort raises") from error


def _status(error: Exception) -> tuple[StatusCode, str]:
    if isinstance(error, GrpcException):
        return error.status_code, error.details
    if isinstance(error, RequestError):
        return STATUS.get(error.status, StatusCode.INVALID_ARGUMENT), str(error)
    if isinstance(error, UnavailableError | ModelNotReady):
        return StatusCode.UNAVAILABLE, str(error)
    if isinstance(error, ModelNotFound):
        return StatusCode.NOT_FOUND, str(error)
    if isinstance(error, InvalidInput):
        return StatusCode.INVALID_ARGUMENT, str(error)
    return StatusCode.INTERNAL, "internal error"


def _host(peer: str) -> str:
    """``ipv4:10.0.0.1:51312`` without the port."""
    return peer.rpartition(":")[0]


def grpc_server(
    dataplane: PricingDataPlane,
    repository: ModelRepositoryExtension,
    guard: GrpcGuard,
    *,
    body_bytes: int,
    concurrency: int,
) -> aio.Server:
    """The gRPC server, not started yet.

    Args:
        dataplane: Answers.
        repository: Loads and unloads models, or refuses to.
        guard: Admits.
        body_bytes: Largest message.
        concurrency: Calls in progress at once.
    """
    options = [("grpc.max_receive_message_length", body_bytes), ("grpc.so_reuseport", 0)]
    server = aio.server(interceptors=(guard,), options=options, maximum_concurrent_rpcs=concurrency * 2)
    add_GRPCInferenceServiceServicer_to_server(InferenceServicer(dataplane, repository), server)
    return server
