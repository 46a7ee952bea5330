"""The value of a unit of stock: shadow prices of scarce stock, salvage value of ageing stock.

Prices and shadow prices are in units of the item's reference price r, stock and demand in units over the horizon
(docs/pricing-model.md, section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from fairtag.policy.context import MarketContext
from fairtag.solver.cells import Cells
from fairtag.solver.nested_pages import solve_nested_pages
from fairtag.solver.page_arrays import Flags, Floats
from fairtag.solver.page_solver import PageSolution, solve_pages

SLACKNESS = 1e-6  # |mu * slack| and excess demand stay below this share of the stock
TARGET = 1e-9  # at which the iteration stops
MAX_STEPS = 60  # Newton steps; it takes 4 to 12
FLAT = 1e-12  # relative change of the dual below float64's resolution
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-10, 1e9  # of a Newton step, as shares of its own curvature


@dataclass(frozen=True)
class ShadowPrices:
    """Shadow price of a unit of stock of each of ``N`` items.

    Args:
        mu: Shadow prices, >= 0; the page solver takes them as ``shadow``.
        demand: Expected units sold over the horizon at the prices to which ``mu`` leads.
        slack: ``stock - demand``; infinite where stock is not limited.
        short: True where demand exceeds stock although ``mu`` takes all the margin of the highest allowed price. No
            price sells less, so units must be withheld.
        iterations: Newton steps.
        converged: Whether ``|mu * slack| < 1e-6 stock`` and ``demand <= stock (1 + 1e-6)`` hold where not short.
    """

    mu: Floats
    demand: Floats
    slack: Floats
    short: Flags
    iterations: int
    converged: bool


def shadow_prices(
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    anchor: ArrayLike,
    lo: ArrayLike,
    hi: ArrayLike,
    *,
    items: NDArray[np.int64],
    stock: ArrayLike,
    traffic: ArrayLike = 1.0,
    margin_weight: ArrayLike = 1.0,
    anchor_weight: float = 0.0,
    nest: NDArray[np.int64] | None = None,
    dissimilarity: ArrayLike = 1.0,
) -> ShadowPrices:
    """Shadow prices at which expected demand meets stock, over all pages of a horizon at once.

    The Lagrangian dual ``D(mu) = sum_p traffic_p U_p(mu) + sum_i w_i mu_i stock_i`` is convex with slope
    ``w (stock - demand)``. It is minimised over ``0 <= mu <= hi - cost`` by projected, damped Newton steps with the
    exact curvature of the page optimum. Prices are taken from intervals: on menus demand would jump, and no mu would
    meet the stock. With a large ``anchor_weight`` it can jump as well (an item is priced out at ``hi``); ``converged``
    is then false, and mu does not protect the stock.

    Args:
        a: Utilities, ``(P, n)``; as in :func:`fairtag.solver.page_solver.solve_pages`, like ``b`` to ``hi``.
        b: Price slopes.
        cost: Unit costs.
        anchor: Prices that the anchor term pulls to.
        lo: Lower bounds.
        hi: Upper bounds, finite.
        items: ``(P, n)``, number of the item in each place, -1 for an empty place.
        stock: ``(N,)`` units. NaN or infinity: not limited. 0 or less: sold out, and the item is not shown.
        traffic: ``(P,)``, how often each page is shown over the horizon.
        margin_weight: w, one for all items or ``(N,)``.
        anchor_weight: lambda.
        nest: ``(P, n)``, nest of the item in each place; every item is alone when None.
        dissimilarity: ``(P, n)``, zeta of each, the same within a nest; 1 is the plain logit.

    Example: one page, shown 100 times, with one item of which 10 units are left.

        >>> stock = shadow_prices(
        ...     [[4.0]], [[5.0]], 0.6, 1.0, 0.0, 2.0, items=np.array([[0]]), stock=[10.0], traffic=[100.0]
        ... )
        >>> stock.mu.round(3).tolist(), stock.demand.round(3).tolist(), stock.converged
        ([0.417], [10.0], True)
    """
    supply = np.where(np.isnan(np.asarray(stock, float)), np.inf, stock)
    market = _Market(
        tuple(np.broadcast_to(np.asarray(x, float), items.shape) for x in (a, b, cost, anchor, lo, hi)),
        items,
        (items >= 0) & (supply[items] > 0),
        np.broadcast_to(np.asarray(traffic, float), items.shape[:1]),
        np.broadcast_to(np.asarray(margin_weight, float), supply.shape),
        float(anchor_weight),
        supply,
        nest,
        np.broadcast_to(np.asarray(dissimilarity, float), items.shape),
    )
    cap = _cap(market)
    state = _evaluate(market, np.zeros_like(supply))
    steps, damping = 0, FIRST_DAMPING
    while steps < MAX_STEPS and _violation(market, state, cap) > TARGET:
        steps += 1
        moved = _newton_step(market, state, cap, damping)
        if moved is None:
            break
        state, damping = moved
    return _report(market, state, cap, steps)


def ageing_cost(
    unit_cost: ArrayLike, salvage: ArrayLike, stock: ArrayLike, demand: ArrayLike
) -> tuple[Floats, NDArray[np.bool_]]:
    """Cost that pricing counts for each item, and whether it is the salvage value.

    A unit that will not sell before its life ends costs what it would still fetch, not what it was bought for. This is
    exact for stock that is not replenished: the gain of a sale is ``p - salvage - mu``, with mu from
    :func:`shadow_prices`. The guardrails must use the same cost, or the cost floor keeps the price up.

    Args:
        unit_cost: Money or units of r.
        salvage: What an unsold unit fetches, in the same unit; NaN where unknown, negative for disposal.
        stock: Units on hand.
        demand: Units expected to sell before they expire, at prices set on ``unit_cost``.

    >>> cost, ageing = ageing_cost([5.0, 5.0], salvage=[1.0, 1.0], stock=[20.0, 20.0], demand=[30.0, 8.0])
    >>> cost.tolist(), ageing.tolist()
    ([5.0, 1.0], [False, True])
    """
    cost, rest = np.asarray(unit_cost, float), np.asarray(salvage, float)
    ageing = (np.asarray(stock, float) > np.asarray(demand, float)) & (rest < cost)
    return np.where(ageing, rest, cost), ageing


class _Market(NamedTuple):
    terms: tuple[Floats, ...]  # a, b, cost, anchor, lo, hi
    items: NDArray[np.int64]
    mask: Flags
    traffic: Floats
    weight: Floats  # w of each item
    lam: float
    stock: Floats
    nest: NDArray[np.int64] | None
    zeta: Floats

    @property
    def nested(self) -> bool:
        """Whether some items share demand."""
        return self.nest is not None and bool((self.zeta[self.mask] < 1.0).any())


class _State(NamedTuple):
    """Demand and dual at shadow prices ``nu = w mu``, in units of the objective."""

    nu: Floats
    solution: PageSolution
    demand: Floats
    slope: Floats  # stock - demand, 0 where stock is not limited
    dual: float


def _evaluate(market: _Market, nu: Floats) -> _State:
    weight = np.where(market.weight > 0, market.weight, 1.0)
    solve = solve_pages
    if market.nest is not None and market.nested:
        solve = partial(solve_nested_pages, nest=market.nest, dissimilarity=market.zeta)
    solution = solve(
        *market.terms,
        shadow=(nu / weight)[market.items],
        margin_weight=market.weight[market.items],
        anchor_weight=market.lam,
        mask=market.mask,
    )
    sold = market.traffic[:, None] * solution.q
    shown = market.mask
    demand: Floats = np.bincount(market.items[shown], weights=sold[shown], minlength=len(nu)).astype(float)
    limited = _limited(market)
    slope: Floats = np.where(limited, market.stock, demand) - demand
    dual = float(market.traffic @ solution.value + (nu * np.where(limited, market.stock, 0.0)).sum())
    return _State(nu, solution, demand, slope, dual)


def _limited(market: _Market) -> Flags:
    return np.isfinite(market.stock) & (market.stock > 0)


def _cap(market: _Market) -> Floats:
    """The ``w mu`` that takes all the margin of an item's highest price."""
    _, _, cost, _, _, hi = market.terms
    cap = np.zeros(len(market.stock))
    room = np.where(market.mask & np.isfinite(hi - cost), np.maximum(hi - cost, 0.0), 0.0)
    np.maximum.at(cap, market.items[market.mask], room[market.mask])
    return cap * market.weight * _limited(market)


def _violation(market: _Market, state: _State, cap: Floats) -> float:
    """Largest violation of the optimality conditions, as a share of the stock."""
    scale = np.where(_limited(market), market.stock, 1.0)
    projected = state.nu - np.clip(state.nu - state.slope / scale, 0.0, cap)
    return float(np.abs(projected).max(initial=0.0))


def _newton_step(market: _Market, state: _State, cap: Floats, damping: float) -> tuple[_State, float] | None:
    """State after one projected Newton step that lowers the dual, and the next damping; None if no step lowers it.

    Damping (Levenberg-Marquardt) rather than halving: an item whose price lies on a bound has no curvature and would
    dominate the step. No step lowers the dual if rounding or a jump of demand is in the way.
    """
    pinned = ((state.nu <= 0) & (state.slope >= 0)) | ((state.nu >= cap) & (state.slope <= 0))
    free = np.flatnonzero(~pinned)
    curvature = _curvature(market, state, free)
    scale = np.maximum(curvature.diagonal(), market.stock[free] / cap[free])
    now = _violation(market, state, cap)
    while damping < MOST_DAMPING:
        damped = (curvature + sparse.diags_array(damping * scale)).tocsc()
        nu = state.nu.copy()
        nu[free] = np.clip(nu[free] - _solve_spd(damped, state.slope[free]), 0.0, cap[free])
        trial = _evaluate(market, nu)
        promised = float(state.slope @ (trial.nu - state.nu))
        lower = trial.dual <= state.dual + 1e-4 * promised and promised < 0
        flat = abs(trial.dual - state.dual) <= FLAT * abs(state.dual)
        if lower or (flat and _violation(market, trial, cap) < 0.5 * now):
            return trial, max(damping / 30, LEAST_DAMPING)
        damping *= 10
    return None


def _curvature(market: _Market, state: _State, free: NDArray[np.int64]) -> Any:
    """Second derivative of the dual for the free items, sparse: the sum over pages of their demand responses.

    At the page optimum ``dR = -sum q dnu`` (envelope) and ``d log e = -s (dnu + dR)``, where ``s = b dy/dK`` and
    ``K = R + nu``; hence a page adds ``diag(qs) - (qs) q' - q (qs)' + q q' sum(qs)``. A nest of one slope, whose prices
    all react, adds ``(1 / zeta - 1) (diag(qs) - (qs) t')`` with the shares t of its items in it.
    """
    q, reaction = state.solution.q, state.solution.q * _price_response(market, state)
    place = np.full(len(state.nu), -1)
    place[free] = np.arange(len(free))
    column = np.where(market.mask, place[market.items], -1)
    rows, columns = np.nonzero(column >= 0)[0], column[column >= 0]
    shape = (len(q), len(free))
    share = sparse.csr_array((q[column >= 0], (rows, columns)), shape=shape)
    react = sparse.csr_array((reaction[column >= 0], (rows, columns)), shape=shape)
    traffic = sparse.diags_array(market.traffic)
    total = sparse.diags_array(market.traffic * reaction.sum(-1))
    own = np.asarray(react.T @ market.traffic)
    cross = react.T @ traffic @ share
    plain = sparse.diags_array(own) - cross - cross.T + share.T @ total @ share
    return sparse.csr_array(plain + _within_nests(market, q, reaction, column, len(free)))


def _within_nests(market: _Market, q: Floats, reaction: Floats, column: NDArray[np.int64], count: int) -> Any:
    """What nests add to the curvature of the free items, sparse."""
    if market.nest is None or not market.nested:
        return sparse.csr_array((count, count))
    page = np.repeat(np.arange(len(q)), q.shape[1])
    zeta = np.where((column >= 0) & (reaction > 0), market.zeta, 1.0)
    cells = Cells.of(page, market.nest.ravel(), zeta.ravel())
    if not cells.row.size:
        return sparse.csr_array((count, count))
    at, excess = cells.row, (1.0 / cells.dissimilarity - 1.0)[cells.cell] * market.traffic[page[cells.row]]
    react, place = reaction.ravel()[at] * excess, column.ravel()[at]
    shape = (cells.starts.size, count)
    shares = sparse.csr_array((cells.shares(q.ravel()), (cells.cell, place)), shape=shape)
    reacts = sparse.csr_array((react, (cells.cell, place)), shape=shape)
    across = reacts.T @ shares
    return sparse.diags_array(np.bincount(place, weights=react, minlength=count)) - (across + across.T) / 2


def _solve_spd(matrix: Any, right: Floats) -> Floats:
    if matrix.shape[0] <= 512:  # below this a dense solve is faster than setting up a sparse one
        return np.asarray(np.linalg.solve(matrix.toarray(), right))
    return np.asarray(sparse.linalg.spsolve(matrix, right))


def _price_response(market: _Market, state: _State) -> Floats:
    """``b dy/dK``: how fast log attraction falls with the shadow price; 0 where a bound holds the price."""
    _, b, _, anchor, lo, hi = market.terms
    y, w, lam = state.solution.y, market.weight[market.items], market.lam
    moving = (y > lo) & (y < hi)
    slope = w - 2 * lam * (y - anchor)
    return np.where(moving, b**2 / np.where(moving, b * slope + 2 * lam, 1.0), 0.0)


def _report(market: _Market, state: _State, cap: Floats, steps: int) -> ShadowPrices:
    mu = state.nu / np.where(market.weight > 0, market.weight, 1.0)
    slack = market.stock - state.demand
    limited = _limited(market)
    allowed = np.where(limited, SLACKNESS * market.stock, np.inf)
    over = limited & (slack < -allowed)
    short = over & (state.nu >= cap)
    loose = np.abs(np.where(limited, mu * np.where(limited, slack, 0.0), 0.0)) > allowed
    converged = not bool(((over | loose) & ~short).any())
    return ShadowPrices(mu, state.demand, slack, short, steps, converged)


def counted_cost(market: MarketContext, sales_rate: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Cost that pricing counts, money (n,), and whether it is the salvage value.

    Stock ages if more is on hand than will sell before its life ends; never without a salvage value or a shelf life. A
    negative salvage value is the cost of disposal.

    Args:
        market: Money, stock and life of the items.
        sales_rate: (n,) units sold in a day at prices set on the unit cost.
    """
    in_time = sales_rate * market.shelf_life_days
    return ageing_cost(market.unit_cost, market.salvage_value, market.stock, in_time)


def floor_cost(cost: Floats, ageing: NDArray[np.bool_]) -> Floats:
    """Cost for the margin floor: at least 0, as every price earns more than disposal."""
    return np.where(ageing, np.maximum(cost, 0.0), cost)
