"""A priced page as the answer a customer's shop gets and as the record the quote log keeps."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fairtag.base import schema
from fairtag.base.types import Reason
from serving.page.quotes import QuoteBook
from serving.protocol.payload import PageRequest

if TYPE_CHECKING:
    from fairtag.page.pricing import PricedPage


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


def quote_record(
    page: PricedPage, request: PageRequest, answer: Mapping[str, Any], subject: str, now: float
) -> dict[str, Any]:
    """The page as rows of the quote log: a list for each column of the items, one value for each of the page."""
    items = page.items
    return {
        schema.QUOTE_ID: answer["quote_id"],
        schema.TS: int(now * 1_000_000),
        schema.MODEL_VERSION: page.model_version,
        schema.TASK: request.task,
        schema.USER_KEY: subject or None,
        schema.QUERY: request.query,
        schema.ITEM_ID: [item.item_id for item in items],
        schema.CATEGORY: [item.category for item in items],
        schema.RANK: [item.rank for item in items],
        schema.SIMILARITY: [item.similarity for item in items],
        schema.LIST_PRICE_MINOR: [item.list_price_minor for item in items],
        schema.PRICE_MINOR: [item.price_minor for item in items],
        schema.REFERENCE_PRICE_MINOR: [item.reference_price_minor for item in items],
        schema.UNIT_COST_MINOR: [item.unit_cost_minor for item in items],
        schema.LOW_MINOR: [item.low_minor for item in items],
        schema.HIGH_MINOR: [item.high_minor for item in items],
        schema.PURCHASE_PROBABILITY: [item.purchase_probability for item in items],
        schema.PERSONALISED: [item.personalised for item in items],
        schema.REASONS: [reason_codes(item.reasons) for item in items],
        schema.PROPENSITY: [item.propensity for item in items],
        schema.JURISDICTION: page.jurisdiction,
        schema.DISCLOSURE: page.disclosure,
        schema.DEGRADED: answer["degraded"],
        schema.CURRENCY: page.currency,
        schema.EPOCH: page.epoch,
        schema.FEATURE_AGE_SECONDS: answer["feature_age_seconds"],
    }


@lru_cache(maxsize=4_096)
def reason_codes(reasons: tuple[Reason, ...]) -> list[str]:
    """The codes as plain texts; few combinations ever occur, and an enumeration's value is slow to read."""
    return [reason.value for reason in reasons]


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
