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
from fairtag.policy.live_policy import STOPPED
from serving.protocol.http_server import QUOTE_STATUS
from serving.protocol.openapi import REFUSALS, document
from serving.protocol.payload import FacetValue, Page, PageItem, PageRequest, VerifyRequest
from serving.protocol.tensors import INPUTS, OUTPUTS
from serving.settings import FeatureSettings, Limits, RetentionSettings, SearchSettings, ServingSettings
from serving.stores import price_locks
from serving.stores.feature_reads import DOWN, SLOW, STALE

MODEL = "fairtag"

PAGE = """# The endpoint

`python -m serving.protocol.api_page docs/api.md` writes this page from the code. The examples assume an endpoint on
port 8080: `python -m serving --model-folder DIR --feature-repo DIR`.

V1 JSON, V2 JSON, V2 with binary tensors and gRPC are answered by one function, so their pages are the same.

## Ask for a priced page

Search the catalogue and price what is found:

```bash
curl -s http://localhost:8080/v1/models/fairtag:predict -H 'content-type: application/json' \\
  -d '{{"instances": [{{"task": "search", "query": "cordless drill", "user_id": "u-17",
                       "jurisdiction": "DE", "page_size": 6}}]}}'
```

Price the items that your own search found, in its order:

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

Whenever `disclosure` is not null, show it beside the prices. Charge `price_minor`, an integer in minor units of
`currency`.

### Prices that stay

A customer (`user_id`) sees one price of an item all price day (`epoch`): whatever is asked for, by whichever protocol,
from whichever replica, after a restart, and while the shared store is down. No field of a request changes it.

A guest's prices stay with the session. Where a request names neither customer nor session, the answer's `session_id`
is a new one: 32 characters, signed. Keep it in a cookie and send it back:

```python
from serving.protocol.client import RestClient

with RestClient("http://localhost:8080") as shop:
    (first,) = shop.pages([{{"query": "cordless drill"}}])
    (again,) = shop.pages([{{"query": "drill", "session_id": first["session_id"], "page_size": 6}}])
    print(again["session_id"] == first["session_id"], again["items"][0]["price_minor"])
```

A session id of your own is taken as well. Send it from the first page on; when stores are full, ids that nobody handed
out lose their prices first.

A customer who has been shown a personal price and then opts out sees the public price; so does a request from a place
where personal prices are not allowed. Where the law has moved meanwhile (cost, MAP or list price changed), a price is
moved to the nearest legal one.

### Request

{request}

### Answer

{page}

Each item:

{item}

Reason codes: {reasons}.

Each entry of `facets`:

{facet}

## What a search understands

```bash
curl -s http://localhost:8080/v1/models/fairtag:predict -H 'content-type: application/json' \\
  -d '{{"instances": [{{"query": "cordles dril under 60", "category": ["tools"],
                       "facets": ["category", "brand", "price"], "fields": ["brand", "category"]}}]}}'
```

- **Misspelt words are corrected** towards the words of the shop, and `corrected_query` says what was searched for. A
  word that the shop, its customers or the language know is never corrected.
- **A price in the words becomes a filter**: "under 60", "between 10 and 30", "20-40", "over 15 euros", in the shop's
  currency. `price_min_minor` and `price_max_minor` say what was applied; of a field and the words, the narrower limit.
- **Nonsense gets no items.** `items` is then empty and `notice` says why, in words for the customer.
- **Filters** are `category`, `brand`, `price_min_minor` and `price_max_minor`. The price is the **list price**: were it
  the customer's own, anyone could read personal prices off by asking for "under 19", "under 18" and so on. A customer
  pays no more than list, unless the policy allows a markup.
- **Facets** count the items in stock that have every word of the query (or the best candidates where none has), each
  facet as if it had no filter of its own.
- `as_typed` takes the words as they are: for "search instead for cordles dril".

[how-to/search.md](how-to/search.md) says how these are calibrated and switched off.

## Honour a quote at checkout

`quote` guarantees that customer every price of its page until `expires_at`. Verifying it needs no look-up: the endpoint
can do it, and so can anybody who has the keys. `fairtag verify QUOTE --item ID --user ID --price MINOR` takes them from
`FAIRTAG_QUOTE_KEYS_FILE`, or from a run; `serving.page.quotes.verify_quote` does the same in Python. A guest's quote is
honoured for whoever has it. A quote names nobody: what stands for the customer in it (`sub`) is another hash each time.

```python
from serving.protocol.client import RestClient

with RestClient("http://localhost:8080") as shop:
    (page,) = shop.pages([{{"query": "cordless drill", "user_id": "u-17"}}])
    item = page["items"][0]
    verified = shop.verify(page["quote"], item["item_id"], user_id="u-17", price_minor=item["price_minor"])
    print(verified["price_minor"], verified["expires_at"])
```

{verify}

| refused as | status |
|---|---|
{quote_errors}

## Ask why

```bash
curl -s http://localhost:8080/v1/models/fairtag:explain -H 'content-type: application/json' \\
  -d '{{"instances": [{{"query": "cordless drill", "user_id": "u-17", "jurisdiction": "DE", "page_size": 3}}]}}'
```

The answer gives, for each item, its title, its list price, the price without any driver (`base_minor`), the price, and
what each driver adds on the way from one to the other, in whole minor units that add up. `summary` says the same in
words: "4.00 EUR below the list price of 19.99 EUR. An item like this costs 17.20 EUR; how well it fits the search takes
1.21 EUR."

## V2 and gRPC

The first axis of a tensor is the page, the second the item. Short pages are padded, and `item_count` says where each
ends. An empty text means that there is none.

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

An error is JSON: `{{"error": "field: value is refused; rule", "field": ..., "rule": ...}}`. Over gRPC the same text
comes with the matching gRPC status.

| status | meaning |
|---|---|
{refusals}

A page with `degraded` set is complete and may be shown. An item keeps the price that the customer has already seen
in this price day. Where features are missing, every other item shows its list price, held inside the legal bounds and
the fairness corridor; later pages of the price day may be lower than such a page, never higher. Where only the shared
price locks are missing, every other item has its usual price, or its list price where its corridor is not known here.
The causes are

| `degraded` | meaning |
|---|---|
{degraded}

## Limits and settings

Settings are environment variables, read once at the start. Some have a command-line option too, which
`python -m serving --help` lists. The endpoint does not start with a setting out of range, a model folder or decision
that is refused, or a feature folder that does not open: it prints one line with the reason and exits with the code that
`fairtag --help` lists for it, such as 6 for an altered model folder.

Without a key anybody who can connect may read `/docs`, `/openapi.json`, the model's metadata and `/metrics`, at a rate;
probes are never turned away. `/metrics` is computed once a second at most. It names no customer, but tells how much is
priced and how far below list: so it is not shown to a request that came through a proxy (`X-Forwarded-For`).

| limit | default | |
|---|---|---|
{limits}

| features | default | |
|---|---|---|
{features}

| search | default | |
|---|---|---|
{search}

| retention ([erase a customer](how-to/erase-a-customer.md)) | default | |
|---|---|---|
{retention}

| endpoint | default | |
|---|---|---|
{settings}

## Renamed

If you run an earlier version, change these names:

| was | is |
|---|---|
{renamed}

## OpenAPI

The server also serves this document at `/openapi.json`.

<details><summary>OpenAPI 3.1</summary>

```json
{openapi}
```

</details>
"""

RENAMED = {
    "setting `FAIRTAG_HELPERS`, option `--helpers`": "`FAIRTAG_WORKERS`, `--workers`",
    "setting `FAIRTAG_PROMISES_URL`": "`FAIRTAG_PRICE_LOCKS_URL`",
    "metric `fairtag_helper_total`": "`fairtag_worker_total`",
    "metric `fairtag_helpers_alive`": "`fairtag_workers_alive`",
    '`fairtag_breaker_open{store="promises"}`': '`fairtag_breaker_open{store="price_locks"}`',
    '`fairtag_stage_seconds{stage="help"}`': '`fairtag_stage_seconds{stage="worker"}`',
    "`degraded` cause `promised_prices_down`": "`price_locks_down`",
    "folder `spool` of a run": "`journal`",
    "metric `fairtag_malformed_price_locks_total`": '`fairtag_ignored_store_values_total{store="price_locks"}`',
}
DEGRADED = {
    SLOW: "the feature store did not answer in time",
    DOWN: "the feature store refuses, or its circuit breaker is open",
    STOPPED: "`fairtag stop`: everything is at list price, locked prices too; signed quotes are still honoured",
    STALE: "an item's cost or stock was read too long ago",
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
        search=_settings(SearchSettings),
        retention=_settings(RetentionSettings),
        facet=_fields(FacetValue),
        settings=_settings(ServingSettings),
        renamed="\n".join(f"| {old} | {new} |" for old, new in RENAMED.items()),
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
    nested = ("limits", "features", "search", "retention")
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
