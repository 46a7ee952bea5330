"""Every HTTP refusal is counted where the alert looks; methods, tensors and pages are as the document says."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from fairtag.base.errors import UnavailableError
from serving.protocol.openapi import document
from serving.settings import Limits

V1, V2 = "/v1/models/fairtag:predict", "/v2/models/fairtag/infer"
ASK = {"instances": [{"query": "drill"}]}
RULES = Path(__file__).parents[3] / "k8s" / "components" / "prometheus" / "prometheusrule-endpoint.yaml"


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_every_refusal_and_error_is_counted_once(serve: Callable[..., Any], refused: Callable[..., Any]) -> None:
    with serve(limits=Limits(body_bytes=2_000)) as running, httpx.Client(base_url=running.http) as client:
        client.get("/nowhere")
        client.put(V1, json=ASK)
        client.post(V1, content=b"{", headers={"content-type": "application/json"})
        client.post(V2, json={})
        client.post("/v1/quotes:verify", json={"quote": "x", "item_id": "a"})
        client.post("/v1/models/nobody:predict", json=ASK)
        client.post("/v2/repository/models/fairtag/unload")
        client.post(V1, content=b"x" * 2_001)
        running.core.search = raising(ZeroDivisionError("a bug"))
        assert [client.post(V1, json=ASK).status_code for _ in range(3)] == [500] * 3
        running.core.search = raising(UnavailableError("a store is down"))
        assert client.post("/v1/models/fairtag:explain", json=ASK).status_code == 503
        running.server.dataplane.draining = True
        assert client.get("/v2/models/fairtag/ready").status_code == 503
        running.server.dataplane.draining = False
        counted = refused(running)
    assert counted == {
        ("rest", status): count
        for status, count in (
            *(("404", 2), ("405", 1), ("400", 2), ("422", 1), ("403", 1), ("413", 1)),
            *(("500", 3), ("503", 2)),
        )
    }


def test_a_path_or_method_that_is_none_is_named_with_what_there_is(serve: Callable[..., Any]) -> None:
    with serve() as running, httpx.Client(base_url=running.http) as client:
        nowhere, wrong = client.get("/nowhere"), client.put("/v1/quotes:verify", json={})
    assert (nowhere.status_code, nowhere.json()["field"]) == (404, "path")
    assert "/nowhere" in nowhere.json()["error"]
    assert "/docs" in nowhere.json()["rule"]
    assert (wrong.status_code, wrong.json()["field"], wrong.headers["allow"]) == (405, "method", "POST")
    assert "PUT" in wrong.json()["error"]
    assert "POST" in wrong.json()["rule"]


def test_the_alert_of_server_errors_looks_where_they_are_counted(
    serve: Callable[..., Any], refused: Callable[..., Any]
) -> None:
    rules = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(RULES.read_text())["spec"]["groups"][0]["rules"]}
    (metric, pattern) = re.findall(r'(\w+)\{status=~"([^"]+)"\}', rules["FairtagRefusalsServer"])[0]
    with serve() as running:
        running.core.search = raising(ZeroDivisionError("a bug"))
        for _ in range(4):
            httpx.post(running.http + V1, json=ASK)
        counted = refused(running)
    assert metric == "fairtag_refusals_total"
    assert sum(count for (_, status), count in counted.items() if re.fullmatch(pattern, status)) == 4


def test_head_and_options_are_answered(serve: Callable[..., Any]) -> None:
    paths = document("fairtag", Limits())["paths"]
    with serve() as running, httpx.Client(base_url=running.http) as client:
        for path, operations in paths.items():
            told = client.options(path)
            assert (told.status_code, told.content) == (204, b"")
            allowed = told.headers["allow"].split(", ")
            assert [method.upper() for method in operations] == [m for m in allowed if m in ("GET", "POST")]
            if "get" in operations:
                head, get = client.head(path), client.get(path)
                assert (head.status_code, head.content) == (get.status_code, b"")
                assert get.status_code == 200, path
        assert client.options("/nowhere").status_code == 404


def binary(name: str, shape: list[int], data: bytes) -> dict[str, Any]:
    tensor = {"name": name, "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor]})
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return {"content": head.encode() + data, "headers": headers}


def text(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


@pytest.mark.parametrize(
    ("request_", "field", "rule"),
    [
        (binary("query", [1], text("café".encode("latin-1"))), "inputs.query", "UTF-8"),
        (binary("query", [1], text(b"a", b"b")), "inputs.query", "shape"),
        (binary("query", [1], b"\x09\x00\x00\x00a"), "inputs.query", "datatype"),
        (binary("user_id", [1, 1], text(b"a")), "inputs.user_id", "axes"),
        ({"json": {"inputs": [{"name": "query", "shape": [1], "datatype": "BYTES"}]}}, "inputs.query.data", "required"),
        (
            {"json": {"inputs": [{"name": "query", "shape": "x", "datatype": "BYTES", "data": []}]}},
            "inputs.query.shape",
            "",
        ),
    ],
)
def test_a_tensors_fault_names_the_tensor(
    serve: Callable[..., Any], request_: dict[str, Any], field: str, rule: str
) -> None:
    with serve() as running:
        answer = httpx.post(running.http + V2, **request_)
    assert answer.status_code in (400, 422)
    assert answer.json()["field"] == field
    assert rule in answer.json()["rule"]


def test_price_prices_every_item_that_was_sent(serve: Callable[..., Any]) -> None:
    sent = [f"item-{number:03d}" for number in range(40)]
    with serve() as running:
        page = running.page(task="price", item_ids=[*sent, "nobody-sells-this"])
        few = running.page(task="price", item_ids=sent, page_size=10)
    assert [item["item_id"] for item in page["items"]] == sent
    assert page["unknown_items"] == ["nobody-sells-this"]
    assert len(few["items"]) == 10, "asked for ten"


def test_a_quote_is_verified_beside_the_model_too(serve: Callable[..., Any]) -> None:
    with serve() as running:
        page = running.page(query="drill")
        asked = {"quote": page["quote"], "item_id": page["items"][0]["item_id"]}
        for path in ("/v1/quotes:verify", "/v1/models/fairtag:verify"):
            assert httpx.post(running.http + path, json=asked).status_code == 200


def test_the_documents_examples_are_answered_and_explanations_hold_to_it(serve: Callable[..., Any]) -> None:
    made = document("fairtag", Limits())
    with serve() as running:
        running.core.explain = lambda inputs: [
            {"item_id": "a", "base_minor": 1.0, "price_minor": 2.0, "contributions_minor": {"market": 1.0}}
        ]
        for path in (V1, "/v1/models/fairtag:explain", V2):
            example = made["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
            answer = httpx.post(running.http + path, json=example)
            assert answer.status_code == 200, answer.text
            schema = made["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator({**schema, "components": made["components"]}).validate(answer.json())
