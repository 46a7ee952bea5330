from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairtag.base.errors import ForbiddenAttribute, RequestError
from serving.protocol.api_page import api_page
from serving.protocol.openapi import document
from serving.protocol.payload import parse_instances
from serving.settings import Limits

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLES = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == api_page(), "run: python -m serving.protocol.api_page docs/api.md"


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_does_what_it_shows(serve: Callable[..., Any], number: int) -> None:
    language, code = EXAMPLES[number]
    with serve() as running:
        code = code.replace("http://localhost:8080", running.http)
        if language == "bash":
            done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=30, check=True)
            answer = json.loads(done.stdout)
            assert answer.keys() & {"predictions", "explanations", "outputs"}
            return
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(code, {})
    assert output.getvalue().strip()


def test_there_are_examples_of_every_kind() -> None:
    text = " ".join(code for _, code in EXAMPLES)
    assert all(part in text for part in (":predict", ":explain", "/infer", "verify(", "item_ids"))


def test_answers_hold_to_the_published_document(serve: Callable[..., Any]) -> None:
    import httpx

    with serve() as running:
        published = httpx.get(f"{running.http}/openapi.json").json()
        body = {"instances": [{"query": "drill", "user_id": "hunter", "jurisdiction": "DE"}]}
        page = httpx.post(f"{running.http}/v1/models/fairtag:predict", json=body).json()["predictions"][0]
    assert published == json.loads(json.dumps(document("fairtag", Limits())))
    schema = {"$ref": "#/components/schemas/Page", "components": published["components"]}
    jsonschema.Draft202012Validator(schema).validate(page)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**page, "epoch": "today"})


@pytest.mark.parametrize(
    "page",
    [
        {"query": "drill"},
        {"query": "drill", "page_size": 8.0},
        {"query": "drill", "page_size": 8.5},
        {"query": "drill", "page_size": True},
        {"query": "drill", "page_size": "8"},
        {"query": "drill", "item_ids": None},
        {"query": "drill", "item_ids": ["1"]},
        {"query": "\x1f"},
        {"query": "\ufeff"},
        {"query": None},
        {},
        {"task": "search"},
        {"task": "price"},
        {"task": "price", "item_ids": ["1"]},
        {"task": "price", "item_ids": ["1"], "query": None},
        {"task": "price", "item_ids": ["1", "1"]},
        {"task": "price", "item_ids": ["a\x00b"]},
        {"task": "price", "item_ids": []},
        {"task": "price", "item_ids": None},
        {"query": "drill", "user_id": ""},
        {"query": "drill", "jurisdiction": "Germany"},
        {"query": "drill", "gender": "f"},
        {"query": "drill", "category": ["tools"], "price_max_minor": 2_000, "facets": ["brand"], "fields": ["url"]},
        {"query": "drill", "category": []},
        {"query": "drill", "brand": ["a\x00b"]},
        {"query": "drill", "price_min_minor": -1},
        {"query": "drill", "price_min_minor": 2**53 + 2},
        {"query": "drill", "facets": ["colour"]},
        {"query": "drill", "as_typed": "yes"},
        {"query": "drill", "fields": ["unit_cost"]},
        {"task": "price", "item_ids": ["1"], "brand": ["Acme"]},
        {"task": "price", "item_ids": ["1"], "brand": None, "fields": ["brand"]},
    ],
)
def test_the_document_allows_a_page_just_where_the_server_takes_it(page: dict[str, Any]) -> None:
    made = document("fairtag", Limits())
    schema = {"$ref": "#/components/schemas/PageRequest", "components": made["components"]}
    allowed = jsonschema.Draft202012Validator(schema).is_valid(page)
    try:
        parse_instances({"instances": [page]}, Limits())
        taken = True
    except (RequestError, ForbiddenAttribute):
        taken = False
    assert allowed == taken


def test_limits_show_in_the_document() -> None:
    made = document("fairtag", Limits(page_size=7, instances=3))
    for kind in ("SearchRequest", "PriceRequest"):
        assert made["components"]["schemas"][kind]["properties"]["page_size"]["maximum"] == 7
    body = made["paths"]["/v1/models/fairtag:predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["instances"]["maxItems"] == 3
