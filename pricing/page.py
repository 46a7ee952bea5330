"""A page of search results with a price for this customer: the one function behind endpoint, evaluation and monitors.

Knows the bundle and the request; nothing of HTTP, feature stores, clocks or logs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pricing.context import MarketContext, UserContext
from pricing.disclosure import DisclosureRule, read_disclosures
from pricing.errors import RequestError
from pricing.guardrails import binding_reasons, to_minor
from pricing.model_bundle import PricingModel
from pricing.page_problem import Floats, PageProblem, Rows, best_prices, intent_of, page_problem
from pricing.policy import PricingPolicy
from pricing.posterior import probability_better
from pricing.reasons import Reason
from pricing.similarity import top_k
from pricing.solver import page_value

SLOPE_MOVED = 0.01  # relative change of the slope past which the customer, not the market, explains the price


@dataclass(frozen=True)
class PricedItem:
    """One item of a priced page; money in integer minor units.

    Args:
        item_id: The item.
        category: Its category.
        rank: Position on the page, 1 first.
        similarity: s to the intent, in [0, 1].
        list_price_minor: What everyone may pay.
        price_minor: What this customer is asked.
        reference_price_minor: r, the unit of the demand model.
        unit_cost_minor: Cost.
        low_minor: Lower bound in force.
        high_minor: Upper bound in force.
        purchase_probability: q at the price, 0 for an item out of stock.
        personalised: The customer's data took part in this price.
        reasons: Why the price is what it is.
        propensity: Probability with which this price was chosen; 1 unless explored.
    """

    item_id: str
    category: str
    rank: int
    similarity: float
    list_price_minor: int
    price_minor: int
    reference_price_minor: int
    unit_cost_minor: int
    low_minor: int
    high_minor: int
    purchase_probability: float
    personalised: bool
    reasons: tuple[Reason, ...]
    propensity: float = 1.0


@dataclass(frozen=True)
class PricedPage:
    """A priced page.

    Args:
        items: In the order of the request.
        personalised: Whether the customer's data took part in any price.
        disclosure: What must be shown beside the prices, byte for byte; None where nothing must.
        jurisdiction: The row of the disclosure table that was applied.
        expected_profit: Expected profit of the page at these prices, currency units.
        confidence: Posterior probability that these prices beat the list prices; NaN where nothing was optimised.
        epoch: Price epoch.
        model_version: Version of the bundle.
        currency: ISO 4217 code.
    """

    items: tuple[PricedItem, ...]
    personalised: bool
    disclosure: str | None
    jurisdiction: str
    expected_profit: float
    confidence: float
    epoch: int
    model_version: str
    currency: str


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
) -> PricedPage:
    """Price the items of a page together.

    Args:
        model: The bundle.
        rows: (n,) catalogue rows in page order, each at most once.
        query_embedding: (d,) unit vector of the query, None when there is no query.
        user: The customer; whether their data is used follows from consent, jurisdiction and policy.
        epoch: Price epoch of the request, ``policy.epoch_of(now)``.
        market: Fresh money and stock of the items; the catalogue's when None.
        previous_price: (n,) price last shown to the customer, NaN where none.
        fixed_price: (n,) price promised to the customer for this epoch, NaN where none; it is kept.

    Returns:
        One priced item for each row. An empty page for no rows.
    """
    rule = read_disclosures().rule(user.jurisdiction, model.policy.day_of(epoch))
    refusal = why_not_personal(model.policy, user, rule)
    who = user if refusal is None else UserContext(jurisdiction=user.jurisdiction, opted_out=user.opted_out)
    problem = page_problem(
        model,
        rows,
        query_embedding,
        who,
        market=market,
        previous_price=previous_price,
        fixed_price=fixed_price,
    )
    chosen = choose_prices(problem, seed=epoch)
    used_data = refusal is None and (problem.behaviour is not None or bool(who.history_items))
    items = _items(problem, chosen, refusal, used_data)
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


def why_not_personal(policy: PricingPolicy, user: UserContext, rule: DisclosureRule) -> Reason | None:
    """The reason why the customer's data stay out of the price; None when they may be used."""
    if user.opted_out:
        return Reason.OPTED_OUT
    if not policy.personalise or not rule.personalisation:
        return Reason.JURISDICTION_OFF
    return None


@dataclass(frozen=True)
class ChosenPrices:
    """Prices of a page before they become a document.

    Args:
        price: (n,) money.
        probability: (n,) purchase probabilities.
        profit: Expected profit of the page, money.
        confidence: Posterior probability of beating list.
        at_list: (n,) items that carry the fallback for want of confidence.
    """

    price: Floats
    probability: Floats
    profit: float
    confidence: float
    at_list: NDArray[np.bool_]


def choose_prices(problem: PageProblem, seed: int) -> ChosenPrices:
    """Solve the page; serve list unless the posterior is sure enough that the solution is better."""
    policy = problem.model.policy
    free = np.isnan(problem.fixed)
    fallback = np.where(free, problem.bounds.fallback, problem.fixed)
    best = best_prices(problem.solve(), problem.r, problem.listed, fallback, problem.fixed)
    confidence = _confidence(problem, best, fallback, seed)
    unsure = confidence < policy.confidence
    price = fallback if unsure else best
    value, probability = _value(problem, price)
    at_list = free & problem.bounds.feasible & (~problem.model.demand.priceable(problem.rows) | unsure)
    return ChosenPrices(price, probability, value, confidence, at_list)


def _confidence(problem: PageProblem, best: Floats, fallback: Floats, seed: int) -> float:
    """Pr(U(best) > U(list)) over posterior draws; NaN, which is never too low, where the two are the same."""
    if np.array_equal(best, fallback):
        return float("nan")
    policy = problem.model.policy
    a, b = problem.model.demand.draws(
        problem.rows, problem.similarity, problem.behaviour, n_draws=policy.posterior_draws, seed=seed
    )
    return probability_better(
        a,
        b,
        best / problem.r,
        fallback / problem.r,
        problem.cost,
        problem.anchor,
        shadow=problem.shadow,
        margin_weight=policy.margin_weight * problem.weight,
        anchor_weight=policy.anchor_weight * problem.weight,
        mask=problem.on_sale,
    )


def _value(problem: PageProblem, price: Floats) -> tuple[float, Floats]:
    """Expected profit in money, and purchase probabilities, of given prices."""
    a, b = problem.demand
    _, q = page_value(price / problem.r, a, b, problem.cost, mask=problem.on_sale)
    return float(q @ (price - problem.market.unit_cost)), q


def _items(
    problem: PageProblem, chosen: ChosenPrices, refusal: Reason | None, used_data: bool
) -> tuple[PricedItem, ...]:
    model, unit = problem.model, problem.model.policy.limits.minor_per_unit
    reasons = _reasons(problem, chosen, refusal)
    columns = zip(
        *(
            to_minor(money, unit).tolist()
            for money in (
                problem.market.list_price,
                chosen.price,
                problem.r,
                problem.market.unit_cost,
                problem.bounds.lo,
                problem.bounds.hi,
            )
        ),
        strict=True,
    )
    personal = used_data & problem.bounds.feasible & ~chosen.at_list
    return tuple(
        PricedItem(
            item_id=model.item_ids[row],
            category=str(model.categories[row]),
            rank=place + 1,
            similarity=float(problem.similarity[place]),
            list_price_minor=listed,
            price_minor=price,
            reference_price_minor=reference,
            unit_cost_minor=cost,
            low_minor=low,
            high_minor=high,
            purchase_probability=float(chosen.probability[place]),
            personalised=bool(personal[place]),
            reasons=reasons[place],
        )
        for place, (row, (listed, price, reference, cost, low, high)) in enumerate(
            zip(problem.rows, columns, strict=True)
        )
    )


def _reasons(problem: PageProblem, chosen: ChosenPrices, refusal: Reason | None) -> list[tuple[Reason, ...]]:
    """Consent first, then what moved the price, then what bounded it."""
    first = () if refusal is None else (refusal,)
    moved = _movers(problem)
    bounding = binding_reasons(chosen.price, problem.bounds)
    found = []
    for place in range(len(problem.rows)):
        if not problem.bounds.feasible[place]:
            found.append((*first, Reason.INFEASIBLE))
        elif chosen.at_list[place]:
            found.append((*first, Reason.LOW_CONFIDENCE_LIST))
        else:
            inside = () if bounding[place] else (Reason.PRICE_ENDING,)
            found.append((*first, *moved[place], *bounding[place], *inside))
    return [tuple(dict.fromkeys(row)) for row in found]


def _movers(problem: PageProblem) -> list[tuple[Reason, ...]]:
    """Demand against the same items for nobody in particular; stock; the anchor."""
    model = problem.model
    usual = np.full(len(problem.rows), model.demand.standard.similarity)
    _, slope = problem.demand
    _, base = model.demand.page(problem.rows, usual)
    ratio = slope / base
    marks = (
        (ratio > 1 + SLOPE_MOVED, Reason.DEMAND_PRICE_SENSITIVE),
        (ratio < 1 - SLOPE_MOVED, Reason.DEMAND_HIGH_INTENT),
        (problem.shadow > 0, Reason.STOCK_SCARCE),
        (np.full(len(ratio), model.policy.anchor_weight > 0), Reason.ANCHOR),
    )
    return [tuple(reason for mask, reason in marks if mask[place]) for place in range(len(ratio))]


def retrieve(
    model: PricingModel, query_embedding: NDArray[np.float32] | None, query: str, user: UserContext, k: int
) -> Rows:
    """Catalogue rows of the k items in stock that are closest to the intent, best first.

    Raises:
        RequestError: There is neither a query nor a history to search by.
    """
    z = intent_of(model, query_embedding, user)
    if z is None:
        raise RequestError("query", query, "a search needs a query or a customer with a history")
    sold_out = model.market.stock <= 0
    rows, _ = top_k(z, model.embeddings, k + int(sold_out.sum()))
    return rows[~sold_out[rows]][:k]
