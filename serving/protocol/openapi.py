"""The OpenAPI document of the endpoint, generated from the classes of the contract.

The server serves it at ``/openapi.json``; :mod:`serving.protocol.api_page` includes it in ``docs/api.md``.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from serving.protocol.payload import PRICE, SEARCH, SEARCH_ONLY, Page, PageRequest, VerifiedQuote, VerifyRequest
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
    401: "The API key is missing or unknown.",
    404: "There is no such model, or none of the items is in its catalogue.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The content type is not JSON.",
    422: "The request carries a protected attribute, or is not a V2 request.",
    429: "One client sent too many requests.",
    501: "The task is not served yet.",
    503: "The server is starting, stopping or full.",
}


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
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fairtag", "version": "1", "description": "Search results with a fair price."},
        "paths": {
            f"/v1/models/{model_name}:predict": _post("Price pages", body, _list("predictions", _ref("Page"))),
            f"/v1/models/{model_name}:explain": _post("Explain pages", body, _list("explanations", {"type": "object"})),
            f"/v2/models/{model_name}/infer": _post("Price pages, as tensors", _ref("V2Request"), _ref("V2Response")),
            "/v1/quotes:verify": _post(
                "Honour a quote at checkout", _ref("VerifyRequest"), _ref("VerifiedQuote"), _VERIFY_REFUSALS
            ),
            f"/v1/models/{model_name}": _get("Whether the model is ready (V1)"),
            f"/v2/models/{model_name}": _get("Names, types and shapes of the tensors"),
            f"/v2/models/{model_name}/ready": _get("Whether the model is ready (V2): probe this"),
            "/v2/health/live": _get("Whether the process lives"),
            "/v2/health/ready": _get("Whether the server takes traffic"),
            "/metrics": _get("Prometheus metrics", media="text/plain"),
        },
        "components": {"schemas": schemas},
    }


_VERIFY_REFUSALS = {
    403: "QuoteWrongUser: it was issued to somebody else.",
    409: "QuoteWrongItem or QuoteWrongPrice: the quote is for another item or price.",
    410: "QuoteExpired.",
}


def _schemas(limits: Limits) -> dict[str, Any]:
    models = [(model, "validation") for model in (PageRequest, VerifyRequest, Page, VerifiedQuote)]
    _, made = models_json_schema(models, ref_template=REF)  # type: ignore[arg-type]  # modes are literals
    schemas: dict[str, Any] = made["$defs"]
    identity = {"minLength": 1, "maxLength": limits.id_characters, "pattern": NO_CONTROL}
    request, verify = schemas["PageRequest"]["properties"], schemas["VerifyRequest"]["properties"]
    _bound(request["query"], minLength=1, maxLength=limits.query_characters, pattern=NOT_BLANK)
    _bound(request["item_ids"], minItems=1, maxItems=limits.items, uniqueItems=True)
    _bound(request["item_ids"], items={"type": "string", **identity})
    for field in (request["user_id"], verify["user_id"], verify["item_id"]):
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
    schemas["Error"] = ERROR
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
    summary: str, body: dict[str, Any], answer: dict[str, Any], refusals: dict[int, str] | None = None
) -> dict[str, Any]:
    responses = {"200": {"description": "Done.", "content": {"application/json": {"schema": answer}}}}
    for status, text in {**REFUSALS, **(refusals or {})}.items():
        responses[str(status)] = {"description": text, "content": {"application/json": {"schema": _ref("Error")}}}
    content = {"application/json": {"schema": body}}
    return {"post": {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}}


def _get(summary: str, media: str = "application/json") -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Yes.", "content": {media: {}}}}
    if media == "application/json":
        responses["503"] = {"description": "No.", "content": {"application/json": {"schema": _ref("Error")}}}
    return {"get": {"summary": summary, "responses": responses}}
