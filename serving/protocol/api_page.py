"""``docs/api.md``: what an application team needs to call the endpoint, made from the code.

``python -m serving.protocol.api_page docs/api.md`` writes the page; a test holds the file to the code and runs its
examples.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fairtag.base.files import write_text
from fairtag.base.types import Reason
from serving.protocol.http_server import QUOTE_STATUS
from serving.protocol.openapi import REFUSALS, document
from serving.protocol.payload import Page, PageItem, PageRequest, VerifyRequest
from serving.protocol.tensors import INPUTS, OUTPUTS
from serving.settings import FeatureSettings, Limits, ServingSettings
from serving.stores import price_locks
from serving.stores.feature_reads import DOWN, SLOW, STALE

MODEL = "fairtag"

PAGE = """# The endpoint

Made from the code by `python -m serving.protocol.api_page docs/api.md`. Examples assume an endpoint on port 8080:
`python -m serving --model-folder DIR --feature-repo DIR`.

One function answers V1 JSON, V2 JSON, V2 with binary tensors, and gRPC: the pages are the same.

## Ask for a priced page

Search the catalogue and price what is found:

```bash
curl -s http://localhost:8080/v1/models/fairtag:predict -H 'content-type: application/json' \\
  -d '{{"instances": [{{"task": "search", "query": "cordless drill", "user_id": "u-17",
                       "jurisdiction": "DE", "page_size": 6}}]}}'
```

Price what your own search found, in its order:

```bash
curl -s http://localhost:8080/v1/models/fairtag:predict -H 'content-type: application/json' \\
  -d '{{"instances": [{{"task": "price", "item_ids": ["item-007", "item-003"], "user_id": "u-17",
                       "jurisdiction": "DE"}}]}}'
```

The same in Python; `v2=True` speaks V2, and `GrpcClient("localhost:8081")` has the same methods:

```python
from serving.protocol.client import RestClient

with RestClient("http://localhost:8080") as shop:
    (page,) = shop.pages([{{"query": "cordless drill", "user_id": "u-17", "jurisdiction": "DE"}}])
    for item in page["items"]:
        print(item["item_id"], item["list_price_minor"], item["price_minor"], item["reasons"])
```

Show `disclosure` beside the prices whenever it is not null. Charge `price_minor`, in integer minor units of `currency`.

### Request

{request}

### Answer

{page}

Each item:

{item}

Reason codes: {reasons}.

## Honour a quote at checkout

`quote` promises every price of its page to that customer until `expires_at`. It verifies without a look-up, here or,
with the same keys, anywhere: `fairtag verify QUOTE --item ID --user ID --price MINOR` reads them from
`FAIRTAG_QUOTE_KEYS_FILE` and `FAIRTAG_USER_KEY_FILE`, or from a run, and
`serving.page.quotes.verify_quote` is the same in Python.

```python
from serving.protocol.client import RestClient

with RestClient("http://localhost:8080") as shop:
    (page,) = shop.pages([{{"query": "cordless drill", "user_id": "u-17"}}])
    item = page["items"][0]
    verified = shop.verify(page["quote"], item["item_id"], user_id="u-17", price_minor=item["price_minor"])
    print(verified["price_minor"], verified["expires_at"])
```

{verify}

| not honoured because | status |
|---|---|
{quote_errors}

## Ask why

```bash
curl -s http://localhost:8080/v1/models/fairtag:explain -H 'content-type: application/json' \\
  -d '{{"instances": [{{"query": "cordless drill", "user_id": "u-17", "jurisdiction": "DE", "page_size": 3}}]}}'
```

For each item the price without any driver (`base_minor`), the price, and what each driver adds between them.

## V2 and gRPC

The first axis is the page; the second, where there is one, the item. Short pages are padded and `item_count` says
where they end; an empty text stands for an absent one.

```bash
curl -s http://localhost:8080/v2/models/fairtag/infer -H 'content-type: application/json' \\
  -d '{{"inputs": [{{"name": "query", "shape": [1], "datatype": "BYTES", "data": ["cordless drill"]}}]}}'
```

| input | datatype | axes |
|---|---|---|
{inputs}

| output | datatype | axes |
|---|---|---|
{outputs}

## What may go wrong

An error is JSON, `{{"error": "field: value is refused; rule", "field": ..., "rule": ...}}`. Over gRPC the same text
comes with the status that means it.

| status | meaning |
|---|---|
{refusals}

A page with `degraded` set is complete and may be shown. An item that the customer was promised a price for keeps it;
every other is at its list price, held inside the legal bounds and the fairness corridor. Such a page promises that the
price will not rise within the epoch: a later page may be lower. It is degraded because

| `degraded` | meaning |
|---|---|
{degraded}

## Limits and settings

Environment variables, read once at the start; `python -m serving --help` lists the options that stand for some of them.
A setting out of its range, a model folder or decision that is refused, or a feature folder that does not open ends the
start with one line that says why and the exit code of its kind, as `fairtag --help` lists them: 6 for an altered model
folder, say.

| limit | default | |
|---|---|---|
{limits}

| features | default | |
|---|---|---|
{features}

| endpoint | default | |
|---|---|---|
{settings}

## OpenAPI

The server gives this document as `/openapi.json`.

<details><summary>OpenAPI 3.1</summary>

```json
{openapi}
```

</details>
"""

DEGRADED = {
    SLOW: "the feature store did not answer in time",
    DOWN: "the feature store refuses, or its circuit breaker is open",
    STALE: "an item's cost or stock is older than allowed",
    price_locks.DOWN: "the price locks or corridors of the price day cannot be read in time",
}


def api_page() -> str:
    """The page, in Markdown."""
    return PAGE.format(
        request=_fields(PageRequest),
        page=_fields(Page),
        item=_fields(PageItem),
        verify=_fields(VerifyRequest),
        reasons=", ".join(f"`{reason.value}`" for reason in Reason),
        quote_errors="\n".join(f"| `{name}` | {status.value} |" for name, status in QUOTE_STATUS.items()),
        inputs="\n".join(f"| `{spec.name}` | {spec.datatype} | {spec.axes} |" for spec in INPUTS),
        outputs="\n".join(f"| `{spec.name}` | {spec.datatype} | {spec.axes} |" for spec in OUTPUTS),
        refusals="\n".join(f"| {status} | {text} |" for status, text in REFUSALS.items()),
        degraded="\n".join(f"| `{cause}` | {text} |" for cause, text in DEGRADED.items()),
        limits=_settings(Limits),
        features=_settings(FeatureSettings),
        settings=_settings(ServingSettings),
        openapi=json.dumps(document(MODEL, Limits.model_construct()), indent=1),
    )


def _fields(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    required = schema.get("required", [])
    rows = [
        f"| `{name}` | {_kind(field)} | {'yes' if name in required else ''} | {field.get('description', '')} |"
        for name, field in schema["properties"].items()
    ]
    return "\n".join(["| field | type | always | |", "|---|---|---|---|", *rows])


def _kind(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(choice) for choice in field["anyOf"])
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    return str(field.get("type", field.get("$ref", "").rpartition("/")[2]))


def _settings(model: type[BaseModel]) -> str:
    prefix = str(model.model_config.get("env_prefix", ""))
    nested = ("limits", "features")
    rows = []
    for name, field in model.model_fields.items():
        if name not in nested:
            default = "" if field.is_required() or field.default is None else f"`{field.default}`"
            rows.append(f"| `{prefix}{name.upper()}` | {default} | {field.description or ''} |")
    return "\n".join(rows)


def main() -> int:
    """Write the page to the file named on the command line."""
    write_text(Path(sys.argv[1]), api_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
