"""How much near-identical items share their demand: the dissimilarity of each category, with its evidence.

The plain logit is the nested one with ``zeta = 1`` (independence of irrelevant alternatives). Each category's zeta is
estimated by likelihood beside all other parameters, and a category keeps the plain logit unless its 95 % interval lies
below 1 (docs/pricing-model.md, section 4).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import splu

from fairtag.base.normal import Z95
from fairtag.demand.choices import Choices, Flags, Floats, Ints, probabilities
from fairtag.demand.hessian import group_information, information, penalised
from fairtag.demand.logit import Laplace, LogitFit, Prior, fit_logit, laplace
from fairtag.solver.cells import Cells

LEAST = 0.05  # of zeta: below, twins share all of their demand to within 4 %
LOG_RANGE = (np.log(LEAST), np.log(3.0))  # of the search for log zeta; above 1 twins would help each other
SPREAD = 1.0  # of the prior of log zeta while it is searched for: it does not count as evidence afterwards
ROUNDS, CLOSE = 12, 0.2  # of the search, of which 3 to 5 are taken; its last step, in standard errors: one more follows
LONGEST = 0.7  # step of log zeta: it halves or doubles at most
STEP = 1e-3  # of log zeta, for a difference
UNKNOWN = 1e-8  # information about log zeta that counts as none
ROWS = 200_000  # more rows are thinned, by whole pages, to about this many for the evidence; pages with nests go first


@dataclass(frozen=True)
class CategoryNests:
    """The evidence about one category.

    Args:
        category: Name.
        nests: Groups of two near-identical items or more.
        items: Items in them.
        pages: Pages that show two items of one of them.
        dissimilarity: Estimate of zeta; 1 means that twins are unrelated. NaN without nests.
        low: Lower end of its 95 % interval.
        high: Upper end.
        nested: Whether the category's demand is nested.
        reason: Why, in words.
    """

    category: str
    nests: int
    items: int
    pages: int
    dissimilarity: float
    low: float
    high: float
    nested: bool
    reason: str

    def as_json(self) -> dict[str, Any]:
        """As JSON; figures that are NaN are left out."""
        return {k: v for k, v in asdict(self).items() if not (isinstance(v, float) and np.isnan(v))}


def judge_nests(
    choices: Choices,
    prior: Prior,
    plain: LogitFit,
    lower: Floats,
    *,
    item: Ints,
    nest: Ints,
    category: Ints,
    names: tuple[str, ...],
) -> tuple[CategoryNests, ...]:
    """Estimate each category's dissimilarity and say whether its demand is nested.

    Categories borrow from each other: the estimates are shrunk to their mean as far as they do not differ by more than
    chance (random effects, DerSimonian and Laird 1986), and one without evidence takes what the others say.

    Args:
        choices: The pages, without nests.
        prior: Of the other parameters.
        plain: Their optimum under the plain logit.
        lower: Their lower bounds.
        item: (N,) item of each row.
        nest: (I,) nest of each item.
        category: (I,) category of each item.
        names: Names of the categories.

    Raises:
        NotConverged: No optimum was found.
    """
    size = np.bincount(nest, minlength=nest.size)[nest]
    if (size < 2).all():
        return ()
    twins, leads = size > 1, (size > 1) & (nest == np.arange(nest.size))
    counts = [np.bincount(category[which], minlength=len(names)) for which in (leads, twins)]
    read = _evidence(choices, twins[item])
    chosen, shown = choices.pages(read), item[read[choices.page]]
    cells = Cells.of(chosen.page, nest[shown], np.ones(chosen.n_rows), with_plain=True)
    kind = category[shown[cells.row[cells.starts]]]
    pages = _pages_by_category(chosen.page[cells.row[cells.starts]], kind, len(names))
    estimate, error = np.full(len(names), np.nan), np.full(len(names), np.nan)
    seen = np.unique(kind)
    if seen.size:
        own = estimate_log_dissimilarity(
            chosen.with_cells(cells), prior, plain, lower, np.searchsorted(seen, kind), seen.size
        )
        estimate, error = _borrowed(len(names), seen, *own)
    return tuple(
        _verdict(name, int(counts[0][k]), int(counts[1][k]), int(pages[k]), float(estimate[k]), float(error[k]))
        for k, name in enumerate(names)
    )


def estimate_log_dissimilarity(
    choices: Choices, prior: Prior, start: LogitFit, lower: Floats, kind: Ints, kinds: int
) -> tuple[Floats, Floats]:
    """``log zeta`` of each kind of cell, (L,), and its covariance, by Newton steps on the profile likelihood.

    Given zeta, all other parameters are fitted anew; the slope of the profile is then the partial one, and its
    curvature is what the information about zeta leaves after the other parameters have taken theirs.

    Args:
        choices: The pages with their cells.
        prior: Of the other parameters.
        start: Their optimum under the plain logit.
        lower: Their lower bounds.
        kind: (C,) kind of each cell, from 0; cells of a kind have one zeta.
        kinds: L.

    Returns:
        The estimates of the likelihood alone, without the prior of log zeta, and their covariance (L, L).
    """
    log_zeta, fit = np.zeros(kinds), start
    for _ in range(ROUNDS):
        choices = choices.with_cells(choices.cells.with_dissimilarity(np.exp(log_zeta[kind])))
        fit = fit_logit(choices, prior, lower=lower, start=fit)
        slope, curvature = _profile(choices, fit, prior, kind, kinds)
        whole = curvature + np.eye(kinds) / SPREAD**2
        step = np.clip(np.linalg.solve(whole, slope - log_zeta / SPREAD**2), -LONGEST, LONGEST)
        moved = np.clip(log_zeta + step, *LOG_RANGE)
        settled = np.abs(moved - log_zeta) <= CLOSE / np.sqrt(np.diag(whole))
        if settled.all():
            break
        log_zeta = moved
    slope, curvature = _profile(choices, fit, prior, kind, kinds, exact=True)
    covariance = np.linalg.inv(curvature + UNKNOWN * np.eye(kinds))
    return np.clip(log_zeta + covariance @ slope, *LOG_RANGE), np.asarray(covariance, dtype=np.float64)


def with_dissimilarity(choices: Choices, fit: LogitFit, prior: Prior, kind: Ints, kinds: int) -> Laplace:
    """Laplace approximation at a nested optimum, with the uncertainty of the dissimilarities in it.

    With zeta held fixed a slope seems surer than it is, as a smaller zeta makes any slope steeper. ``log zeta`` of
    each kind of cell is one more coefficient here (see :func:`_profile`); its part of the covariance is then
    integrated out.

    Args:
        choices: The choices with their cells at the estimates.
        fit: Their optimum.
        prior: Of the other parameters.
        kind: (C,) kind of each cell.
        kinds: L.
    """
    wider, with_zeta, flat, _ = _wider(choices, fit, prior, kind, kinds)
    found, k = laplace(wider, with_zeta, flat), fit.theta.size
    shared, across = found.shared[:k, :k], found.shared[k:, :k]
    follows = across @ np.linalg.pinv(shared, hermitian=True)  # (L, K): mean of log zeta given theta
    left = found.shared[k:, k:] - follows @ across.T
    own = found.gain[:, :, k:]
    gain = found.gain[:, :, :k] + own @ follows
    return Laplace(shared, gain, found.conditional + own @ left @ own.transpose(0, 2, 1))


def _profile(
    choices: Choices, fit: LogitFit, prior: Prior, kind: Ints, kinds: int, *, exact: bool = False
) -> tuple[Floats, Floats]:
    """Slope (L,) and minus the curvature (L, L) of the profile log-likelihood in ``log zeta``.

    ``log zeta`` moves adjusted utilities as one more coefficient does whose feature is ``J^-1 dv / d log zeta``. The
    Fisher information of the features and these is then that of all parameters together. Unless exact, competition
    between the effects of different groups is left out, which only shortens the steps of the search.
    """
    wider, with_zeta, flat, slopes = _wider(choices, fit, prior, kind, kinds)
    utility = choices.utility(fit.theta, fit.effects)
    q, _ = probabilities(choices.cells.adjust(utility), choices.starts, choices.page)
    slope = slopes.T @ (choices.bought - choices.trials[choices.page] * q)
    slope = slope - _overfit(choices, utility, prior, kind, kinds)
    if exact:
        covariance = laplace(wider, with_zeta, flat).shared[-kinds:, -kinds:]
        return slope, np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    found = penalised(information(wider, q), flat.precision, flat.effects, with_zeta.bound)
    reduced = found.shared
    if choices.n_loadings:
        solved = np.linalg.solve(found.majorant, found.border)
        reduced = reduced - np.einsum("gmk,gml->kl", found.border, solved, optimize=True)
    others, across = reduced[:-kinds, :-kinds], reduced[:-kinds, -kinds:]
    return slope, reduced[-kinds:, -kinds:] - across.T @ np.linalg.solve(others, across)


def _wider(
    choices: Choices, fit: LogitFit, prior: Prior, kind: Ints, kinds: int
) -> tuple[Choices, LogitFit, Prior, Floats]:
    """Choices, fit and prior with log zeta of each kind as a coefficient, and (N, L) slopes of adjusted utilities."""
    utility = choices.utility(fit.theta, fit.effects)
    q, _ = probabilities(choices.cells.adjust(utility), choices.starts, choices.page)
    slopes = np.zeros((choices.n_rows, kinds))
    at = choices.cells.row
    slopes[at, kind[choices.cells.cell]] = choices.cells.log_slope(utility)[at]
    wider = Choices(
        np.hstack([choices.X, choices.cells.unpush(slopes, q)]),
        choices.starts,
        choices.bought,
        choices.outside,
        choices.group,
        choices.Z,
        choices.n_groups,
        choices.cells,
    )
    nothing = np.zeros(kinds)
    with_zeta = LogitFit(
        np.r_[fit.theta, nothing], fit.effects, np.r_[fit.bound, nothing > 0], fit.log_likelihood, fit.iterations
    )
    flat = Prior(np.r_[prior.mean, nothing], np.r_[prior.precision, nothing + UNKNOWN], prior.effects)
    return wider, with_zeta, flat, slopes


def _overfit(choices: Choices, utility: Floats, prior: Prior, kind: Ints, kinds: int) -> Floats:
    """(L,) what the fitted group effects add to the slope of the profile: half the slope of their log determinant.

    Effects that are fitted to what happened to be bought explain choices between twins too well, which reads as a zeta
    too small; integrated out instead (Laplace), they do not.
    """
    if not choices.n_loadings:
        return np.zeros(kinds)
    cells = choices.cells
    ends = [
        _log_determinants(
            choices.with_cells(cells.with_dissimilarity(cells.dissimilarity * np.exp(h))), utility, prior, kind, kinds
        )
        for h in (STEP, -STEP)
    ]
    return np.asarray((ends[0] - ends[1]) / (4.0 * STEP), dtype=np.float64)


def _log_determinants(choices: Choices, utility: Floats, prior: Prior, kind: Ints, kinds: int) -> Floats:
    """(L,) log determinant of the information about the effects of the groups in each kind's cells.

    Competition counts inside cells, where it is strong, and not between them.
    """
    assert choices.Z is not None
    assert choices.group is not None
    cells, m = choices.cells, choices.n_loadings
    q, _ = probabilities(cells.adjust(utility), choices.starts, choices.page)
    own, _ = cells.curvature(q, choices.trials[choices.page])
    blocks = group_information(choices, own) + np.diag(prior.effects)
    first, second = cells.pairs()
    one, other = cells.row[first], cells.row[second]
    share, zeta = cells.shares(q), cells.dissimilarity[cells.cell[first]]
    across = q[one] * share[second] * (1.0 - zeta**-2.0) - q[one] * q[other]
    across *= choices.trials[choices.page[one]]
    values = across[:, None, None] * choices.Z[one][:, :, None] * choices.Z[other][:, None, :]
    left, right = np.r_[np.arange(choices.n_groups), choices.group[one]], choices.group[other]
    right, place = np.r_[np.arange(choices.n_groups), right], np.arange(m)
    rows = np.broadcast_to(left[:, None, None] * m + place[:, None], (left.size, m, m))
    columns = np.broadcast_to(right[:, None, None] * m + place, (left.size, m, m))
    entries = np.concatenate([blocks, values]).ravel()
    whole = csr_array((entries, (rows.ravel(), columns.ravel())), shape=(choices.n_groups * m, choices.n_groups * m))
    found, owner = np.zeros(kinds), kind[cells.cell]
    for k in range(kinds):
        groups = np.unique(choices.group[cells.row[owner == k]])
        inside = (groups[:, None] * m + place).ravel()
        factor = splu(whole[inside][:, inside].tocsc())
        found[k] = np.log(np.abs(factor.U.diagonal())).sum()
    return found


def _borrowed(kinds: int, seen: Ints, own: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Estimates of all categories (L,) and their errors: shrunk to the mean as far as chance explains differences.

    Categories are draws around a mean, with a spread that the method of moments gives from the weighted squares of the
    estimates around their mean.
    """
    one = np.ones(own.size)
    weight = np.linalg.inv(covariance)
    mean = (one @ weight @ own) / (one @ weight @ one)
    room = np.trace(weight) - (weight @ one) @ (weight @ one) / (one @ weight @ one)
    excess = (own - mean) @ weight @ (own - mean) - (own.size - 1)
    between = max(excess / room, 0.0) if own.size > 1 else 0.0
    weight = np.linalg.inv(covariance + between * np.eye(own.size))
    spread = 1.0 / (one @ weight @ one)
    mean = spread * (one @ weight @ own)
    estimate, variance = np.full(kinds, mean), np.full(kinds, spread + between)
    kept = between * weight  # of an estimate's distance from the mean
    estimate[seen] = mean + kept @ (own - mean)
    pulled = one - kept @ one
    variance[seen] = between - between * np.diag(kept) + pulled**2 * spread
    return estimate, np.sqrt(variance)


def _verdict(name: str, nests: int, items: int, pages: int, log_zeta: float, error: float) -> CategoryNests:
    low, zeta, high = np.exp([log_zeta - Z95 * error, log_zeta, log_zeta + Z95 * error]).tolist()
    nothing = float("nan")
    if not nests:
        return CategoryNests(name, 0, 0, 0, nothing, nothing, nothing, False, "it has no near-identical items")
    if np.isnan(zeta):
        reason = "plain logit: no page shows two near-identical items"
        return CategoryNests(name, nests, items, pages, nothing, nothing, nothing, False, reason)
    nested, figures = high < 1.0, f"{zeta:.2f} [{low:.2f}, {high:.2f}]"
    if nested:
        reason = f"nested logit: near-identical items share demand (dissimilarity {figures}, below 1)"
    elif low > 1.0:
        reason = f"plain logit: near-identical items help each other to sell (dissimilarity {figures}, above 1)"
    else:
        reason = f"plain logit: near-identical items are not shown to share demand (dissimilarity {figures} holds 1)"
    return CategoryNests(name, nests, items, pages, zeta, low, high, nested, reason)


def _evidence(choices: Choices, twin: Flags) -> Flags:
    """(P,) the pages that the evidence is read from: all, or of a large log those that show items with twins first."""
    keep = np.ones(choices.n_pages, dtype=bool)
    if choices.n_rows <= ROWS:
        return keep
    size = np.diff(choices.starts, append=choices.n_rows)
    without = ~np.logical_or.reduceat(twin, choices.starts)
    order = np.lexsort((np.random.default_rng(0).random(choices.n_pages), without))
    keep[order[np.cumsum(size[order]) > ROWS]] = False
    return keep


def _pages_by_category(page: Ints, kind: Ints, kinds: int) -> Ints:
    """(L,) distinct pages of each kind of cell."""
    distinct = np.unique(np.column_stack([kind, page]), axis=0)
    return np.bincount(distinct[:, 0], minlength=kinds).astype(np.int64)
