"""A nested logit of any panel of counts: choices on pages, an outside option, nests, and the tests of nests.

    panel = ChoicePanel.of(table, page=["store", "week"], quantity="units", outside="no_sale", price="price",
                           effects=["brand"], nests="size", cluster="store")
    found = nested_logit(panel)
    found.elasticity, found.dissimilarity, found.ratio.p_value

A page is a set of alternatives that compete, such as the products of a store and week. Alternatives of a page with one
value of ``nests`` share a nest; all nests have one dissimilarity ``zeta`` (docs/pricing-model.md, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import optimize, stats

from fairtag.base.errors import DataError, NotConverged
from fairtag.demand.choices import Choices, Flags, Floats, Ints, group_sums, probabilities
from fairtag.demand.dissimilarity import LOG_RANGE, UNKNOWN
from fairtag.demand.logit import LogitFit, Prior, fit_logit, laplace
from fairtag.demand.panel_columns import (
    left_out,
    numbers,
    require_columns,
    require_counts,
    require_few_levels,
    require_identified,
    require_labels,
    require_once,
    require_one_value,
    require_other_than_price,
)
from fairtag.solver.cells import Cells

CLOSE = 1e-8  # of log zeta
STEP = 1e-5  # of a coefficient, for a derivative of the elasticity


@dataclass(frozen=True)
class ChoicePanel:
    """A panel of counts as choices.

    Args:
        choices: The choices; the first feature is minus the price.
        names: (K,) names of the features.
        price: (N,) price of each row.
        cluster: (P,) cluster of each page's errors.
        left_out: Rows without a positive price or with an unknown value.
    """

    choices: Choices
    names: tuple[str, ...]
    price: Floats
    cluster: Ints
    left_out: int

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        *,
        page: Sequence[str],
        quantity: str,
        outside: str,
        nests: str,
        price: str = "price",
        covariates: Sequence[str] = (),
        effects: Sequence[str] = (),
        weight: str | None = None,
        cluster: str | None = None,
    ) -> ChoicePanel:
        """Read a table, one row for each alternative of a page.

        Args:
            table: The panel.
            page: Columns whose values together name the page.
            quantity: Column of how often the alternative was chosen.
            outside: Column of how often none on the page was, the same on all its rows.
            nests: Column of the nest.
            price: Column of the price.
            covariates: Columns that shift demand.
            effects: Columns whose values each have a utility of their own, such as the product.
            weight: Column of weights that multiply all counts of a page, the same on all its rows.
            cluster: Column within which errors may be correlated; every page is alone without it.

        Raises:
            DataError: A column is missing, a count is negative, a page has two values of ``outside`` or of ``weight``,
                or no page has two alternatives of one nest.
        """
        covariates, own = list(dict.fromkeys(covariates)), list(filter(None, [weight]))
        require_columns(
            table,
            {
                "price": [price],
                "quantity": [quantity],
                "covariates": covariates,
                "others": [*page, outside, nests, *effects, *own, *filter(None, [cluster])],
            },
        )
        require_labels(table, [*page, nests, *effects, *filter(None, [cluster])])
        values = numbers(table, [price, quantity, outside, *covariates, *own])
        keep, reasons = left_out(values, [price])
        kept, values = table[keep], values[keep]
        require_counts(values, [quantity, outside, *own])
        require_other_than_price(values, price, covariates)
        code = np.asarray(kept.groupby(list(page), sort=True, observed=True).ngroup(), dtype=np.int64)
        order = np.argsort(code, kind="stable")
        kept, values, code = kept.iloc[order], values.iloc[order], code[order]
        shared = values[[outside, *own]]
        if cluster:
            shared = shared.assign(**{cluster: pd.factorize(kept[cluster])[0]})
        require_one_value(shared, code)
        require_once(kept, page)
        require_few_levels(kept, effects)
        starts = np.flatnonzero(np.diff(code, prepend=-1)).astype(np.int64)
        dummies = [pd.get_dummies(kept[name], prefix=name, dtype=float) for name in effects]
        levels = pd.concat(dummies, axis=1) if dummies else pd.DataFrame({"constant": np.ones(len(kept))})
        products = levels.to_numpy().T @ levels.to_numpy()
        levels = levels.iloc[:, [k for k in range(levels.shape[1]) if k == 0 or not _spanned(products, k)]]
        require_identified(values, levels, price, quantity, outside, covariates)
        X = np.column_stack([-values[price], values[list(covariates)], levels])
        counted = values[weight].to_numpy() if weight else np.ones(len(kept))
        nest = pd.factorize(kept[nests], sort=True)[0]
        cells = Cells.of(code, nest.astype(np.int64), np.ones(len(kept)), with_plain=True)
        if not cells.row.size:
            raise DataError(f"panel: no page has two alternatives of one {nests}; name another column of nests")
        bought, none = values[quantity].to_numpy() * counted, (values[outside].to_numpy() * counted)[starts]
        choices = Choices(X, starts, bought, none, cells=cells)
        groups = pd.factorize(kept[cluster].iloc[starts])[0] if cluster else np.arange(starts.size)
        if not groups.any():
            raise DataError(
                f"panel: {cluster or 'the pages'}: there is one cluster; errors need two, and tens to be right",
                column=cluster or "",
                rule="at least two clusters",
            )
        names = (price, *covariates, *map(str, levels.columns))
        prices = values[price].to_numpy()
        return cls(choices, names, prices, groups.astype(np.int64), sum(reasons.values()))


def _spanned(products: Floats, k: int) -> bool:
    """Whether the indicator at k is a sum of those before, as the last of a second effect is.

    Args:
        products: (L, L) inner products of all indicators.
        k: Which one.
    """
    before, across = products[:k, :k], products[:k, k]
    rest = products[k, k] - across @ np.linalg.lstsq(before, across, rcond=None)[0]
    return bool(rest < 1e-9 * products[k, k])


@dataclass(frozen=True)
class ChiSquaredTest:
    """A test of the plain logit.

    Args:
        statistic: Of a chi-squared distribution where the plain logit is right; NaN where it could not be made.
        freedom: Its degrees of freedom.
        p_value: Chance of a larger one.
    """

    statistic: float
    freedom: int
    p_value: float


@dataclass(frozen=True)
class NestedLogit:
    """A nested logit of a panel.

    Args:
        coefficients: Estimate and standard error by name, clustered, with the uncertainty of the dissimilarity; the
            price's is that of a unit more.
        elasticity: Own-price elasticity with its 95 % interval (Student's t of the clusters, less one), the mean over
            what was chosen.
        dissimilarity: zeta with its 95 % interval; 1 is the plain logit.
        log_likelihood: At the optimum.
        plain: The same of the plain logit.
        ratio: Likelihood-ratio test of the nests; it takes counts for independent choices.
        independence: Hausman and McFadden's (1984) test of the plain logit: are its coefficients the same among one
            alternative of each nest?
    """

    coefficients: dict[str, tuple[float, float]]
    elasticity: tuple[float, float, float]
    dissimilarity: tuple[float, float, float]
    log_likelihood: float
    plain: float
    ratio: ChiSquaredTest
    independence: ChiSquaredTest


def nested_logit(panel: ChoicePanel) -> NestedLogit:
    """Fit a nested logit by maximum likelihood, with tests against the plain one.

    Raises:
        NotConverged: There is no optimum: some choice is never made, or features are collinear.

    Example: two pairs of twins at random prices, of which each pair sells as 0.5 says.

        >>> rng = np.random.default_rng(0)
        >>> n = 4_000
        >>> table = pd.DataFrame({"week": np.repeat(range(n // 4), 4), "pair": [0, 0, 1, 1] * (n // 4)})
        >>> table["price"] = rng.uniform(0.5, 1.5, n)
        >>> cells = Cells.of(table["week"].to_numpy(), table["pair"].to_numpy(), np.full(n, 0.5))
        >>> pull = np.exp(cells.adjust(1.0 - 2.0 * table["price"].to_numpy())).reshape(-1, 4)
        >>> q = np.column_stack([pull, np.ones(n // 4)]) / (1 + pull.sum(axis=1))[:, None]
        >>> sold = np.array([rng.multinomial(50, each) for each in q])
        >>> table["units"], table["none"] = sold[:, :4].ravel(), np.repeat(sold[:, 4], 4)
        >>> found = nested_logit(
        ...     ChoicePanel.of(table, page=["week"], quantity="units", outside="none", nests="pair")
        ... )
        >>> [round(value, 1) for value in found.dissimilarity], found.ratio.p_value < 1e-6
        ([0.5, 0.5, 0.5], True)
    """
    choices = panel.choices
    plain = fit_logit(choices.with_cells(Cells.none()))

    def at(log_zeta: float) -> tuple[Choices, LogitFit]:
        zeta = np.full(choices.cells.starts.size, np.exp(log_zeta))
        nested = choices.with_cells(choices.cells.with_dissimilarity(zeta))
        return nested, fit_logit(nested, start=plain)

    search = optimize.minimize_scalar(
        lambda log_zeta: -at(log_zeta)[1].log_likelihood, bounds=LOG_RANGE, method="bounded", options={"xatol": CLOSE}
    )
    log_zeta = float(search.x)
    nested, fit = at(log_zeta)
    covariance = _covariance(nested, fit, panel.cluster)
    errors = np.sqrt(np.diag(covariance))
    sign = np.r_[-1.0, np.ones(len(panel.names) - 1)]
    ratio = max(2.0 * (fit.log_likelihood - plain.log_likelihood), 0.0)
    quantile = float(stats.t.ppf(0.975, int(panel.cluster.max())))
    low, high = np.exp(log_zeta + quantile * errors[-1] * np.array([-1.0, 1.0]))
    return NestedLogit(
        coefficients={
            name: (float(s * value), float(error))
            for name, s, value, error in zip(panel.names, sign, fit.theta, errors[:-1], strict=True)
        },
        elasticity=_elasticity(panel, fit.theta, log_zeta, quantile**2 * covariance),
        dissimilarity=(float(np.exp(log_zeta)), float(low), float(high)),
        log_likelihood=fit.log_likelihood,
        plain=plain.log_likelihood,
        ratio=ChiSquaredTest(ratio, 1, float(stats.chi2.sf(ratio, 1))),
        independence=_hausman_mcfadden(panel),
    )


def _covariance(choices: Choices, fit: LogitFit, cluster: Ints) -> Floats:
    """(K + 1, K + 1) covariance of the coefficients and log zeta together, clustered: what zeta leaves open is in it.

    log zeta is one more coefficient, whose feature is the change of the utilities that would change the adjusted ones
    as log zeta does.
    """
    utility = choices.utility(fit.theta, fit.effects)
    q, _ = probabilities(choices.cells.adjust(utility), choices.starts, choices.page)
    slope = np.zeros(choices.n_rows)
    slope[choices.cells.row] = choices.cells.log_slope(utility)[choices.cells.row]
    wider = replace(choices, X=np.column_stack([choices.X, choices.cells.unpush(slope, q)]))
    size = wider.X.shape[1]
    start = LogitFit(np.r_[fit.theta, 0.0], fit.effects, np.zeros(size, dtype=bool), fit.log_likelihood, 0)
    # Utilities at these coefficients are those of the fit: the new one is 0.
    bread = laplace(wider, start, Prior(np.zeros(size), np.full(size, UNKNOWN), np.zeros(0))).shared
    residual = choices.cells.pull(choices.bought - choices.trials[choices.page] * q, q)
    clusters = int(cluster.max()) + 1
    scores = group_sums(cluster[choices.page], wider.X * residual[:, None], clusters)
    factor = clusters / max(clusters - 1, 1)
    return np.asarray(factor * bread @ (scores.T @ scores) @ bread, dtype=np.float64)


def _elasticity(panel: ChoicePanel, theta: Floats, log_zeta: float, squares: Floats) -> tuple[float, float, float]:
    """Mean own-price elasticity over what was chosen, with its interval by the delta method.

    Args:
        panel: The panel.
        theta: Coefficients.
        log_zeta: Of the dissimilarity.
        squares: Covariance of both, times the square of the quantile.
    """
    choices = panel.choices

    def mean(parameters: Floats) -> float:
        zeta = np.full(choices.cells.starts.size, np.exp(parameters[-1]))
        cells = choices.cells.with_dissimilarity(zeta)
        utility = choices.X @ parameters[:-1]
        q, _ = probabilities(cells.adjust(utility), choices.starts, choices.page)
        own = 1.0 - q  # d log q_i / d u_i
        at, share = cells.row, cells.shares(q)
        own[at] = 1.0 / cells.zeta - (1.0 / cells.zeta - 1.0) * share - q[at]
        return float(np.average(-parameters[0] * panel.price * own, weights=choices.bought))

    point = np.r_[theta, log_zeta]
    shifts = STEP * np.eye(point.size)
    slope = np.array([(mean(point + shift) - mean(point - shift)) / (2.0 * STEP) for shift in shifts])
    value, reach = mean(point), float(np.sqrt(slope @ squares @ slope))
    return value, value - reach, value + reach


def _hausman_mcfadden(panel: ChoicePanel) -> ChiSquaredTest:
    """The plain logit of all alternatives against that of one alternative of each nest, the first of each page."""
    whole, cells = replace(panel.choices, cells=Cells.none()), panel.choices.cells
    keep = np.ones(whole.n_rows, dtype=bool)
    keep[cells.row] = False
    keep[cells.row[cells.starts]] = True
    nothing = ChiSquaredTest(float("nan"), 0, float("nan"))
    part = _without(whole, keep)
    used = np.abs(part.X).max(axis=0) > 0
    part = replace(part, X=part.X[:, used])
    try:
        first, second = fit_logit(whole), fit_logit(part)
        all_of_it, rest = laplace(whole, first).shared[np.ix_(used, used)], laplace(part, second).shared
    except NotConverged:  # what is left does not tell all coefficients apart
        return nothing
    apart = second.theta - first.theta[used]
    values, vectors = np.linalg.eigh(rest - all_of_it)
    positive = values > 1e-10 * max(float(values.max()), 0.0)
    if not positive.any():
        return nothing
    statistic = float(((vectors.T @ apart)[positive] ** 2 / values[positive]).sum())
    freedom = int(positive.sum())
    return ChiSquaredTest(statistic, freedom, float(stats.chi2.sf(statistic, freedom)))


def _without(choices: Choices, keep: Flags) -> Choices:
    """The choices among the rows that are kept and the outside option."""
    page = choices.page[keep]
    starts = np.flatnonzero(np.diff(page, prepend=-1)).astype(np.int64)
    return Choices(choices.X[keep], starts, choices.bought[keep], choices.outside[np.unique(page)])
