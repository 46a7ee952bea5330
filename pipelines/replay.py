"""Held-out pages asked for again at a live endpoint, so that monitoring has real quotes to read. Prices nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pricing import schema
from pricing.splits import time_split
from serving.client import PricingClient

PAGES = 600  # times 24 items: above 1,000 quotes for each of a dozen audit groups
AT_ONCE = 4  # requests in one call: as many as the endpoint reads features for at once


def held_out_requests(training_set: Path, jurisdiction: str, pages: int = PAGES) -> list[dict[str, Any]]:
    """Page requests of the hold-out, spread evenly over its time.

    A page whose shop recorded no query asks for the prices of the items that were shown.
    """
    columns = [schema.PAGE_ID, schema.TS, schema.USER_ID, schema.QUERY, schema.ITEM_ID, schema.RANK]
    frame = pd.read_parquet(training_set, columns=columns)
    held_out = frame[time_split(frame).part(frame[schema.TS], "hold_out")].sort_values([schema.TS, schema.PAGE_ID])
    ids = held_out[schema.PAGE_ID].drop_duplicates()
    chosen = ids.iloc[:: max(1, len(ids) // pages)][:pages]
    grouped = held_out[held_out[schema.PAGE_ID].isin(chosen)].groupby(schema.PAGE_ID, sort=False)
    return [_request(page, jurisdiction) for _, page in grouped]


def _request(page: pd.DataFrame, jurisdiction: str) -> dict[str, Any]:
    query = page[schema.QUERY].iloc[0]
    common = {"user_id": str(page[schema.USER_ID].iloc[0]), "jurisdiction": jurisdiction}
    if isinstance(query, str) and query.strip():
        return {"task": "search", "query": query, **common}
    return {"task": "price", "item_ids": page.sort_values(schema.RANK)[schema.ITEM_ID].tolist(), **common}


def replay(
    client: PricingClient, requests: list[dict[str, Any]], progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Ask for every page; returns the answers in order."""
    answers: list[dict[str, Any]] = []
    for start in range(0, len(requests), AT_ONCE):
        answers += client.pages(requests[start : start + AT_ONCE])
        progress(len(answers), len(requests))
    return answers
