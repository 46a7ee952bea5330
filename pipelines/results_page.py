"""A priced page as a page that a person reads: titles, prices, discounts, reasons in plain words, the disclosure.

    write_results_page(Path("page.html"), request, page)

The HTML stands alone: no script, no font, no image is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fairtag.base.files import write_text
from fairtag.base.money import currency
from fairtag.base.types import Reason
from fairtag.model.decision import capability_rows

REASONS: Mapping[str, str] = {
    Reason.ANCHOR: "the usual price of such an item",
    Reason.DEMAND_HIGH_INTENT: "close match: less discount needed",
    Reason.DEMAND_PRICE_SENSITIVE: "more discount pays off here",
    Reason.STOCK_SCARCE: "few left in stock",
    Reason.STOCK_AGEING: "must be sold soon",
    Reason.COMPETITOR_CAP: "kept near a competitor's price",
    Reason.COST_FLOOR: "limited by cost and margin",
    Reason.MAP_FLOOR: "limited by the maker's lowest price",
    Reason.LIST_CEILING: "never above list",
    Reason.CHANGE_LIMIT: "limit on discount or change",
    Reason.FAIRNESS_CORRIDOR: "kept close to what others pay",
    Reason.PRICE_ENDING: "rounded to a price ending",
    Reason.LOW_CONFIDENCE_LIST: "standard price: no better one is sure",
    Reason.PRICES_NOT_ACCEPTED: "standard price: no other is proven yet",
    Reason.COST_UNKNOWN: "standard price: its cost is unknown",
    Reason.PERSONAL_NOT_ACCEPTED: "no personal prices yet",
    Reason.PERSONAL_STOPPED: "personal prices are switched off",
    Reason.OPTED_OUT: "the customer opted out",
    Reason.JURISDICTION_OFF: "no personal prices in this place",
    Reason.INFEASIBLE: "standard price: no other fits every limit",
    Reason.EXPLORATION: "drawn at random, to learn",
}


def reason_words(code: str) -> str:
    """A reason code in plain words; the code itself where a newer endpoint sends one that is not known here."""
    return REASONS.get(code, code)


def discount(item: Mapping[str, Any]) -> str:
    """How far a price lies below list, as it is shown; empty when it does not.

    >>> discount({"price_minor": 7_500, "list_price_minor": 10_000})
    '-25 %'
    """
    saved = item["list_price_minor"] - item["price_minor"]
    return f"-{max(1, round(100 * saved / item['list_price_minor']))} %" if saved > 0 else ""


def question(request: Mapping[str, Any]) -> str:
    """What was asked for: the query, or how many items of the shop's own search."""
    if request.get("query"):
        return str(request["query"])
    count = len(request.get("item_ids") or ())
    return f"{count} item{'' if count == 1 else 's'} of the shop's own search"


def understood(page: Mapping[str, Any]) -> list[str]:
    """What a search did to the query or found too little for, in sentences; empty where there is nothing to say."""
    corrected, notice = page.get("corrected_query"), page.get("notice")
    return [*([f"Searched for {corrected!r}."] if corrected else []), *([notice] if notice else [])]


def render(
    request: Mapping[str, Any],
    page: Mapping[str, Any],
    decision: Mapping[str, Any] | None = None,
) -> str:
    """The page as HTML.

    Args:
        request: The request that it answers.
        page: A page as the endpoint returns it; an item without a title is shown by its id.
        decision: The decision about the model, to say what it may do and what comes next.
    """
    environment = Environment(
        loader=PackageLoader("pipelines"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"reason": reason_words, "discount": discount}
    return environment.get_template("results_page.html").render(
        question=question(request),
        customer=request.get("user_id"),
        place=request.get("jurisdiction"),
        opted_out=request.get("opted_out", False),
        page=page,
        understood=understood(page),
        capabilities=capability_rows(decision) if decision else [],
        money=lambda minor, code: currency(code).text(minor),
        until=datetime.fromisoformat(page["expires_at"]).strftime("%d %B %Y, %H:%M %Z").lstrip("0"),
        lower=sum(item["price_minor"] < item["list_price_minor"] for item in page["items"]),
    )


def write_results_page(
    path: Path,
    request: Mapping[str, Any],
    page: Mapping[str, Any],
    decision: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page as one HTML file that needs no network; see :func:`render`."""
    return write_text(path, render(request, page, decision))
