"""The contract of :mod:`serving.protocol.payload` as typed tensors, for V2 over REST and gRPC.

The first axis of every tensor is the page; the second, if any, is the item. Short pages are padded with an empty text,
0 or false, and ``item_count`` says where each ends. An empty text means that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from fairtag.base.errors import RequestError
from fairtag.fairness.forbidden import refuse_forbidden
from serving.protocol.payload import PageRequest, check_count, parse_request
from serving.settings import Limits

Datatype = Literal["BYTES", "BOOL", "INT32", "INT64", "FP64"]
ABSENT_NUMBER = -1.0  # seconds; an age is never negative, and a tensor has no null
ABSENT_PRICE = -1  # minor units


@dataclass(frozen=True)
class Tensor:
    """A named tensor; its values are in row-major order, texts as str."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]


@dataclass(frozen=True)
class Spec:
    """Name, type and number of axes of a tensor (1: one value for each page, 2: one value for each item)."""

    name: str
    datatype: Datatype
    axes: Literal[1, 2]

    def metadata(self) -> dict[str, Any]:
        """Its entry in the V2 model metadata; -1 is any size."""
        return {"name": self.name, "datatype": self.datatype, "shape": [-1] * self.axes}


INPUTS: tuple[Spec, ...] = (
    Spec("task", "BYTES", 1),
    Spec("query", "BYTES", 1),
    Spec("item_ids", "BYTES", 2),
    Spec("user_id", "BYTES", 1),
    Spec("session_id", "BYTES", 1),
    Spec("jurisdiction", "BYTES", 1),
    Spec("opted_out", "BOOL", 1),
    Spec("page_size", "INT32", 1),
    Spec("category", "BYTES", 2),
    Spec("brand", "BYTES", 2),
    Spec("price_min_minor", "INT64", 1),
    Spec("price_max_minor", "INT64", 1),
    Spec("facets", "BYTES", 2),
    Spec("as_typed", "BOOL", 1),
    Spec("fields", "BYTES", 2),
)
PAGE_OUTPUTS: tuple[Spec, ...] = (
    Spec("quote_id", "BYTES", 1),
    Spec("quote", "BYTES", 1),
    Spec("session_id", "BYTES", 1),
    Spec("task", "BYTES", 1),
    Spec("issued_at", "BYTES", 1),
    Spec("expires_at", "BYTES", 1),
    Spec("epoch", "INT64", 1),
    Spec("currency", "BYTES", 1),
    Spec("model_version", "BYTES", 1),
    Spec("personalised", "BOOL", 1),
    Spec("disclosure", "BYTES", 1),
    Spec("feature_age_seconds", "FP64", 1),
    Spec("degraded", "BYTES", 1),
    Spec("policy_version", "INT64", 1),
    Spec("experiment", "BYTES", 1),
    Spec("arm", "BYTES", 1),
    Spec("corrected_query", "BYTES", 1),
    Spec("price_min_minor", "INT64", 1),
    Spec("price_max_minor", "INT64", 1),
    Spec("notice", "BYTES", 1),
)
ITEM_OUTPUTS: tuple[Spec, ...] = (
    Spec("item_id", "BYTES", 2),
    Spec("title", "BYTES", 2),
    Spec("rank", "INT32", 2),
    Spec("similarity", "FP64", 2),
    Spec("list_price_minor", "INT64", 2),
    Spec("price_minor", "INT64", 2),
    Spec("item_personalised", "BOOL", 2),
    Spec("reasons", "BYTES", 2),
    Spec("purchase_probability", "FP64", 2),
)
# Sent only where a page asks for them in ``fields``.
TEXT_OUTPUTS: tuple[Spec, ...] = tuple(
    Spec(name, "BYTES", 2) for name in ("description", "category", "brand", "url", "image")
)
FACET_OUTPUTS: tuple[Spec, ...] = (
    Spec("facet_field", "BYTES", 2),
    Spec("facet_value", "BYTES", 2),
    Spec("facet_count", "INT32", 2),
    Spec("facet_low_minor", "INT64", 2),
    Spec("facet_high_minor", "INT64", 2),
)
OUTPUTS: tuple[Spec, ...] = (
    *PAGE_OUTPUTS,
    Spec("item_count", "INT32", 1),
    *ITEM_OUTPUTS,
    *TEXT_OUTPUTS,
    *FACET_OUTPUTS,
    *(LISTS := (Spec("unknown_items", "BYTES", 2), Spec("unpriced_items", "BYTES", 2))),
)
ITEM_FIELDS = {"item_personalised": "personalised"}  # tensor names must be unique, so one differs from its field
NULLABLE = {  # what stands for null, as a tensor has none
    **dict.fromkeys(
        ("session_id", "disclosure", "degraded", "corrected_query", "notice", "title", "experiment", "arm"), ""
    ),
    **dict.fromkeys((spec.name for spec in TEXT_OUTPUTS), ""),
    **dict.fromkeys(("feature_age_seconds", "purchase_probability"), ABSENT_NUMBER),
    **dict.fromkeys(("price_min_minor", "price_max_minor", "facet_low_minor", "facet_high_minor"), ABSENT_PRICE),
}
UNSET: tuple[Any, ...] = (None, "", [], ())  # of a request's field that need not be sent
_INPUTS = {spec.name: spec for spec in INPUTS}
_PAD: dict[str, Any] = {"BYTES": "", "BOOL": False, "INT32": 0, "INT64": 0, "FP64": 0.0}


def parse_tensors(tensors: Sequence[Tensor], parameters: Mapping[str, Any] | None, limits: Limits) -> list[PageRequest]:
    """The pages that input tensors ask for, checked by the same rules as V1.

    Raises:
        RequestError: Naming tensor, value and rule.
        ForbiddenAttribute: A tensor or a parameter is a protected attribute.
    """
    refuse_forbidden({tensor.name: None for tensor in tensors if tensor.name not in _INPUTS}, "inputs")
    if parameters:
        refuse_forbidden(dict(parameters), "parameters")
    if not tensors:
        raise RequestError("inputs", [], f"send at least one of the tensors {', '.join(_INPUTS)}")
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise RequestError(f"inputs.{tensor.name}", tensor.name, "a tensor may appear only once in a request")
        columns[tensor.name] = _rows(tensor)
    pages = len(columns[tensors[0].name])
    check_count(pages, "inputs", limits)
    for name, column in columns.items():
        if len(column) != pages:
            rule = f"its first axis must be {pages}, like that of {tensors[0].name}"
            raise RequestError(f"inputs.{name}", f"{len(column)} pages", rule)
    return [
        parse_request(
            {name: column[page] for name, column in columns.items() if column[page] is not None},
            f"inputs[{page}]",
            limits,
        )
        for page in range(pages)
    ]


def request_tensors(requests: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """Input tensors that ask for these pages (V1 instances); a field that no page sets is left out."""
    tensors = []
    for spec in INPUTS:
        if all(request.get(spec.name) in UNSET for request in requests):
            continue
        if spec.axes == 1:
            unset = NULLABLE.get(spec.name, _PAD[spec.datatype])
            data = [unset if request.get(spec.name) is None else request[spec.name] for request in requests]
            tensors.append(Tensor(spec.name, spec.datatype, (len(data),), data))
        else:
            tensors.append(_padded(spec, [list(request.get(spec.name) or ()) for request in requests]))
    return tensors


def page_tensors(pages: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """The output tensors of pages (V1 predictions)."""
    tensors = []
    for spec in PAGE_OUTPUTS:
        data = [NULLABLE[spec.name] if page[spec.name] is None else page[spec.name] for page in pages]
        tensors.append(Tensor(spec.name, spec.datatype, (len(pages),), data))
    tensors.append(Tensor("item_count", "INT32", (len(pages),), [len(page["items"]) for page in pages]))
    asked = [spec for spec in TEXT_OUTPUTS if any(spec.name in item for page in pages for item in page["items"][:1])]
    for spec in (*ITEM_OUTPUTS, *asked):
        field = ITEM_FIELDS.get(spec.name, spec.name)
        rows = [[_value(spec, item.get(field)) for item in page["items"]] for page in pages]
        tensors.append(_padded(spec, rows))
    for spec in FACET_OUTPUTS:
        field = spec.name.removeprefix("facet_")
        tensors.append(_padded(spec, [[_value(spec, facet[field]) for facet in page["facets"]] for page in pages]))
    tensors += [_padded(spec, [list(page[spec.name]) for page in pages]) for spec in LISTS]
    return tensors


def tensor_pages(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Pages from output tensors: the inverse of :func:`page_tensors`, for clients."""
    by_name = {tensor.name: tensor for tensor in tensors}
    counts = list(by_name["item_count"].data)
    pages: list[dict[str, Any]] = [{} for _ in counts]
    for spec in PAGE_OUTPUTS:
        for page, value in zip(pages, by_name[spec.name].data, strict=True):
            page[spec.name] = _field(spec.name, value)
    texts = [spec for spec in TEXT_OUTPUTS if spec.name in by_name]
    for index, (page, count) in enumerate(zip(pages, counts, strict=True)):
        columns = {spec.name: _row(by_name[spec.name], index)[:count] for spec in (*ITEM_OUTPUTS, *texts)}
        page["items"] = [_item(columns, position, page["currency"]) for position in range(count)]
        page["facets"] = _facets(by_name, index)
        for spec in LISTS:
            page[spec.name] = [item_id for item_id in _row(by_name[spec.name], index) if item_id]
    return pages


def _facets(by_name: Mapping[str, Tensor], index: int) -> list[dict[str, Any]]:
    """The facet counts of a page; its padding has count 0."""
    rows = zip(*(_row(by_name[spec.name], index) for spec in FACET_OUTPUTS), strict=True)
    names = [spec.name for spec in FACET_OUTPUTS]
    found = [
        {name.removeprefix("facet_"): _field(name, value) for name, value in zip(names, row, strict=True)}
        for row in rows
    ]
    return [facet for facet in found if facet["count"]]


def _rows(tensor: Tensor) -> list[Any]:
    """One value (or list) a page, checked against the tensor's specification; absent values are None."""
    spec = _INPUTS.get(tensor.name)
    field = f"inputs.{tensor.name}"
    if spec is None:
        raise RequestError(field, tensor.name, f"no such tensor; the inputs are {', '.join(_INPUTS)}")
    if tensor.datatype != spec.datatype:
        raise RequestError(field, tensor.datatype, f"its datatype must be {spec.datatype}")
    if len(tensor.shape) != spec.axes or any(size < 0 for size in tensor.shape):
        raise RequestError(field, list(tensor.shape), f"its shape must have {spec.axes} axes")
    if prod(tensor.shape) != len(tensor.data):
        raise RequestError(
            field, f"{len(tensor.data)} values", f"the shape {list(tensor.shape)} holds {prod(tensor.shape)}"
        )
    check: Callable[[Any], bool] = _CHECKS[spec.datatype]
    for value in tensor.data:
        if not check(value):
            shown = "(not shown)" if tensor.name in ("user_id", "session_id") else value
            raise RequestError(field, shown, f"its values must be {_DATATYPE_WORDS[spec.datatype]}")
    if spec.axes == 1:
        return [_present(value, spec) for value in tensor.data]
    return [[value for value in _row(tensor, page) if value] or None for page in range(tensor.shape[0])]


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "BYTES": lambda value: isinstance(value, str),
    "BOOL": lambda value: isinstance(value, bool),
    "INT32": lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31,
    "INT64": lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
}
_DATATYPE_WORDS = {
    "BYTES": "UTF-8 text",
    "BOOL": "true or false",
    "INT32": "whole numbers of 32 bits",
    "INT64": "whole numbers of 64 bits",
}


def _present(value: Any, spec: Spec) -> Any:
    if spec.datatype == "INT64":
        return None if value == ABSENT_PRICE else value
    return None if value == "" or (spec.name == "page_size" and value == 0) else value


def _padded(spec: Spec, rows: Sequence[Sequence[Any]]) -> Tensor:
    width = max((len(row) for row in rows), default=0)
    pad = _PAD[spec.datatype]
    data = [value for row in rows for value in (*row, *[pad] * (width - len(row)))]
    return Tensor(spec.name, spec.datatype, (len(rows), width), data)


def _row(tensor: Tensor, index: int) -> Sequence[Any]:
    width = tensor.shape[1]
    return tensor.data[index * width : (index + 1) * width]


def _value(spec: Spec, value: Any) -> Any:
    """A field of an item or a facet as a value of its tensor."""
    if value is None:
        return NULLABLE[spec.name]
    return ",".join(value) if isinstance(value, list) else value


def _field(name: str, value: Any) -> Any:
    """A value of a tensor as the field; what stands for null is null."""
    return None if name in NULLABLE and value == NULLABLE[name] else value


def _item(columns: Mapping[str, Sequence[Any]], position: int, currency: str) -> dict[str, Any]:
    item = {ITEM_FIELDS.get(name, name): _field(name, values[position]) for name, values in columns.items()}
    item["reasons"] = [reason for reason in item["reasons"].split(",") if reason]
    item["currency"] = currency
    return item
