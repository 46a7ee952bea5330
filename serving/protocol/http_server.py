"""The HTTP application: KServe's V1 and V2 routes, quote verification, and clear errors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import metrics_handler
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_endpoints import register_v2_endpoints
from starlette.exceptions import HTTPException

from fairtag.base.errors import QuoteError, RequestError, UnavailableError
from serving.logs import where
from serving.metrics import Metrics
from serving.page.quotes import QuoteBook
from serving.protocol.dataplane import PricingDataPlane
from serving.protocol.guard import error_body
from serving.protocol.payload import VerifyRequest, parse_verify
from serving.settings import Limits

logger = logging.getLogger(__name__)

VERIFY_PATH = "/v1/quotes:verify"
QUOTE_STATUS = {
    "QuoteTampered": HTTPStatus.BAD_REQUEST,
    "QuoteKeyUnknown": HTTPStatus.BAD_REQUEST,
    "QuoteNotYetValid": HTTPStatus.BAD_REQUEST,
    "QuoteExpired": HTTPStatus.GONE,
    "QuoteWrongUser": HTTPStatus.FORBIDDEN,
    "QuoteWrongItem": HTTPStatus.CONFLICT,
    "QuoteWrongPrice": HTTPStatus.CONFLICT,
}


def application(
    dataplane: PricingDataPlane,
    repository: ModelRepositoryExtension,
    book: QuoteBook,
    limits: Limits,
    metrics: Metrics,
    openapi: dict[str, Any] | None = None,
) -> FastAPI:
    """The application without its guard.

    Args:
        dataplane: Answers.
        repository: Loads and unloads models, or refuses to.
        book: Verifies quotes.
        limits: Limits of a verification request.
        metrics: Counts verifications.
        openapi: The document served as ``/openapi.json``.
    """
    app = FastAPI(title="Fairtag", docs_url=None, redoc_url=None)
    app.add_api_route("/", dataplane.live, methods=["GET"])
    app.add_api_route("/metrics", metrics_handler, methods=["GET"])
    register_v1_endpoints(app, dataplane, repository)
    register_v2_endpoints(app, dataplane, repository)

    async def verify(request: Request) -> Response:
        asked = parse_verify(dataplane.decode(await request.body(), dict(request.headers))[0], limits)
        return _json(_verified(book, asked, metrics))

    app.add_api_route(VERIFY_PATH, verify, methods=["POST"], response_model=None)
    if openapi is not None:
        app.openapi = lambda: openapi  # type: ignore[method-assign]  # FastAPI's own way to replace the document
    _handle_errors(app, metrics)
    return app


def _verified(book: QuoteBook, asked: VerifyRequest, metrics: Metrics) -> dict[str, Any]:
    try:
        quote = book.verify(asked.quote, item_id=asked.item_id, user_id=asked.user_id, price_minor=asked.price_minor)
    except QuoteError as error:
        metrics.verified.labels(type(error).__name__).inc()
        raise
    metrics.verified.labels("honoured").inc()
    return quote.as_json()


def _json(content: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    """Give every error a status and a JSON body without a stack trace or the text of a bug."""

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        metrics.refusals.labels("rest", str(error.status)).inc()
        return _json(error_body(error), error.status)

    async def quote_refused(_request: Request, error: Exception) -> Response:
        kind = type(error).__name__
        return _json({"error": str(error), "code": kind}, QUOTE_STATUS.get(kind, HTTPStatus.BAD_REQUEST))

    async def unreadable(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return _json({"error": f"{field}: {first['msg']}", "field": field, "rule": first["msg"]}, 422)

    async def plain(_request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else _KSERVE_STATUS[type(error)]
        text = error.detail if isinstance(error, HTTPException) else str(error)
        return _json({"error": text}, status)

    async def bug(_request: Request, error: Exception) -> Response:
        logger.error("%s in %s", type(error).__name__, where(error))
        return _json({"error": "internal error"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(QuoteError, quote_refused)
    app.add_exception_handler(RequestValidationError, unreadable)
    kinds: tuple[type[Exception], ...] = (HTTPException, *_KSERVE_STATUS)
    for kind in kinds:
        app.add_exception_handler(kind, plain)
    app.add_exception_handler(Exception, bug)


_KSERVE_STATUS: dict[type[Exception], int] = {
    InvalidInput: 400,
    ModelNotFound: 404,
    NotImplementedError: 501,
    ModelNotReady: 503,
    ServerNotReady: 503,
    UnavailableError: 503,
}


class QuietServer(uvicorn.Server):
    """Uvicorn without signal handlers: the owner handles signals and drains first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signal."""
        yield
