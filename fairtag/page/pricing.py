"""A page of search results with a price for this customer: the one function behind endpoint, evaluation and monitors.

Knows the model folder and the request; nothing of HTTP, feature stores, clocks or logs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import RequestError
from fairtag.base.types import Reason
from fairtag.model.pricing_model import PricingModel
from fairtag.page.day_corridor import EpochCorridor
from fairtag.page.explanation import explain_problem
from fairtag.page.page_prices import PagePrices, choose_prices
from fairtag.page.priced_page import PricedItem, PricedPage
from fairtag.page.problem import Floats, PageProblem, Rows, intent_of, page_problem
from fairtag.page.reason_codes import price_reasons
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.disclosure import DisclosureRule, read_disclosures
from fairtag.policy.guardrails import to_minor
from fairtag.policy.pricing_policy import PricingPolicy

__all__ = ["PricedItem", "PricedPage", "explain_page", "price_page", "retrieve", "why_not_personal"]


def price_page(
    model: PricingModel,
    rows: Rows,
    query_embedding: NDArray[np.float32] | None,
    user: UserContext,
    *,
    epoch: int,
    market: MarketContext | None = None,
    previous_price: Floats | None = None,
    fixed_price: Floats | None = None,
    fixed_personal: bool = False,
    corridor: EpochCorridor | None = None,
    list_only: bool = False,
) -> PricedPage:
    """Price the items of a page together.

    Args:
        model: The model folder.
        rows: (n,) catalogue rows in page order, each at most once.
        query_embedding: (d,) unit vector of the query, None when there is no query.
        user: The customer; whether their data is used follows from consent, jurisdiction and policy.
        epoch: Price epoch of the request, ``policy.epoch_of(now)``.
        market: Fresh money and stock of the items; the catalogue's when None.
        previous_price: (n,) price last shown to the customer, NaN where none.
        fixed_price: (n,) price promised to the customer for this epoch, NaN where none; it is kept.
        fixed_personal: The promises were made from the customer's data: such a price is personal and is disclosed,
            although the data themselves are not here now.
        corridor: (n,) the corridor of the epoch, where a price of it was given before; the model's own when None.
        list_only: Every item without a promise carries list, held inside the legal bounds: a page whose features are
            missing.

    Returns:
        One priced item for each row. An empty page for no rows.
    """
    rule = read_disclosures().rule_between(user.jurisdiction, *model.policy.days_of(epoch))
    refusal = why_not_personal(model.policy, user, rule)
    who = _consented(user, refusal)
    problem = page_problem(
        model,
        rows,
        query_embedding,
        who,
        market=market,
        previous_price=previous_price,
        fixed_price=fixed_price,
        corridor=corridor,
        list_only=list_only,
    )
    chosen = choose_prices(problem, epoch, who.user_id)
    used_data = problem.behaviour is not None or bool(who.history_items)
    from_data = used_data | (fixed_personal & ~np.isnan(problem.fixed))
    items = _items(problem, chosen, refusal, from_data & (refusal is None))
    personalised = any(item.personalised for item in items)
    return PricedPage(
        items=items,
        personalised=personalised,
        disclosure=rule.text if personalised else None,
        jurisdiction=rule.jurisdiction,
        expected_profit=chosen.profit,
        confidence=chosen.confidence,
        epoch=epoch,
        model_version=model.version,
        currency=model.policy.currency,
    )


def explain_page(
    model: PricingModel,
    rows: Rows,
    query_embedding: NDArray[np.float32] | None,
    user: UserContext,
    *,
    epoch: int,
    market: MarketContext | None = None,
    previous_price: Floats | None = None,
    fixed_price: Floats | None = None,
    corridor: EpochCorridor | None = None,
    list_only: bool = False,
) -> list[dict[str, Any]]:
    """Why each price of :func:`price_page` with the same arguments is what it is, in page order.

    Returns:
        For each item its id, f (``base_minor``), the price and what each driver adds between them, minor units:
        the contributions sum to ``price - base``. An item out of stock is not priced, and has none.
    """
    rule = read_disclosures().rule_between(user.jurisdiction, *model.policy.days_of(epoch))
    who = _consented(user, why_not_personal(model.policy, user, rule))
    problem = page_problem(
        model,
        rows,
        query_embedding,
        who,
        market=market,
        previous_price=previous_price,
        fixed_price=fixed_price,
        corridor=corridor,
        list_only=list_only,
    )
    return explain_problem(problem, choose_prices(problem, epoch, who.user_id))


def _consented(user: UserContext, refusal: Reason | None) -> UserContext:
    """The customer as pricing may see them: nobody in particular where their data stay out."""
    return user if refusal is None else UserContext(jurisdiction=user.jurisdiction, opted_out=user.opted_out)


def why_not_personal(policy: PricingPolicy, user: UserContext, rule: DisclosureRule) -> Reason | None:
    """The reason why the customer's data stay out of the price; None when they may be used."""
    if user.opted_out:
        return Reason.OPTED_OUT
    if not policy.personalise or not rule.personalisation:
        return Reason.JURISDICTION_OFF
    return None


def _items(
    problem: PageProblem, chosen: PagePrices, refusal: Reason | None, from_data: NDArray[np.bool_]
) -> tuple[PricedItem, ...]:
    model, unit = problem.model, problem.model.policy.limits.minor_per_unit
    reasons = price_reasons(problem, chosen, refusal)
    market, bounds = problem.market, problem.bounds
    money = (market.list_price, chosen.price, problem.r, market.unit_cost, bounds.lo, bounds.hi)
    amounts = to_minor(np.stack(money, axis=1), unit).tolist()
    personal = (from_data & bounds.feasible & ~chosen.at_list).tolist()
    shares = zip(
        problem.similarity.tolist(), chosen.probability.tolist(), chosen.propensity.tolist(), strict=True
    )  # plain numbers: an array gives them out one by one at ten times the cost
    return tuple(
        PricedItem(
            item_id=model.item_ids[row],
            category=str(model.categories[row]),
            rank=place,
            similarity=similarity,
            list_price_minor=listed,
            price_minor=price,
            reference_price_minor=reference,
            unit_cost_minor=cost,
            low_minor=low,
            high_minor=high,
            purchase_probability=probability,
            personalised=own,
            reasons=why,
            propensity=propensity,
        )
        for place, (
            row,
            (listed, price, reference, cost, low, high),
            own,
            why,
            (similarity, probability, propensity),
        ) in enumerate(zip(problem.rows.tolist(), amounts, personal, reasons, shares, strict=True), start=1)
    )


def retrieve(
    model: PricingModel,
    query_embedding: NDArray[np.float32] | None,
    query: str,
    user: UserContext,
    k: int,
    *,
    stock: Floats | None = None,
) -> Rows:
    """Catalogue rows of the k items in stock that fit intent and words best, best first.

    By embedding and by words, fused; where the model folder has a re-ranker the best of them are ordered by it.

    Args:
        model: The model folder.
        query_embedding: (d,) unit vector of the query, None when there is no query.
        query: The words of the query.
        user: The customer; their history is part of the intent.
        k: Rows wanted.
        stock: (N,) units of every catalogue row now, NaN where unknown; the catalogue's when None.

    Raises:
        RequestError: There is neither a query nor a history to search by.
    """
    z = intent_of(model, query_embedding, user)
    if z is None:
        raise RequestError("query", query, "a search needs a query or a customer with a history")
    return model.retriever.retrieve(z, query, k, model.market.stock if stock is None else stock)
