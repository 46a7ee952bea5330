"""A priced page as the answer that the shop gets, with its signed quote."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from fairtag.page.priced_page import PricedPage
from fairtag.page.quote_rows import reason_codes
from serving.page.quotes import QuoteBook
from serving.protocol.payload import PageRequest


def page_answer(
    page: PricedPage,
    request: PageRequest,
    book: QuoteBook,
    *,
    subject: str,
    now: float,
    age: float | None,
    cause: str | None,
    unknown: list[str],
) -> dict[str, Any]:
    """The V1 prediction (:class:`serving.protocol.payload.Page`) of a page, signed.

    Args:
        page: The priced page.
        request: What was asked for.
        book: Signs the quote.
        subject: Keyed hash of the user, empty for nobody.
        now: Unix time in seconds.
        age: Age of the oldest feature used, seconds.
        cause: Why the page is at list prices, None when it is whole.
        unknown: Items asked for that the catalogue lacks.
    """
    quote_id = uuid.uuid4().hex
    prices = {item.item_id: item.price_minor for item in page.items}
    quote = book.sign(quote_id, subject, prices, currency=page.currency, model_version=page.model_version, now=now)
    return {
        "quote_id": quote_id,
        "quote": quote,
        "task": request.task,
        "issued_at": _rfc3339(now),
        "expires_at": _rfc3339(book.expiry(now)),
        "epoch": page.epoch,
        "currency": page.currency,
        "model_version": page.model_version,
        "personalised": page.personalised,
        "disclosure": page.disclosure,
        "feature_age_seconds": None if age is None else round(age, 3),
        "degraded": cause,
        "unknown_items": unknown,
        "items": [
            {
                "item_id": item.item_id,
                "rank": item.rank,
                "similarity": item.similarity,
                "list_price_minor": item.list_price_minor,
                "price_minor": item.price_minor,
                "currency": page.currency,
                "personalised": item.personalised,
                "reasons": reason_codes(item.reasons),
                "purchase_probability": item.purchase_probability,
            }
            for item in page.items
        ],
    }


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
