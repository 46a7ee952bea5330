"""The traffic of a run on this machine: held-out pages asked for again, and the purchases of a simulated shop.

Monitoring needs quotes and outcomes to report on. A real shop reports its own purchases (docs/data.md); the simulated
shop draws them from its planted demand. Its clock stands at its last day and its customers order within seconds, which
monitoring is told in a file beside the quote log.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.files import read_json, write_atomic, write_text
from fairtag.base.pseudonym import read_secret
from fairtag.data.splits import time_split
from fairtag.simulator.outcomes import simulate_again, simulated_outcomes
from monitoring.detect.window import LogReader, Window
from pipelines.run_folder import RunFolder
from serving.protocol.client import PricingClient

PAGES = 3_600  # the audit needs about 1,100 customers in each of three groups to tell equal prices from a gap of 1 %
PAGES_A_CALL = 4  # as many as the endpoint reads features for at once
QUERY = 256  # characters of a title that are searched for
CALLS_AT_ONCE = 2  # one is prepared while the endpoint works on the other
OUTCOMES = "outcomes"  # folder of the purchases, beside the quote log
MONITORING = "monitoring.yaml"  # what monitoring must know about a simulated shop
MEAN_DELAY = pd.Timedelta(seconds=1)


def held_out_requests(training_set: Path, jurisdiction: str, pages: int = PAGES) -> list[dict[str, Any]]:
    """Requests for held-out pages, spread evenly over time, then for the same pages by customers who have none there.

    Each asks for the prices of the items that were shown, as a shop with its own search does. The reference profile was
    made of such pages, so that monitoring compares like with like.

    Args:
        training_set: Parquet file of the point-in-time training set.
        jurisdiction: Where the customers are.
        pages: Most requests.

    Returns:
        No request where the pages are too few for a hold-out.
    """
    columns = [schema.PAGE_ID, schema.TS, schema.USER_ID, schema.QUERY, schema.ITEM_ID, schema.RANK]
    frame = pd.read_parquet(training_set, columns=columns)
    try:
        split = time_split(frame)
    except DataError:
        return []
    held_out = frame[split.part(frame[schema.TS], "hold_out")].sort_values([schema.TS, schema.PAGE_ID])
    ids = held_out[schema.PAGE_ID].drop_duplicates()
    chosen = ids.iloc[:: max(1, len(ids) // pages)][:pages]
    grouped = held_out[held_out[schema.PAGE_ID].isin(chosen)].groupby(schema.PAGE_ID, sort=False)
    requests = [_request(page, jurisdiction) for _, page in grouped]
    others = sorted(set(frame[schema.USER_ID]) - set(held_out[schema.USER_ID]))[: max(0, pages - len(requests))]
    return requests + [requests[n % len(requests)] | {"user_id": user} for n, user in enumerate(others)]


def catalogue_requests(model_folder: Path, jurisdiction: str, pages: int = PAGES) -> list[dict[str, Any]]:
    """Searches by a guest for the titles of the catalogue's items, for a shop without pages of its own.

    Args:
        model_folder: The live model.
        jurisdiction: Where the guests are.
        pages: Most requests.
    """
    titles = pd.read_parquet(model_folder / "catalogue.parquet", columns=[schema.TITLE])[schema.TITLE]
    titles = titles.iloc[:: max(1, len(titles) // pages)][:pages]
    return [{"task": "search", "query": str(title)[:QUERY], "jurisdiction": jurisdiction} for title in titles]


def search_request(requests: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first request with a query, as a search by the endpoint itself; None when no customer typed one."""
    for request in requests:
        if "query" in request:
            return {name: value for name, value in request.items() if name != "item_ids"} | {"task": "search"}
    return None


def _request(page: pd.DataFrame, jurisdiction: str) -> dict[str, Any]:
    query = page[schema.QUERY].iloc[0]
    typed = {"query": query} if isinstance(query, str) and query.strip() else {}
    items = page.sort_values(schema.RANK)[schema.ITEM_ID].tolist()
    user = str(page[schema.USER_ID].iloc[0])
    return {"task": "price", "item_ids": items, "user_id": user, "jurisdiction": jurisdiction, **typed}


def replay(
    client: PricingClient, requests: list[dict[str, Any]], progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Ask for every page; returns the pages in order.

    Args:
        client: The endpoint's client.
        requests: One a page.
        progress: Called with the number of pages priced and asked for.
    """
    calls = [requests[start : start + PAGES_A_CALL] for start in range(0, len(requests), PAGES_A_CALL)]
    pages: list[dict[str, Any]] = []
    with ThreadPoolExecutor(CALLS_AT_ONCE) as callers:
        for part in callers.map(client.pages, calls):
            pages += part
            progress(len(pages), len(requests))
    return pages


def simulate_purchases(folder: RunFolder, since: datetime) -> int:
    """Write the purchases on every page quoted since a time, and the monitoring settings of a simulated shop.

    Args:
        folder: Folder of the run; its tables say which shop was simulated.
        since: Aware time before the first page.

    Returns:
        The number of purchases; 0, with nothing written, when the shop is not simulated.

    Raises:
        ConfigError: There is no quote log.
    """
    metadata = read_json(folder.tables / "metadata.json")
    if metadata.get("dataset") != "synthetic":
        return 0
    now = datetime.now(UTC)
    quotes = LogReader(str(folder.serving / "quotes"), schema.QUOTES, Window(since, now, now)).frame()
    purchases = simulated_outcomes(
        quotes,
        simulate_again(metadata),
        read_secret(folder.serving / "secrets" / "user_key"),
        seed=int(metadata["seed"]) + int(since.timestamp()),
        until=pd.Timestamp(now),
        mean_delay=MEAN_DELAY,
    )
    file = folder.serving / OUTCOMES / f"outcomes-{since:%Y%m%dT%H%M%S}.parquet"
    write_atomic(file, partial(purchases.to_parquet, index=False, compression="zstd"))
    write_text(folder.serving / MONITORING, _monitoring_settings(folder, now))
    return len(purchases)


def _monitoring_settings(folder: RunFolder, now: datetime) -> str:
    """Purchases arrive at once; features and stock are as old as the simulated shop's last day."""
    last = pd.read_parquet(folder.tables / "items.parquet", columns=[schema.UPDATED_AT])[schema.UPDATED_AT].max()
    hours = (now - last.to_pydatetime() + timedelta(days=2)).total_seconds() / 3600
    return (
        "# A simulated shop: its customers buy within seconds, and its clock stands at its last day.\n"
        f"maturity_hours: 0\nstale_feature_hours: {hours:.0f}\nstale_stock_hours: {hours:.0f}\n"
    )


def outcome_options(folder: RunFolder) -> dict[str, Path]:
    """Options of ``python -m monitoring`` for the simulated purchases; none where there are none."""
    found = {"--outcomes": folder.serving / OUTCOMES, "--settings": folder.serving / MONITORING}
    return {option: path for option, path in found.items() if path.exists()}
