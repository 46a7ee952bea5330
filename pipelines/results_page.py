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
from fairtag.model.decision import capability_rows
from fairtag.page.explanation_words import reason_words


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
