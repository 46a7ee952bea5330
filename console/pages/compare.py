"""Two customers side by side: the same items, and what each of them is asked to pay."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from console.frame import Page, Visit
from console.pages.storefront import FIELDS

PAGE_SIZE = 16


async def show(visit: Visit) -> Response:
    """The items of one search, priced for two customers."""
    shop, query = visit.work.shop, visit.asked("q")
    examples = await visit.blocking(shop.examples)
    place = visit.asked("place", visit.shopper.place or visit.work.settings.place)
    first = visit.asked("a", visit.shopper.user_id or (examples[0].user_id if examples else ""))
    second = visit.asked("b", examples[1].user_id if len(examples) > 1 else "")
    rows: list[dict[str, Any]] = []
    pages: list[dict[str, Any]] = []
    if query:
        common = {"jurisdiction": place or None, "query": query, "fields": FIELDS}
        found = await visit.work.endpoint.page(common | {"user_id": first or None, "page_size": PAGE_SIZE})
        pages = [found]
        if found["items"]:
            items = [item["item_id"] for item in found["items"]]
            other = common | {"task": "price", "item_ids": items, "user_id": second or None}
            pages.append(await visit.work.endpoint.page(other))
            rows = side_by_side(found, pages[1])
    words = [await visit.blocking(shop.in_words, user) if user else "a guest" for user in (first, second)]
    return await visit.render(
        "compare.html",
        query=query,
        place=place,
        places=shop.places,
        customers=(first, second),
        words=words,
        rows=rows,
        answers=pages,
        examples=examples,
        totals=_totals(rows),
        searches=await visit.blocking(shop.popular_queries, 8),
        currency=pages[0]["currency"] if pages else "",
    )


def side_by_side(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of a page with what another customer pays for them, in the page's order."""
    others = {item["item_id"]: item for item in second["items"]}
    return [
        {
            "item": item,
            "other": others[item["item_id"]],
            "difference": others[item["item_id"]]["price_minor"] - item["price_minor"],
        }
        for item in first["items"]
        if item["item_id"] in others
    ]


def _totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """In how many items and by how much the two differ."""
    differing = [row for row in rows if row["difference"]]
    ratios = [
        max(row["other"]["price_minor"], row["item"]["price_minor"])
        / min(row["other"]["price_minor"], row["item"]["price_minor"])
        for row in rows
    ]
    return {
        "differing": len(differing),
        "cheaper": sum(row["difference"] < 0 for row in rows),
        "dearer": sum(row["difference"] > 0 for row in rows),
        "widest": max(ratios, default=1.0) - 1,
    }


PAGE = Page("compare", "/compare", "Compare", "what two customers pay for the same items", show)
