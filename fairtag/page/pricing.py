"""A page of search results with a price for this customer: one function for the endpoint, evaluation and monitoring.

>>> page = price_page(model, PageInputs(rows, embedding, user, epoch))  # doctest: +SKIP

The caller brings the features, the price locks and the time; nothing here reads a store, a clock or a log.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import RequestError
from fairtag.base.types import Reason
from fairtag.model.capabilities import PERSONAL_PRICES
from fairtag.model.pricing_model import PricingModel
from fairtag.page.day_corridor import own_corridor, terms_of
from fairtag.page.explanation import explain_problem
from fairtag.page.page_prices import PagePrices, choose_prices
from fairtag.page.priced_page import PageInputs, PricedItem, PricedPage
from fairtag.page.problem import Floats, PageProblem, intent_of, legal_locks, page_problem, with_cut
from fairtag.page.reason_codes import price_reasons
from fairtag.policy.context import UserContext
from fairtag.policy.disclosure import DisclosureRule, read_disclosures
from fairtag.policy.guardrails import to_minor
from fairtag.policy.item_terms import ItemTerms, personal_place
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.search.query import SearchQuery
from fairtag.search.retrieval import SearchResult

__all__ = ["PageInputs", "PricedItem", "PricedPage", "explain_page", "price_page", "search", "why_not_personal"]


def price_page(model: PricingModel, inputs: PageInputs) -> PricedPage:
    """Price the items of a page, each beside what its logged pages are worth: no price depends on the others.

    Returns:
        One priced item for each row whose list price can be charged; the others are named in ``unpriced``. An empty
        page for no rows.
    """
    model = model.under(inputs.policy)
    inputs, unpriced = _on_offer(model, inputs)
    user = inputs.user
    rule = read_disclosures().rule_between(user.jurisdiction, *model.policy.days_of(inputs.epoch))
    refusal = _refusal(model, inputs, rule)
    terms = terms_of(model, inputs.rows, inputs.epoch, inputs.policy)
    inputs, personal_lock = _lawful_locks(inputs, refusal, terms)
    problem, chosen = _choose(model, inputs, refusal, rule, terms)
    from_data = np.full(len(inputs.rows), problem.behaviour is not None)
    from_data |= personal_lock & ~np.isnan(problem.fixed)
    from_data &= ~problem.impersonal & (~problem.settled | personal_lock)
    items = _items(problem, chosen, refusal, from_data & (refusal is None))
    personalised = any(item.personalised for item in items)
    return PricedPage(
        items=items,
        personalised=personalised,
        disclosure=rule.text if personalised else None,
        jurisdiction=rule.jurisdiction,
        expected_profit=chosen.profit,
        confidence=float(np.min(chosen.confidence, where=~np.isnan(chosen.confidence), initial=1.0)),
        epoch=inputs.epoch,
        model_version=model.version,
        currency=model.policy.currency,
        unpriced=unpriced,
    )


def explain_page(model: PricingModel, inputs: PageInputs) -> list[dict[str, Any]]:
    """Why each price of :func:`price_page` with the same inputs is what it is, in page order.

    Returns:
        For each item its id, list price, f (``base_minor``), the price and what each driver adds between them, whole
        minor units: the contributions sum to ``price - base``; and all of it in words (``summary``). An item out of
        stock is not priced, and has none. One whose list price cannot be charged is left out.
    """
    model = model.under(inputs.policy)
    inputs, _ = _on_offer(model, inputs)
    user = inputs.user
    rule = read_disclosures().rule_between(user.jurisdiction, *model.policy.days_of(inputs.epoch))
    refusal = _refusal(model, inputs, rule)
    terms = terms_of(model, inputs.rows, inputs.epoch, inputs.policy)
    inputs, _ = _lawful_locks(inputs, refusal, terms)
    return explain_problem(*_choose(model, inputs, refusal, rule, terms))


def _lawful_locks(
    inputs: PageInputs, refusal: Reason | None, terms: ItemTerms | None
) -> tuple[PageInputs, NDArray[np.bool_]]:
    """The inputs with one lock an item, and where that is a personal one: these count only where data may be used."""
    given = inputs.locked_personal
    if given is None or refusal is not None:
        return inputs, np.zeros(len(inputs.rows), dtype=bool)
    personal = ~np.isnan(given)
    if terms is not None:
        personal &= terms.personal
    public = np.full(len(inputs.rows), np.nan) if inputs.locked_price is None else inputs.locked_price
    return replace(inputs, locked_price=np.where(personal, given, public)), personal


def _on_offer(model: PricingModel, inputs: PageInputs) -> tuple[PageInputs, tuple[str, ...]]:
    """The page without items whose list price cannot be charged, and their ids."""
    unit, given = model.policy.limits.minor_per_unit, inputs.market
    market = model.market.rows(inputs.rows) if given is None else given.filled(model.market, inputs.rows, unit)
    offered = market.on_offer(unit)
    inputs = replace(inputs, market=market)
    if offered.all():
        return inputs, ()
    return inputs.only(offered), tuple(model.item_ids[row] for row in inputs.rows[~offered].tolist())


def _choose(
    model: PricingModel, inputs: PageInputs, refusal: Reason | None, rule: DisclosureRule, terms: ItemTerms | None
) -> tuple[PageProblem, PagePrices]:
    """The page's prices with every lock kept, and the problem that they solve.

    Data that may not move prices may still foresee what is bought, unless law or customer keep them out of everything.
    """
    corridor = inputs.corridor or own_corridor(model, inputs.rows, terms)
    shopper = _consented(inputs.user, why_not_personal(model.policy, inputs.user, rule))
    arm = inputs.arm
    withheld = refusal is not None or (arm is not None and arm.impersonal)
    inputs = replace(inputs, user=_anybody(inputs.user) if withheld else inputs.user)
    trial = arm is not None and arm.prices == "list" and model.may_price and not inputs.list_only
    problem = page_problem(
        model,
        inputs.rows,
        inputs.embedding,
        inputs.user,
        market=inputs.market,
        previous_price=inputs.previous_price,
        corridor=corridor,
        list_only=inputs.list_only or not model.may_price or trial,
        shopper=shopper,
        terms=terms,
        trial=trial,
    )
    if arm is not None and arm.prices == "uniform":
        problem = with_cut(problem, arm.cut)
    chosen = choose_prices(problem, inputs.epoch, inputs.user.user_id, secret=inputs.secret)
    if inputs.locked_price is None and inputs.price_ceiling is None:
        return problem, chosen
    return _keep_locks(problem, chosen, inputs)


def _keep_locks(problem: PageProblem, chosen: PagePrices, inputs: PageInputs) -> tuple[PageProblem, PagePrices]:
    """Impose the locks and ceilings that the page would break; no other price depends on them."""
    unit, absent = problem.model.policy.limits.minor_per_unit, np.full(len(inputs.rows), np.nan)
    given = absent if inputs.locked_price is None else inputs.locked_price
    ceiling = absent if inputs.price_ceiling is None else inputs.price_ceiling
    lock, capped = (legal_locks(problem.bounds, money, unit) for money in (given, ceiling))
    if problem.terms is not None:  # a price that the policy names may lower a promise, and never raises one
        named = problem.terms.settled | (problem.terms.cut > 0)
        lock = np.where(named & ~problem.terms.excluded & ~np.isnan(lock), np.fmin(lock, problem.bounds.hi), lock)
    half = 0.5 / unit
    due = np.where(np.isnan(lock), np.where(chosen.price > ceiling + half, capped, np.nan), lock)
    broken = np.abs(chosen.price - due) > half
    if not broken.any():
        return problem, chosen
    problem = replace(problem, fixed=np.where(broken, due, np.nan))
    return problem, choose_prices(problem, inputs.epoch, inputs.user.user_id, secret=inputs.secret)


def _consented(user: UserContext, refusal: Reason | None) -> UserContext:
    """The customer as pricing may see them: nobody in particular where their data stay out."""
    return user if refusal is None else _anybody(user)


def _anybody(user: UserContext) -> UserContext:
    return UserContext(jurisdiction=user.jurisdiction, opted_out=user.opted_out)


def _refusal(model: PricingModel, inputs: PageInputs, rule: DisclosureRule) -> Reason | None:
    """Why the customer's data stay out of the price: consent and law first, then what policy and decision accept."""
    refusal = why_not_personal(model.policy, inputs.user, rule)
    if refusal is None and inputs.policy is not None and not personal_place(inputs.policy, inputs.user.jurisdiction):
        return Reason.PERSONAL_STOPPED
    if refusal is None and PERSONAL_PRICES not in model.capabilities:
        return Reason.PERSONAL_NOT_ACCEPTED
    return refusal


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
    costed = np.isfinite(market.unit_cost)
    cost = np.where(costed, market.unit_cost, 0.0)
    held = ~np.isnan(problem.fixed)  # a lock stands where commercial bounds have moved, and is then a bound itself
    lo = np.where(held, np.minimum(bounds.lo, chosen.price), bounds.lo)
    hi = np.where(held, np.maximum(bounds.hi, chosen.price), bounds.hi)
    money = (market.list_price, chosen.price, problem.r, cost, lo, hi)
    amounts = to_minor(np.stack(money, axis=1), unit).tolist()
    rows = problem.rows.tolist()
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
            unit_cost_minor=cost if known else None,
            low_minor=low,
            high_minor=high,
            purchase_probability=probability if model.demand.learned else None,
            personalised=own,
            reasons=why,
            propensity=propensity,
        )
        for place, (
            row,
            (listed, price, reference, cost, low, high),
            known,
            own,
            why,
            (similarity, probability, propensity),
        ) in enumerate(zip(rows, amounts, costed.tolist(), personal, reasons, shares, strict=True), start=1)
    )


def search(
    model: PricingModel,
    asked: SearchQuery,
    embedding: NDArray[np.float32] | None,
    user: UserContext,
    k: int,
    *,
    stock: Floats | None = None,
    list_price: Floats | None = None,
) -> SearchResult:
    """What a query finds: catalogue rows of the k items in stock that fit intent and words best, best first.

    By embedding and by words, fused; where the model folder has a re-ranker the best of them are ordered by it.

    Args:
        model: The model folder.
        asked: What is searched for, from the model's query reader.
        embedding: (d,) unit vector of its text, None when there is no query.
        user: The customer; their history is part of the intent.
        k: Rows wanted.
        stock: (N,) units of every catalogue row now, NaN where unknown; the catalogue's when None.
        list_price: (N,) list price of every catalogue row now, money; the catalogue's when None.

    Raises:
        RequestError: There is neither a query nor a history to search by.
    """
    z = intent_of(model, embedding, user)
    if z is None:
        raise RequestError("query", asked.text, "a search needs a query or a customer with a history")
    unit, listed = model.policy.limits.minor_per_unit, None
    if asked.filters or asked.facets:
        listed = to_minor(model.market.list_price if list_price is None else list_price, unit)
    units = model.market.stock if stock is None else stock
    return model.retriever.search(asked, embedding, z, k, units, listed, unit)
