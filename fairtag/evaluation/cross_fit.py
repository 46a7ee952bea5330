"""The whole log as evidence: prices on pages that their own demand did not see.

A hold-out of a quarter of the log tells prices from others only where they differ much. So demand is fitted again
without one fold of the customers at a time, and the prices that follow are scored on that fold's pages before the
hold-out; the challenger itself is scored on the hold-out. What is judged is what this shop's log teaches, by a little
less of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.data.splits import unit_hash
from fairtag.demand.config import DemandConfig
from fairtag.demand.elasticity import check_elasticity, with_cross_check
from fairtag.demand.fit import fit_demand
from fairtag.demand.intents import impression_similarity
from fairtag.encoder.encoder import Role
from fairtag.evaluation.calibration_gate import inputs_of
from fairtag.model.capabilities import ALL
from fairtag.model.pricing_model import PricingModel
from fairtag.page.page_prices import choose_prices
from fairtag.page.problem import page_problem
from fairtag.policy.context import MarketContext, UserContext
from fairtag.stock.shadow_prices import counted_cost, floor_cost
from fairtag.training.corridors import place_corridors
from fairtag.training.page_values import page_values

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK_ROWS = 16_384  # impressions priced at a time
FOLD_SALT = "fold"  # hash salt of the customers' folds


@dataclass(frozen=True)
class LoggedPrices:
    """A model's prices for logged impressions, arrays (n,) in money.

    Args:
        public: The same for every customer.
        personal: With the customer's data where they are known; never above the public one.
        floor: Lowest price that limits and costs allow, whatever the corridor.
    """

    public: Floats
    personal: Floats
    floor: Floats


def price_log(model: PricingModel, rows: pd.DataFrame, vectors: Mapping[str, NDArray[np.float32]]) -> LoggedPrices:
    """Price logged impressions as the endpoint would have, exploration aside: a draw of it is noise to an evaluation.

    No price depends on the others of its page, so all rows are priced at once.

    Args:
        model: The model folder.
        rows: (n,) impressions with their features, whose items are all in the model's catalogue.
        vectors: Embedding of each of their queries; they move prices only where the policy says so.
    """
    certain = replace(model, policy=replace(model.policy, exploration=0.0), capabilities=ALL)
    similarity = np.full(len(rows), model.demand.scaling.similarity)
    if model.policy.similarity_in_price:
        alpha = model.policy.intent_alpha
        similarity = impression_similarity(rows, vectors, model.embeddings, model.row_of, alpha=alpha)
    parts = [
        _price_rows(certain, rows.iloc[at : at + CHUNK_ROWS], similarity[at : at + CHUNK_ROWS])
        for at in range(0, len(rows), CHUNK_ROWS)
    ]
    return LoggedPrices(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _price_rows(model: PricingModel, rows: pd.DataFrame, similarity: Floats) -> tuple[Floats, Floats, Floats]:
    item = np.array([model.row_of[name] for name in rows[schema.ITEM_ID]], dtype=np.int64)
    market = MarketContext.of(rows)
    problem = page_problem(model, item, None, UserContext(), market=market, list_only=not model.may_price)
    problem = replace(problem, similarity=similarity)
    behaviour = rows[list(schema.USER_PRICING_FEATURES)].to_numpy(dtype=np.float64)
    public = choose_prices(problem, 0).price
    personal = public
    if model.policy.personalise:
        personal = choose_prices(replace(problem, behaviour=behaviour), 0).price
    cost, ageing = counted_cost(problem.market, model.estimates.sales_rate[item])
    free = problem.market.bounds(model.policy.limits, floor_cost(cost, ageing))
    return public, personal, np.minimum(free.lo, free.fallback)


def folds(users: pd.Series[str], count: int) -> Ints:
    """Fold of the customer of each row, 0 to ``count - 1``, by hash."""
    fold = {user: int(unit_hash(str(user), FOLD_SALT) * count) for user in users.unique()}
    return users.map(fold).to_numpy(dtype=np.int64)


@dataclass(frozen=True)
class KnownQueries:
    """An encoder that knows the queries of a log, so that they are embedded once for all folds.

    Args:
        vectors: Unit vector (d,) of each query.
        dimension: Length d of an embedding.
    """

    vectors: Mapping[str, NDArray[np.float32]]
    dimension: int

    def encode(self, texts: Sequence[str], role: Role, batch_size: int = 64) -> NDArray[np.float32]:  # noqa: ARG002  # the protocol's
        """(n, d) rows of known queries."""
        return np.stack([self.vectors[text] for text in texts])


def refit_prices(
    model: PricingModel, early: pd.DataFrame, vectors: Mapping[str, NDArray[np.float32]], count: int, seed: int
) -> LoggedPrices:
    """Prices for the impressions before the hold-out, each by demand fitted without its customer's fold.

    The fold's demand is fitted and cross-checked, its pages are valued and its corridors placed as the model's own
    were; text, f(v) and the value of stock stay the model's.

    Args:
        model: The challenger.
        early: (n,) the impressions that it was fitted on.
        vectors: Embedding of each of their queries.
        count: Folds.
        seed: Seed of the cross-check and the corridors.
    """
    known = replace(model, encoder=KnownQueries(vectors, model.encoder.dimension))
    fold = folds(early[schema.USER_ID], count)
    columns = np.full((3, len(early)), np.nan)
    for number in range(count):
        inside = fold == number
        if inside.any():
            columns[:, inside] = _refit(known, vectors, early[~inside], early[inside], seed)
    return LoggedPrices(*columns)


def _refit(
    model: PricingModel,
    vectors: Mapping[str, NDArray[np.float32]],
    others: pd.DataFrame,
    own: pd.DataFrame,
    seed: int,
) -> Floats:
    """(3, n) prices of a fold by demand of the other folds; list where that demand cannot be learned."""
    if not others[schema.PURCHASED].astype(bool).any():
        listed = own[schema.LIST_PRICE].to_numpy(dtype=np.float64)
        return np.stack([listed, listed, price_log(model, own, vectors).floor])
    data = inputs_of(model, others)
    demand = fit_demand(data, DemandConfig())
    checked = with_cross_check(demand, check_elasticity(demand, data, seed=seed))
    fitted = replace(model, demand=checked)
    fitted = replace(fitted, estimates=replace(model.estimates, page_value=page_values(fitted, data)))
    corridor = place_corridors(fitted, data, seed=seed)
    prices = price_log(replace(fitted, estimates=replace(fitted.estimates, corridor_low=corridor)), own, vectors)
    return np.stack([prices.public, prices.personal, prices.floor])
