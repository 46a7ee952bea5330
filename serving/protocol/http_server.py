"""The HTTP application: KServe's V1 and V2 routes, quote verification, browser tokens, /docs, and clear errors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_datamodels import InferenceRequest, ModelMetadataResponse, ModelReadyResponse
from kserve.protocol.rest.v2_endpoints import V2Endpoints, register_v2_endpoints
from starlette.exceptions import HTTPException

from fairtag.base.errors import QuoteError, RequestError, UnavailableError
from serving.logs import where
from serving.metrics import Metrics, MetricsPage
from serving.page.quotes import QuoteBook
from serving.protocol.browser_tokens import BrowserTokens
from serving.protocol.dataplane import PricingDataPlane
from serving.protocol.guard import METRICS_PATH, error_body, extra_headers
from serving.protocol.payload import TokenRequest, VerifyRequest, parse_token_request, parse_verify
from serving.settings import Limits

logger = logging.getLogger(__name__)

VERIFY_PATHS = ("/v1/quotes:verify", "/v1/models/{model_name}:verify")
TOKENS_PATH = "/v1/browser-tokens"
DOCS_PAGE = Path(__file__).with_name("docs_page.html")
# The page and all it needs come from here; it may call nothing but the endpoint itself.
DOCS_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)
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
    openapi: dict[str, Any],
    tokens: BrowserTokens | None = None,
) -> FastAPI:
    """The application without its guard.

    Args:
        dataplane: Answers.
        repository: Loads and unloads models, or refuses to.
        book: Verifies quotes.
        limits: Limits of a verification request, and how often ``/metrics`` is computed.
        metrics: Counts verifications, and is shown by ``/metrics``.
        openapi: The document served as ``/openapi.json``, and shown by ``/docs``.
        tokens: Issues browser tokens; None where no API key is asked for.
    """
    app = FastAPI(title="Fairtag", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/", dataplane.live, methods=["GET"])
    _serve_documents(app, openapi)
    _serve_metrics(app, MetricsPage(metrics.registry, limits.metrics_seconds))
    _serve_versions(app, dataplane)
    register_v1_endpoints(app, dataplane, repository)
    register_v2_endpoints(app, dataplane, repository)

    async def verify(request: Request) -> Response:
        asked = parse_verify(dataplane.decode(await request.body(), dict(request.headers))[0], limits)
        return _json(_verified(book, asked, metrics))

    async def issue(request: Request) -> Response:
        asked = parse_token_request(dataplane.decode(await request.body(), dict(request.headers))[0], limits)
        return _json(_issued(tokens, asked))

    for path in VERIFY_PATHS:
        app.add_api_route(path, verify, methods=["POST"], response_model=None)
    app.add_api_route(TOKENS_PATH, issue, methods=["POST"], response_model=None)
    _handle_errors(app)
    return app


def _serve_documents(app: FastAPI, openapi: dict[str, Any]) -> None:
    document, page = orjson.dumps(openapi), DOCS_PAGE.read_bytes()

    async def published() -> Response:
        return Response(document, media_type="application/json")

    async def docs() -> Response:
        return Response(page, media_type="text/html", headers={"content-security-policy": DOCS_POLICY})

    app.add_api_route("/openapi.json", published, methods=["GET"], response_model=None)
    app.add_api_route("/docs", docs, methods=["GET"], response_model=None)


def _serve_metrics(app: FastAPI, page: MetricsPage) -> None:
    async def shown() -> Response:
        return Response(page.content(), headers={"content-type": page.media_type})

    app.add_api_route(METRICS_PATH, shown, methods=["GET"], response_model=None)


def _serve_versions(app: FastAPI, dataplane: PricingDataPlane) -> None:
    """V2's routes with a version: KServe's own answer 501 to every version, even to the one that serves."""
    endpoints = V2Endpoints(dataplane)
    path = "/v2/models/{model_name}/versions/{model_version}"

    async def metadata(model_name: str, model_version: str) -> ModelMetadataResponse:
        dataplane.check_version(model_name, model_version)
        return await endpoints.model_metadata(model_name)

    async def ready(model_name: str, model_version: str) -> ModelReadyResponse:
        dataplane.check_version(model_name, model_version)
        return await endpoints.model_ready(model_name)

    async def infer(
        request: Request, response: Response, model_name: str, model_version: str, body: InferenceRequest | bytes
    ) -> Any:
        dataplane.check_version(model_name, model_version)
        return await endpoints.infer(request, response, model_name, body)

    app.add_api_route(path, metadata, methods=["GET"], response_model=None)
    app.add_api_route(f"{path}/ready", ready, methods=["GET"], response_model=None)
    app.add_api_route(f"{path}/infer", infer, methods=["POST"], response_model=None)


def _issued(tokens: BrowserTokens | None, asked: TokenRequest) -> dict[str, Any]:
    if tokens is None:
        rule = "the endpoint asks for no API key, so that a token would protect nothing; set FAIRTAG_API_KEYS_FILE"
        raise RequestError("token", "none", rule, status=403)
    return tokens.issue(asked)


def _verified(book: QuoteBook, asked: VerifyRequest, metrics: Metrics) -> dict[str, Any]:
    try:
        quote = book.verify(asked.quote, item_id=asked.item_id, user_id=asked.user_id, price_minor=asked.price_minor)
    except QuoteError as error:
        metrics.verified.labels(type(error).__name__).inc()
        raise
    metrics.verified.labels("honoured").inc()
    return quote.as_json()


def _json(content: dict[str, Any], status: int = HTTPStatus.OK, field: str = "") -> Response:
    headers = {name.decode(): value.decode() for name, value in extra_headers(status, field)}
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def _handle_errors(app: FastAPI) -> None:
    """Give every error a status and a JSON body without a stack trace or the text of a bug."""

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return _json(error_body(error), error.status, error.field)

    async def quote_refused(_request: Request, error: Exception) -> Response:
        kind = type(error).__name__
        return _json({"error": str(error), "code": kind}, QUOTE_STATUS.get(kind, HTTPStatus.BAD_REQUEST))

    async def unreadable(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = _place(first["loc"], error.body)
        return _json({"error": f"{field}: {first['msg']}", "field": field, "rule": first["msg"]}, 422)

    async def unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = _json(*_unrouted(request.method, request.url.path, error))
        answer.headers.update(error.headers or {})
        return answer

    async def plain(_request: Request, error: Exception) -> Response:
        return _json({"error": str(error)}, _KSERVE_STATUS[type(error)])

    async def bug(_request: Request, error: Exception) -> Response:
        logger.error("%s in %s", type(error).__name__, where(error))
        return _json({"error": "internal error"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(QuoteError, quote_refused)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_exception_handler(HTTPException, unrouted)
    for kind in _KSERVE_STATUS:
        app.add_exception_handler(kind, plain)
    app.add_exception_handler(Exception, bug)


def _unrouted(method: str, path: str, error: HTTPException) -> tuple[dict[str, Any], int]:
    """What the framework refuses, in the words of every other refusal, and its status."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        refusal = RequestError("path", path, "there is no such path; /docs lists them", status=404)
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "other methods")
        refusal = RequestError("method", method, f"this path answers {allowed}; /docs lists them", status=405)
    else:
        return {"error": error.detail}, error.status_code
    return error_body(refusal), refusal.status


def _place(path: Sequence[str | int], body: Any) -> str:
    """Where in a V2 body a fault is, such as ``inputs.query.data``: tensors go by their names."""
    parts = [str(part) for part in path if part not in ("body", "InferenceRequest")]
    match path:
        case (_, _, "inputs", int(index), *inner) if isinstance(body, dict):
            try:
                name = str(body["inputs"][index]["name"])
            except (KeyError, TypeError, IndexError):
                name = str(index)
            parts = ["inputs", name, *map(str, inner)]
    return ".".join(parts) or "body"


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
