"""Held-out pages asked for again at a live endpoint, so that monitoring has real quotes to read."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.data.splits import time_split
from serving.protocol.client import PricingClient

PAGES = 3_600  # the audit needs about 1,100 customers in each of three groups to tell equal prices from a gap of 1 %
AT_ONCE = 4  # requests in one call: as many as the endpoint reads features for at once
CALLERS = 2  # calls under way: one is made ready while the endpoint works on another


def held_out_requests(training_set: Path, jurisdiction: str, pages: int = PAGES) -> list[dict[str, Any]]:
    """Page requests of the hold-out, spread evenly over its time, then the same pages for customers who asked for none.

    Each asks for the prices of the items that were shown, as the shop's own search would: the reference profile knows
    such pages, and what another search finds is not what monitoring should call drift.
    """
    columns = [schema.PAGE_ID, schema.TS, schema.USER_ID, schema.QUERY, schema.ITEM_ID, schema.RANK]
    frame = pd.read_parquet(training_set, columns=columns)
    held_out = frame[time_split(frame).part(frame[schema.TS], "hold_out")].sort_values([schema.TS, schema.PAGE_ID])
    ids = held_out[schema.PAGE_ID].drop_duplicates()
    chosen = ids.iloc[:: max(1, len(ids) // pages)][:pages]
    grouped = held_out[held_out[schema.PAGE_ID].isin(chosen)].groupby(schema.PAGE_ID, sort=False)
    asked = [_request(page, jurisdiction) for _, page in grouped]
    others = sorted(set(frame[schema.USER_ID]) - set(held_out[schema.USER_ID]))[: max(0, pages - len(asked))]
    return asked + [asked[n % len(asked)] | {"user_id": user} for n, user in enumerate(others)]


def search_request(requests: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first request that carries a query, as a search by the endpoint itself; None where no customer typed one."""
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
    """Ask for every page; returns the answers in order."""
    calls = [requests[start : start + AT_ONCE] for start in range(0, len(requests), AT_ONCE)]
    answers: list[dict[str, Any]] = []
    with ThreadPoolExecutor(CALLERS) as callers:
        for pages in callers.map(client.pages, calls):
            answers += pages
            progress(len(answers), len(requests))
    return answers
