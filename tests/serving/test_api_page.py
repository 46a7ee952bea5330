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

from serving.api_page import api_page
from serving.openapi import document
from serving.settings import Limits

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLES = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == api_page(), "run: python -m serving.api_page docs/api.md"


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


def test_limits_show_in_the_document() -> None:
    made = document("fairtag", Limits(page_size=7, instances=3))
    assert made["components"]["schemas"]["PageRequest"]["properties"]["page_size"]["maximum"] == 7
    body = made["paths"]["/v1/models/fairtag:predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["instances"]["maxItems"] == 3
