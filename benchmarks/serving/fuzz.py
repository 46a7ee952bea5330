"""Thousands of malformed and hostile requests: each must be answered in time, and none with a server error.

``python -m benchmarks serving-fuzz`` sends 22,000 requests over all protocols to a real endpoint on a small fitted
shop; the tests send a few to a hand-made one. Schemathesis draws cases from the published OpenAPI document, Hypothesis
draws the others, and every run draws the same ones. A failure stops the run with its smallest example.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # its stubs are a package of their own
import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from benchmarks.result import Result, Row
from benchmarks.serving.catalogue import small_shop
from benchmarks.serving.servers import endpoint
from serving.protocol.openapi import document
from serving.protocol.tensors import INPUTS
from serving.settings import Limits

CASES = 22_000
PATIENCE_SECONDS = 60.0  # a request without an answer by then counts as hanging
V1, EXPLAIN, V2 = "/v1/models/fairtag:predict", "/v1/models/fairtag:explain", "/v2/models/fairtag/infer"
POSTS = (V1, EXPLAIN, V2, "/v1/quotes:verify")
PATHS = (*POSTS, "/v1/models/nobody:predict", "/v2/models/fairtag/versions/1/infer", "/", "/metrics")
TURNED_AWAY = {408, 429, 503, 504}  # for lack of room or time, whatever was asked
REFUSED = {400, 401, 403, 404, 405, 406, 409, 410, 413, 414, 415, 422, 431, 501} | TURNED_AWAY
ANSWERED = {200} | REFUSED
WHOLE = {200, 404}  # for a page that the document allows: a priced page, or none of its items is in the catalogue
TELLS_WHEN = {429, 503}  # such a refusal says when to come again
GRPC_TURNED_AWAY = {"DEADLINE_EXCEEDED", "UNAVAILABLE"}  # the client says so too, where a server is hung or dead
GRPC_REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
GRPC_REFUSED |= {"UNAUTHENTICATED", "PERMISSION_DENIED"} | GRPC_TURNED_AWAY
GRPC_ANSWERED = {"OK"} | GRPC_REFUSED
SETTINGS = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@dataclass
class Target:
    """A running endpoint, and how often it answered with each status."""

    http: httpx.Client
    grpc: grpc.Channel
    items: Sequence[str] = ()  # ids of its catalogue
    statuses: Counter[str] = field(default_factory=Counter)

    def post(self, path: str, allowed: Set[int] = ANSWERED, **request: Any) -> None:
        """Send one request; its answer must have one of the allowed statuses, and a refusal must say why."""
        try:
            answer = self.http.post(path, **request)
        except (UnicodeEncodeError, ValueError):  # JSON cannot carry it, so it was never sent
            return
        self.statuses[str(answer.status_code)] += 1
        assert answer.status_code in allowed | TURNED_AWAY, (path, request, answer.text)
        assert answer.status_code == httpx.codes.OK or honest(answer), (path, request, answer.headers, answer.text)

    def infer(self, message: Any) -> None:
        """Send one request over gRPC; its answer must have an allowed status, and a refusal must be the server's."""
        from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

        try:
            GRPCInferenceServiceStub(self.grpc).ModelInfer(message, timeout=PATIENCE_SECONDS)
            status, told = "OK", ""
        except grpc.RpcError as error:
            status, told = error.code().name, error.details() or ""
        self.statuses[status] += 1
        assert status in GRPC_ANSWERED, (status, told, message)
        assert status not in GRPC_TURNED_AWAY or REFUSAL in told, (status, told, message)


REFUSAL = " is refused; "  # stands in every fairtag.base.errors.RequestError


def honest(answer: httpx.Response) -> bool:
    """Whether a refusal says in JSON what is wrong, and when to come again where that would help."""
    try:
        told = answer.json()
    except ValueError:
        return False
    says_when = answer.status_code not in TELLS_WHEN or "retry-after" in answer.headers
    return isinstance(told, dict) and isinstance(told.get("error"), str) and bool(told["error"]) and says_when


def of_the_document(path: str, mode: GenerationMode, target: Target, cases: int) -> None:
    """Send bodies that the published document allows, or nearly allows; the endpoint must agree with the document."""
    exact = path in (V1, EXPLAIN)  # OpenAPI cannot say that tensor sizes must agree, or whose a quote is
    allowed: Set[int] = ANSWERED
    if exact:
        allowed = WHOLE if mode is GenerationMode.POSITIVE else ANSWERED - WHOLE

    def found(body: Any) -> Set[int]:
        """Statuses allowed for a body: where it names no items, none can be missing."""
        return {200} if allowed is WHOLE and not any("item_ids" in page for page in body["instances"]) else allowed

    operation = schemathesis.openapi.from_dict(document("fairtag", Limits()))[path]["POST"]

    @settings(SETTINGS, max_examples=cases)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        sent = isinstance(case.body, dict | list | str | int | float | None)
        target.post(path, found(case.body), **({"json": case.body} if sent else {}))

    ask()


HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "inference-header-content-length", "accept", "ce-id", "ce-specversion", "x-request-id"]
    ),
    st.sampled_from(["application/json", "application/json; charset=utf-8", "application/octet-stream", "text/plain"])
    | st.sampled_from(["0", "5", "-1", "99999999999999999999", "1.0", "a"]),
    max_size=4,
)
TEXTS = st.text(max_size=40) | st.sampled_from(["", " ", "\x00", "\ud800", "🪛" * 20, "a" * 600, "٣", "İ", "\u202e"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**31, -(2**63), 10**400])
VALUES = TEXTS | NUMBERS | st.booleans() | st.none()
NESTED = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4), max_leaves=6)
FIELDS = ["task", "query", "item_ids", "user_id", "jurisdiction", "opted_out", "page_size", "gender", "wish"]
FIELDS += ["category", "brand", "price_min_minor", "price_max_minor", "facets", "as_typed", "fields"]
PAGES = st.fixed_dictionaries({"query": TEXTS}) | st.dictionaries(st.sampled_from(FIELDS), NESTED, max_size=5)
OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "BYTES": TEXTS,
    "BOOL": st.booleans(),
    "INT32": st.integers(-2, 101),
    "INT64": st.integers(-2, 10**6),
}
NAMES = st.sampled_from([spec.name for spec in INPUTS]) | st.text(max_size=8)
DATATYPES = st.sampled_from(["BYTES", "BOOL", "INT32", "INT64", "FP16", "FP32", "FP64", "UINT8", "NONSENSE", ""])
SHAPES = st.lists(st.integers(-2, 4) | st.sampled_from([2**40]), max_size=3)
TENSOR = st.fixed_dictionaries(
    {"name": NAMES, "datatype": DATATYPES, "shape": SHAPES, "data": st.lists(NESTED, max_size=4)}
)
# Close to what a client sends, so that some requests pass the first checks.
QUERY = TEXTS.map(lambda text: {"name": "query", "datatype": "BYTES", "shape": [1], "data": [text]})


@st.composite
def page_tensors(draw: Callable[..., Any]) -> list[dict[str, Any]]:
    """Tensors of a page or two whose types and sizes agree; only their values are odd."""
    pages, items = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    made = []
    for spec in draw(st.lists(st.sampled_from(INPUTS), min_size=1, unique=True)):
        shape = [pages, items][: spec.axes]
        values = draw(st.lists(OF_TYPE[spec.datatype], min_size=prod(shape), max_size=prod(shape)))
        made.append({"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": values})
    return made


def of_any_bytes(target: Target, cases: int) -> None:
    """Send any bytes under any headers to any path."""

    @settings(SETTINGS, max_examples=cases)
    @given(path=st.sampled_from(PATHS), content=st.binary(max_size=300) | TEXTS.map(_encoded), headers=HEADERS)
    def ask(path: str, content: bytes, headers: dict[str, str]) -> None:
        target.post(path, content=content, headers=headers)

    ask()


def of_odd_pages(target: Target, cases: int) -> None:
    """Send known fields with odd values: NaN, lone surrogates, huge numbers, lists in lists."""
    sold = st.lists(st.sampled_from(target.items) | TEXTS, min_size=1, max_size=30)
    priced = st.fixed_dictionaries(
        {"task": st.just("price"), "item_ids": sold},
        optional={"query": TEXTS, "user_id": TEXTS, "jurisdiction": TEXTS, "page_size": st.integers(-1, 101)},
    )

    @settings(SETTINGS, max_examples=cases)
    @given(path=st.sampled_from([V1, EXPLAIN]), pages=st.lists(PAGES | priced, max_size=3))
    def ask(path: str, pages: list[Any]) -> None:
        target.post(path, content=_json({"instances": pages}), headers={"content-type": "application/json"})

    ask()


def of_tensors(target: Target, cases: int) -> None:
    """Send V2 tensors of any name, type, shape and data, as JSON and with the binary extension."""

    @settings(SETTINGS, max_examples=cases)
    @given(tensors=st.lists(QUERY | TENSOR, max_size=3) | page_tensors(), tail=st.none() | st.binary(max_size=40))
    def ask(tensors: list[dict[str, Any]], tail: bytes | None) -> None:
        if tail is None:
            target.post(V2, content=_json({"inputs": tensors}), headers={"content-type": "application/json"})
            return
        for tensor in tensors[:1]:
            del tensor["data"]
            tensor["parameters"] = {"binary_data_size": len(tail)}
        head = _json({"inputs": tensors})
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        target.post(V2, content=head + tail, headers=headers)

    ask()


def of_messages(target: Target, cases: int) -> None:
    """Send gRPC messages with typed or raw contents that may not fit their tensors."""
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

    contents = st.fixed_dictionaries(
        {},
        optional={
            "bytes_contents": st.lists(st.binary(max_size=12), max_size=3),
            "bool_contents": st.lists(st.booleans(), max_size=3),
            "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
            "fp32_contents": st.lists(st.floats(width=32), max_size=3),
        },
    )
    shapes = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=3)
    asked = st.binary(max_size=9).map(lambda text: ("query", "BYTES", [1], {"bytes_contents": [text]}))
    texts = st.lists(st.binary(max_size=9), max_size=3).map(lambda parts: b"".join(map(_prefixed, parts)))

    @settings(SETTINGS, max_examples=cases)
    @given(
        tensors=st.lists(asked | st.tuples(NAMES, DATATYPES, shapes, contents), max_size=3),
        raw=st.just([]) | st.lists(st.binary(max_size=20) | texts, max_size=3),
    )
    def ask(tensors: list[tuple[str, str, list[int], dict[str, Any]]], raw: list[bytes]) -> None:
        message = pb.ModelInferRequest(model_name="fairtag", raw_input_contents=raw)
        for name, datatype, shape, values in tensors:
            message.inputs.add(name=name, datatype=datatype, shape=shape, contents=pb.InferTensorContents(**values))
        target.infer(message)

    ask()


SURFACES: dict[
    str, tuple[int, Callable[[Target, int], None]]
] = {  # share of the cases, and the function that sends them
    **{
        f"{mode.value}-{path}": (1, partial(of_the_document, path, mode))
        for path in POSTS
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    },
    "bytes": (4, of_any_bytes),
    "pages": (4, of_odd_pages),
    "tensors": (3, of_tensors),
    "grpc": (3, of_messages),
}


def known_items(http: httpx.Client) -> list[str]:
    """Ids of some items in an endpoint's catalogue."""
    page = http.post(V1, json={"instances": [{"query": "drill"}]}).raise_for_status().json()["predictions"][0]
    return [item["item_id"] for item in page["items"]]


def run(work: Path | None = None) -> Result:
    """Send all cases to a real endpoint.

    Args:
        work: Folder that keeps the fitted shop for the next run.
    """
    sys.argv = sys.argv[:1]  # KServe parses the command line of whoever imports it
    whole = sum(weight for weight, _ in SURFACES.values())
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model_folder = small_shop((work or folder) / "shop")
        with (
            endpoint(model_folder, folder, grpc=True) as arm,
            httpx.Client(base_url=arm.address, timeout=PATIENCE_SECONDS) as http,
            grpc.insecure_channel(arm.grpc) as channel,
        ):
            total: Counter[str] = Counter()
            items = known_items(http)
            for name, (weight, ask) in SURFACES.items():
                target = Target(http, channel, items)
                ask(target, CASES * weight // whole)
                rows.append(Row(f"cases {name}", target.statuses.total(), unit="requests"))
                total += target.statuses
            alive = http.get("/v2/models/fairtag/ready").status_code == httpx.codes.OK
    statuses = [Row(f"status {status}", count, unit="answers") for status, count in sorted(total.items())]
    summary = [
        Row("cases", total.total(), unit="requests", reference="at least 20,000"),
        Row("server_errors", sum(total[status] for status in total if _broken(status)), reference=0.0),
        Row("turned_away", sum(total[status] for status in total if _turned_away(status)), unit="requests"),
        Row("ready_afterwards", float(alive), reference=1.0),
    ]
    notes = (
        "A server error, no answer within a minute, or a refusal that does not say why stops the run with its example.",
        "Turned away: refused for lack of room or time, in words and with a time to come again.",
    )
    return Result((*summary, *rows, *statuses), notes)


def _broken(status: str) -> bool:
    return status not in GRPC_ANSWERED and (not status.isdecimal() or int(status) not in ANSWERED)


def _turned_away(status: str) -> bool:
    return status in GRPC_TURNED_AWAY or status in map(str, TURNED_AWAY)


def _json(value: Any) -> bytes:
    """JSON as a careless client writes it: NaN stays NaN."""
    return json.dumps(value).encode()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def _prefixed(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text
