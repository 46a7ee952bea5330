"""The OpenAPI document of the endpoint, generated from the classes of the contract.

The server serves it at ``/openapi.json`` and shows it at ``/docs``; :mod:`serving.protocol.api_page` includes it in
``docs/api.md``.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from serving.protocol.payload import (
    PRICE,
    SEARCH,
    SEARCH_ONLY,
    IssuedToken,
    Page,
    PageRequest,
    TokenRequest,
    VerifiedQuote,
    VerifyRequest,
)
from serving.protocol.tensors import INPUTS, OUTPUTS, Spec
from serving.settings import Limits

REF = "#/components/schemas/{model}"
# Rules of texts, as ECMA 262 patterns.
NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]+$"
# What str.isspace calls blank, spelt out, because the shorthand for it is another set in every language.
NOT_BLANK = r"[^\t-\r\u001c- \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_JSON_TYPES = {"BYTES": "string", "BOOL": "boolean", "INT32": "integer", "INT64": "integer"}
ERROR = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "What was wrong: field, value, rule."},
        "field": {"type": "string"},
        "rule": {"type": "string"},
        "code": {"type": "string", "description": "The kind of refusal of a quote."},
    },
}
REFUSALS = {
    400: "A field breaks a rule; the text names field, value and rule.",
    401: "The API key is missing or unknown, or the browser token has expired.",
    403: "A browser token asked for more than it allows; models are loaded by the operator alone; metrics are not "
    "shown beyond a proxy.",
    404: "There is no such model, version or path, or none of the items is in its catalogue.",
    408: "The request did not arrive in time.",
    413: "The body is too large, as it was sent or decompressed.",
    415: "The content type is not JSON, or the content encoding is neither gzip nor deflate.",
    422: "The request carries a protected attribute, or is not a V2 request.",
    429: "One client sent too many requests or wrong keys, or holds its share of a busy server.",
    431: "The headers are too many or too long (414: the path).",
    500: "A bug; the text of it stays in the log.",
    501: "The task is not served yet.",
    503: "The server is starting, stopping or full.",
    504: "The answer took longer than `Request-Timeout` or the endpoint allows.",
}
EXPLANATION = {
    "title": "Explanation",
    "type": "object",
    "description": "Why the prices of a page are what they are. Money in minor units.",
    "required": ["model_version", "degraded", "unknown_items", "items"],
    "properties": {
        "model_version": {"type": "string"},
        "degraded": {"type": ["string", "null"], "description": "As on the page."},
        "unknown_items": {"type": "array", "items": {"type": "string"}},
        "items": {"type": "array", "items": {"$ref": REF.format(model="ExplainedPrice")}},
    },
}
EXPLAINED_PRICE = {
    "title": "ExplainedPrice",
    "type": "object",
    "description": "The way from the model's price without any driver to the price of the page.",
    "required": ["item_id", "base_minor", "price_minor", "contributions_minor"],
    "properties": {
        "item_id": {"type": "string"},
        "base_minor": {"type": "number", "description": "What an item like this costs, before any driver."},
        "price_minor": {"type": "number", "description": "Price on the page."},
        "contributions_minor": {
            "type": "object",
            "additionalProperties": {"type": "number"},
            "description": "What each driver adds; together `price_minor - base_minor`. Empty if out of stock.",
        },
    },
}
SECURITY = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "A key of `FAIRTAG_API_KEYS_FILE`: servers only."},
    "browserToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Issued by `/v1/browser-tokens` for one session and one origin; it may only ask for pages.",
    },
}
Ways = list[dict[str, list[str]]]
KEY: Ways = [{"apiKey": []}, {}]  # {}: an endpoint without keys
KEY_OR_TOKEN: Ways = [{"apiKey": []}, {"browserToken": []}, {}]
ABOUT = (
    "Search results with a fair price. The header `Request-Timeout: SECONDS` ends a request earlier than the endpoint "
    "would; bodies may be compressed with gzip or deflate."
)
SEARCHED = {"task": SEARCH, "query": "cordless drill", "jurisdiction": "DE", "page_size": 6}


def document(model_name: str, limits: Limits) -> dict[str, Any]:
    """The OpenAPI 3.1 document.

    Args:
        model_name: Name of the model in the paths.
        limits: Limits of a request.
    """
    schemas = _schemas(limits)
    v1 = {"type": "object", "required": ["instances"], "additionalProperties": False}
    instances = {"type": "array", "minItems": 1, "maxItems": limits.instances, "items": _ref("PageRequest")}
    body = {**v1, "properties": {"instances": instances}}
    asked = {"instances": [SEARCHED]}
    pages, explanations = _list("predictions", _ref("Page")), _list("explanations", _ref("Explanation"))
    infer = _post("Price pages, as tensors", _ref("V2Request"), _ref("V2Response"), example=TENSORS)
    verify = _post(
        "Honour a quote at checkout",
        _ref("VerifyRequest"),
        _ref("VerifiedQuote"),
        _VERIFY_REFUSALS,
        security=KEY,
        example={"quote": "(the quote of a page)", "item_id": "(an item of it)"},
    )
    token = _post(
        "Issue a browser token",
        _ref("TokenRequest"),
        _ref("IssuedToken"),
        security=[{"apiKey": []}],
        example={"session_id": "s-1", "origin": "https://shop.example", "jurisdiction": "DE"},
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fairtag", "version": "1", "description": ABOUT},
        "paths": {
            f"/v1/models/{model_name}:predict": _post("Price pages", body, pages, example=asked),
            f"/v1/models/{model_name}:explain": _post("Explain pages", body, explanations, example=asked),
            f"/v2/models/{model_name}/infer": infer,
            "/v1/quotes:verify": verify,
            f"/v1/models/{model_name}:verify": verify,
            "/v1/browser-tokens": token,
            "/v1/models": _get("Names of the models (V1)"),
            f"/v1/models/{model_name}": _get("Whether the model is ready (V1)"),
            "/v2": _get("Name and version of the server"),
            "/v2/models": _get("Names of the models (V2)"),
            f"/v2/models/{model_name}": _get("Names, types and shapes of the tensors, and the version"),
            f"/v2/models/{model_name}/ready": _get("Whether the model is ready (V2): probe this"),
            "/v2/health/live": _get("Whether the process lives"),
            "/v2/health/ready": _get("Whether the server takes traffic"),
            "/metrics": _get("Prometheus metrics", media="text/plain"),
            "/": _get("Whether the process lives"),
            "/docs": _get("This document as a page that sends requests", media="text/html"),
            "/openapi.json": _get("This document"),
        },
        "components": {
            "schemas": schemas,
            "responses": {str(status): _refusal(text) for status, text in REFUSALS.items()},
            "securitySchemes": SECURITY,
        },
    }


TENSORS = {"inputs": [{"name": "query", "shape": [1], "datatype": "BYTES", "data": [SEARCHED["query"]]}]}


def methods(document: dict[str, Any]) -> dict[str, str]:
    """The methods of each path, as the ``Allow`` header names them."""
    told = {"get": "GET, HEAD, OPTIONS", "post": "POST, OPTIONS"}
    return {path: told[method] for path, operations in document["paths"].items() for method in operations}


_VERIFY_REFUSALS = {
    403: "QuoteWrongUser: it was issued to somebody else.",
    409: "QuoteWrongItem or QuoteWrongPrice: the quote is for another item or price.",
    410: "QuoteExpired.",
}


_MODELS = (PageRequest, VerifyRequest, TokenRequest, Page, VerifiedQuote, IssuedToken)


def _schemas(limits: Limits) -> dict[str, Any]:
    models = [(model, "validation") for model in _MODELS]
    _, made = models_json_schema(models, ref_template=REF)  # type: ignore[arg-type]  # modes are literals
    schemas: dict[str, Any] = made["$defs"]
    identity = {"minLength": 1, "maxLength": limits.id_characters, "pattern": NO_CONTROL}
    request, verify = schemas["PageRequest"]["properties"], schemas["VerifyRequest"]["properties"]
    _bound(request["query"], minLength=1, maxLength=limits.query_characters, pattern=NOT_BLANK)
    _bound(request["item_ids"], minItems=1, maxItems=limits.items, uniqueItems=True)
    _bound(request["item_ids"], items={"type": "string", **identity})
    token = schemas["TokenRequest"]["properties"]
    for field in (
        request["user_id"],
        request["session_id"],
        verify["user_id"],
        verify["item_id"],
        token["user_id"],
        token["session_id"],
    ):
        _bound(field, **identity)
    request["page_size"]["maximum"] = limits.page_size
    for name in ("category", "brand"):
        _bound(request[name], minItems=1, maxItems=limits.filter_values, items={"type": "string", **identity})
    schemas |= _tasks(schemas["PageRequest"])
    schemas["V2Request"] = _tensors("inputs", {"oneOf": [_tensor(spec) for spec in INPUTS]}, ["inputs"])
    answered = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": [spec.name for spec in OUTPUTS]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string", "enum": sorted({spec.datatype for spec in OUTPUTS})},
            "data": {"type": "array"},
        },
    }
    schemas["V2Response"] = _tensors("outputs", answered, ["outputs", "model_name", "id"])
    schemas |= {"Error": ERROR, "Explanation": EXPLANATION, "ExplainedPrice": EXPLAINED_PRICE}
    return schemas


def _tasks(page: dict[str, Any]) -> dict[str, Any]:
    """A page's request as one of two schemas, each with the fields that its task needs and accepts."""
    properties: dict[str, Any] = page["properties"]
    search, price = dict(properties), dict(properties)
    for task, made in ((SEARCH, search), (PRICE, price)):
        made["task"] = {"const": task, "type": "string", "description": properties["task"]["description"]}
    search["task"] |= {"default": SEARCH}
    search["query"], price["item_ids"] = _present(properties["query"]), _present(properties["item_ids"])
    search["item_ids"] = {"type": "null", "description": "They go with the task `price`."}
    price |= {name: {"type": "null", "description": "It goes with the task `search`."} for name in SEARCH_ONLY}
    kinds = (
        ("SearchRequest", "A page of items found for a query.", search, ["query"]),
        ("PriceRequest", "A page of items that your own search found.", price, ["task", "item_ids"]),
    )
    return {
        **{
            name: {**page, "title": name, "description": text, "properties": fields, "required": required}
            for name, text, fields, required in kinds
        },
        "PageRequest": {"title": "PageRequest", "oneOf": [_ref("SearchRequest"), _ref("PriceRequest")]},
    }


def _present(field: dict[str, Any]) -> dict[str, Any]:
    """An optional field as a required one."""
    there = next(choice for choice in field["anyOf"] if choice.get("type") != "null")
    return {**there, "description": field["description"]}


def _tensor(spec: Spec) -> dict[str, Any]:
    """An input tensor."""
    size = {"type": "integer", "minimum": 1}
    return {
        "title": spec.name,
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": spec.name},
            "shape": {"type": "array", "minItems": spec.axes, "maxItems": spec.axes, "items": size},
            "datatype": {"const": spec.datatype},
            "data": {"type": "array", "items": {"type": _JSON_TYPES[spec.datatype]}},
        },
    }


def _tensors(field: str, tensor: dict[str, Any], required: list[str]) -> dict[str, Any]:
    properties = {"id": {"type": "string"}, field: {"type": "array", "minItems": 1, "items": tensor}}
    return {"type": "object", "required": required, "properties": properties}


def _bound(field: dict[str, Any], **rules: Any) -> None:
    for choice in field.get("anyOf", [field]):
        if choice.get("type") != "null":
            choice.update(rules)


def _ref(model: str) -> dict[str, str]:
    return {"$ref": REF.format(model=model)}


def _list(field: str, items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [field], "properties": {field: {"type": "array", "items": items}}}


def _post(
    summary: str,
    body: dict[str, Any],
    answer: dict[str, Any],
    refusals: dict[int, str] | None = None,
    *,
    security: Ways = KEY_OR_TOKEN,
    example: dict[str, Any],
) -> dict[str, Any]:
    responses: dict[str, Any] = {str(status): {"$ref": f"#/components/responses/{status}"} for status in REFUSALS}
    responses |= {"200": {"description": "Done.", "content": {"application/json": {"schema": answer}}}}
    responses |= {str(status): _refusal(text) for status, text in (refusals or {}).items()}
    content = {"application/json": {"schema": body, "example": example}}
    operation = {
        "summary": summary,
        "security": security,
        "requestBody": {"required": True, "content": content},
        "responses": responses,
    }
    return {"post": operation}


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _ref("Error")}}}


def _get(summary: str, media: str = "application/json") -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Yes.", "content": {media: {}}}}
    if media == "application/json":
        responses["503"] = _refusal("No.")
    return {"get": {"summary": summary, "responses": responses}}
