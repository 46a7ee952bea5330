"""A priced page as the answer that the shop gets, signed, and as the record that the quote log gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fairtag.base.pseudonym import random_id
from fairtag.page.priced_page import PricedPage
from fairtag.page.quote_rows import quote_record, reason_codes
from serving.page.customers import Pseudonyms, Visitor
from serving.page.page_task import PageResult
from serving.page.quotes import QuoteBook, rfc3339
from serving.protocol.payload import PageRequest
from serving.stores.quote_log import QuoteLog


def page_answer(
    result: PageResult,
    request: PageRequest,
    book: QuoteBook,
    session: str | None,
    now: float,
    *,
    user_age: float | None,
    unknown: list[str],
    texts: Sequence[Mapping[str, str | None]],
) -> dict[str, Any]:
    """The V1 prediction (:class:`serving.protocol.payload.Page`) of a priced page, signed.

    Args:
        result: The page.
        request: What was asked for.
        book: Signs the quote.
        session: The session that a guest is told; None for a customer.
        now: Unix time in seconds.
        user_age: Age of the customer's features, seconds; None where there are none.
        unknown: Items asked for that the catalogue lacks.
        texts: Title and other columns of each item, as far as they were asked for.
    """
    page = result.page
    assert page is not None, "a page is priced before it is answered"
    age = max((a for a in (result.age, user_age) if a is not None and math.isfinite(a)), default=None)
    quote_id = random_id().hex()
    prices = {item.item_id: item.price_minor for item in page.items}
    quote = book.sign(
        quote_id, request.user_id, prices, currency=page.currency, model_version=page.model_version, now=now
    )
    return {
        "quote_id": quote_id,
        "quote": quote,
        "session_id": session,
        "task": request.task,
        "issued_at": rfc3339(now),
        "expires_at": rfc3339(book.expiry(now)),
        "epoch": page.epoch,
        "currency": page.currency,
        "model_version": page.model_version,
        "personalised": page.personalised,
        "disclosure": page.disclosure,
        "feature_age_seconds": None if age is None else round(age, 3),
        "degraded": result.task.cause,
        "policy_version": result.task.policy_version,
        "experiment": None if (arm := result.task.arm) is None else arm.experiment,
        "arm": None if arm is None else arm.arm,
        **_search_fields(result),
        "unknown_items": unknown,
        "unpriced_items": list(page.unpriced),
        "items": [
            {
                "item_id": item.item_id,
                **text,
                "rank": item.rank,
                "similarity": item.similarity,
                "list_price_minor": item.list_price_minor,
                "price_minor": item.price_minor,
                "currency": page.currency,
                "personalised": item.personalised,
                "reasons": reason_codes(item.reasons),
                "purchase_probability": item.purchase_probability,
            }
            for item, text in zip(page.items, texts, strict=True)
        ],
    }


def _search_fields(result: PageResult) -> dict[str, Any]:
    """What an answer says about its search; nothing for a page of given items."""
    asked, found = result.task.asked, result.found
    if asked is None or found is None:
        return dict.fromkeys(("corrected_query", "price_min_minor", "price_max_minor", "notice")) | {"facets": []}
    return {
        "corrected_query": asked.corrected,
        "price_min_minor": asked.filters.low_minor,
        "price_max_minor": asked.filters.high_minor,
        "notice": found.notice,
        "facets": [asdict(facet) for facet in found.facets],
    }


def log_page(
    log: QuoteLog,
    page: PricedPage,
    answer: Mapping[str, Any],
    request: PageRequest,
    visitor: Visitor,
    pseudonyms: Pseudonyms,
    now: float,
) -> None:
    """Hand an answered page to the quote log.

    Args:
        log: Takes it without waiting.
        page: The page.
        answer: Its answer.
        request: What was asked for.
        visitor: Who asked; a guest's session has a name in the log only while an experiment runs.
        pseudonyms: Give it.
        now: Unix time of the request in seconds.
    """
    guest = visitor.session if answer["experiment"] is not None else None
    record = quote_record(
        page,
        quote_id=answer["quote_id"],
        ts=int(now * 1_000_000),
        task=request.task,
        user_key=visitor.user_key,
        query=request.query,
        degraded=answer["degraded"],
        policy_version=answer["policy_version"],
        experiment=answer["experiment"],
        arm=answer["arm"],
        guest_key=None if guest is None else pseudonyms.guest_keys(guest)[0],
        feature_age_seconds=answer["feature_age_seconds"],
    )
    log.put(record)
