"""Cross-check of the demand slopes by double machine learning.

The price response of each category is estimated a second time, without the form of the logit. Where the two estimates
disagree, the model's slope is rescaled. Where demand is not shown to fall with the price, the category stays at list:

    model = with_cross_check(model, check_elasticity(model, data))
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fairtag.base.normal import Z95
from fairtag.demand.choices import Floats, Ints, group_sums, probabilities
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import DemandData
from fairtag.demand.demand_model import DemandModel, SlopeCorrection

SCALE_RANGE = (0.5, 2.0)  # a larger correction means that one estimate is broken: correct this far and report it
LEAST_PURCHASES = 10  # a category with fewer has no usable interval and is not priced
LEAST_SPREAD = 1e-6  # of the log price ratio; below it the price did not vary
NEVER_VARIED = "its prices never varied, so no response to a price can be seen"
ALWAYS_BOUGHT = "every page with it ended in a purchase, so the level of its demand cannot be seen"
ROWS = 200_000  # larger data are thinned, by whole pages, to about this many rows


@dataclass(frozen=True)
class CategoryElasticity:
    """Own-price elasticity of one category, by both estimators.

    Args:
        category: Name.
        purchases: Purchases in the data of the check.
        model: The demand model's elasticity, averaged over the same price variation as the check.
        check: The check's elasticity; NaN where there were too few purchases.
        low: Lower end of its 95 % interval.
        high: Upper end.
        scale: Factor on the model's slope.
        priced: Whether the category may be priced.
        reason: Why, in words.
    """

    category: str
    purchases: int
    model: float
    check: float
    low: float
    high: float
    scale: float
    priced: bool
    reason: str


@dataclass(frozen=True)
class ElasticityCheck:
    """The cross-check of all categories."""

    categories: tuple[CategoryElasticity, ...]

    @property
    def correction(self) -> SlopeCorrection:
        """The correction for the demand model."""
        scale = np.array([c.scale for c in self.categories])
        return SlopeCorrection(scale, np.array([c.priced for c in self.categories], dtype=bool))

    def as_json(self) -> list[dict[str, Any]]:
        """The check as JSON; figures that are NaN are left out."""
        rows = (asdict(category) for category in self.categories)
        return [{k: v for k, v in row.items() if not (isinstance(v, float) and np.isnan(v))} for row in rows]


def check_elasticity(
    model: DemandModel, data: DemandData, config: DemandConfig | None = None, *, seed: int = 0
) -> ElasticityCheck:
    """Estimate each category's own-price elasticity by double machine learning and compare it with the model's.

    The outcome is what a visit bought, the treatment the log price ratio. Similarity, behaviour, covariates, item,
    category and the control function are partialled out by cross-fitting on the folds of ``data``. The model's figure
    is its predicted probability put through the same final stage, so that both average over the same prices.

    A category whose prices never varied, or of which every page ended in a purchase, stays at list and says why. So
    does one where the two estimates differ and either is implausible: a rescaled slope would be no better than a guess.

    Args:
        model: The demand model.
        data: The pages that it was fitted on.
        config: What counts as implausible.
        seed: Seed of the thinning of large data.
    """
    data, config = _sample(data, seed), config or DemandConfig()
    c = len(model.categories)
    category = model.category[data.item]
    purchases = np.bincount(category, weights=data.bought, minlength=c)
    varied = _spread_by(np.log(data.y), category, c) > LEAST_SPREAD
    left = np.bincount(category, weights=(data.outside > 0)[data.page], minlength=c) > 0
    usable = varied & left
    seen = np.flatnonzero((purchases >= LEAST_PURCHASES) & usable)
    why = np.where(~varied, NEVER_VARIED, np.where(~left, ALWAYS_BOUGHT, ""))
    results = _estimates(model, data, category, seen)
    pooled = _estimates(model, data, np.where(usable[category], 0, -1), np.array([0])).get(0) if seen.size else None
    return ElasticityCheck(
        tuple(
            _category_elasticity(
                name, int(purchases[k]), results.get(k), config, str(why[k]), pooled if usable[k] else None
            )
            for k, name in enumerate(model.categories)
        )
    )


def _estimates(model: DemandModel, data: DemandData, group: Ints, seen: Ints) -> dict[int, list[float]]:
    """``[check, low, high, model]`` of each group that is seen; rows of other groups take no part."""
    if not seen.size:
        return {}
    n_groups = int(seen.max()) + 1
    inside = np.isin(group, seen)
    purchases = np.bincount(group[inside], weights=data.bought[inside], minlength=n_groups)[seen]
    rows = np.bincount(group[inside], weights=data.row_weight[inside], minlength=n_groups)
    shares = purchases / rows[seen]
    effect, low, high, residual = _double_machine_learning(model, data, group, seen)
    own = _through_final_stage(model, data, np.where(inside, group, 0), residual, n_groups)[seen] / shares
    found = np.column_stack([effect / shares, low / shares, high / shares, own])
    return dict(zip(seen.tolist(), found.tolist(), strict=True))


def with_cross_check(model: DemandModel, check: ElasticityCheck) -> DemandModel:
    """The model with the check's slope correction, and the check in its report."""
    return model.with_correction(check.correction, {"elasticity": check.as_json()})


def _category_elasticity(
    category: str,
    purchases: int,
    found: list[float] | None,
    config: DemandConfig,
    why: str = "",
    pooled: list[float] | None = None,
) -> CategoryElasticity:
    """Apply the rules of docs/pricing-model.md, section 4, to one category.

    Args:
        category: Name.
        purchases: Its purchases.
        found: Its own estimates; None where there are too few purchases.
        config: What counts as implausible.
        why: Why it cannot be priced whatever the others say.
        pooled: Estimates of all categories together, of which it may borrow; None where it may not.
    """
    borrowed = _borrowed(found, pooled, config)
    if borrowed is not None:
        scale, reason = borrowed
        check, low, high, own = found or [float("nan")] * 4
        return CategoryElasticity(category, purchases, own, check, low, high, scale, True, reason)
    if found is None:
        nothing = float("nan")
        few = f"{purchases} purchases, fewer than {LEAST_PURCHASES}"
        reason = f"list price: {few if purchases < LEAST_PURCHASES else why}"
        return CategoryElasticity(category, purchases, nothing, nothing, nothing, nothing, 1.0, False, reason)
    check, low, high, own = found
    scale, priced, reason = 1.0, True, "the check's interval holds the model's elasticity"
    if not high < 0:  # nor is NaN
        priced, reason = (
            False,
            f"list price: demand is not shown to fall with the price (the check's interval reaches {high:.2f})",
        )
    elif implausible := _implausible(check, low, high, own, config):
        priced, reason = False, f"list price: {implausible}"
    elif not low <= own <= high:
        scale = float(np.clip(check / min(own, -1e-9), *SCALE_RANGE))
        reason = f"slope times {scale:.2f}: the check's interval [{low:.2f}, {high:.2f}] excludes the model's {own:.2f}"
    return CategoryElasticity(category, purchases, own, check, low, high, scale, priced, reason)


def _borrowed(found: list[float] | None, pooled: list[float] | None, config: DemandConfig) -> tuple[float, str] | None:
    """Slope factor and reason of a category whose own purchases do not tell, while all together do; None elsewhere.

    What cannot be told apart has one price response: a category whose interval reaches 0 and holds the pooled figure.
    """
    if pooled is None or (found is not None and (found[2] < 0 or not found[1] <= pooled[0] <= found[2])):
        return None
    check, low, high, own = pooled
    if not high < 0 or _implausible(check, low, high, own, config):
        return None
    scale = 1.0 if low <= own <= high else float(np.clip(check / min(own, -1e-9), *SCALE_RANGE))
    together = f"all categories together ({check:.2f} [{low:.2f}, {high:.2f}])"
    return scale, f"its own purchases do not tell its response from that of {together}, which prices it"


def _implausible(check: float, low: float, high: float, own: float, config: DemandConfig) -> str:
    """Why two estimates of an elasticity below 0 cannot both be taken for it, in words; empty where they can."""
    if abs(own) > config.most_elasticity:
        return f"the model's elasticity {own:.2f} is beyond -{config.most_elasticity:g}, the most that is plausible"
    if low <= own <= high:
        return ""
    between = f"the check's {check:.2f} [{low:.2f}, {high:.2f}]"
    if abs(check) > config.most_elasticity:
        return f"{between} is beyond -{config.most_elasticity:g}, the most that is plausible, and excludes {own:.2f}"
    if abs(check) > config.most_disagreement * abs(own):
        return f"{between} is more than {config.most_disagreement:g} times the model's {own:.2f}"
    return ""


def _double_machine_learning(
    model: DemandModel, data: DemandData, category: Ints, seen: Ints
) -> tuple[Floats, Floats, Floats, Floats]:
    """Effect of the log price on the purchase probability by category: point, 95 % interval, treatment residual (N,).

    The partially linear model of Chernozhukov et al. (2018), eq. 1.1 and 4.4: out-of-fold residuals of outcome and
    treatment, one regressed on the other by category. Errors are clustered on price units, as prices that were set
    together are one observation of a price. The nuisances are ridge regressions on all squares and products of the
    controls; boosted trees gave the same figures on the simulated shop in six times the time. EconML's LinearDML gives
    the same figures too (a test), but would add a compiler and 250 MB to the image.
    """
    rows = np.flatnonzero(np.isin(category, seen))
    treatment = np.log(data.y[rows])
    fold = data.fold[data.page][rows]
    one_hot = (category[rows, None] == seen).astype(np.float64)
    controls = np.column_stack([one_hot, _controls(model, data, rows, fold)])
    weight = data.row_weight[rows]
    sold = data.bought[rows] / weight
    outcome, treated = (_out_of_fold_residual(controls, target, fold, weight) for target in (sold, treatment))
    effect, half = _slopes(outcome, treated, one_hot, data.price_unit[rows], weight)
    residual = np.zeros(data.n_rows)
    residual[rows] = treated
    return effect, effect - half, effect + half, residual


def _spread_by(values: Floats, group: Ints, n_groups: int) -> Floats:
    """(G,) standard deviation of values (N,) by group; 0 where a group has none."""
    count = np.maximum(np.bincount(group, minlength=n_groups), 1)
    mean = np.bincount(group, weights=values, minlength=n_groups) / count
    return np.sqrt(np.bincount(group, weights=(values - mean[group]) ** 2, minlength=n_groups) / count)


def _out_of_fold_residual(controls: Floats, target: Floats, fold: Ints, weight: Floats) -> Floats:
    """(rows,) target minus the prediction of a ridge regression on the other folds."""
    from sklearn.linear_model import Ridge

    residual = np.asarray(target, dtype=np.float64).copy()
    for k in np.unique(fold):
        held = fold == k
        counted = None if (weight == 1.0).all() else weight[~held]
        residual[held] -= Ridge().fit(controls[~held], target[~held], counted).predict(controls[held])
    return residual


def _slopes(
    outcome: Floats, treated: Floats, one_hot: Floats, unit: Ints, weight: Floats | float = 1.0
) -> tuple[Floats, Floats]:
    """(K,) slope of the outcome on the treatment in each group, and half of its 95 % interval, clustered on units.

    A unit lies within a group. With every row a unit of its own this is White's interval (HC1).
    """
    square = one_hot.T @ (weight * treated**2)
    slope = one_hot.T @ (weight * (treated * outcome)) / square
    scores = weight * treated * (outcome - treated * (one_hot @ slope))
    code = np.unique(unit, return_inverse=True)[1]
    g, (n, k) = int(code.max()) + 1, one_hot.shape
    owner = np.zeros((g, k))
    owner[code] = one_hot
    factor = g / max(g - 1, 1) * (n - 1) / (n - k)
    variance = factor * (owner.T @ np.bincount(code, weights=scores, minlength=g) ** 2) / square**2
    return slope, Z95 * np.sqrt(variance)


def _controls(model: DemandModel, data: DemandData, rows: Ints, fold: Ints) -> Floats:
    """(rows, W) similarity, control function, behaviour, covariates, item means in other folds, and all products."""
    item = data.item[rows]
    behaviour = model.scaling.behaviour(data.behaviour)[data.page][rows]
    weight = data.row_weight[rows]
    targets = np.column_stack([np.log(data.y[rows]), data.bought[rows] / weight])
    means = np.empty_like(targets)
    for k in np.unique(fold):
        held = fold == k
        means[held] = _shrunk_means(targets[~held], item[~held], model.n_items, weight[~held])[item[held]]
    shifts = model.covariates.standardised(data.covariates[rows])
    plain = np.column_stack([data.similarity[rows], data.first_stage.nu[rows], behaviour, shifts, means])
    plain = (plain - plain.mean(axis=0)) / np.maximum(plain.std(axis=0), 1e-9)
    left, right = np.triu_indices(plain.shape[1])
    return np.column_stack([plain, plain[:, left] * plain[:, right]])


def _shrunk_means(targets: Floats, item: Ints, n_items: int, weight: Floats, more: float = 20.0) -> Floats:
    """(I, T) weighted item means, shrunk to the overall mean as if each item had ``more`` rows at it."""
    overall = targets.mean(axis=0) if (weight == 1.0).all() else np.average(targets, axis=0, weights=weight)
    count = np.bincount(item, weights=weight, minlength=n_items)[:, None]
    means: Floats = (group_sums(item, targets * weight[:, None], n_items) + more * overall) / (count + more)
    return means


def _through_final_stage(model: DemandModel, data: DemandData, group: Ints, residual: Floats, n_groups: int) -> Floats:
    """(G,) the check's final stage with the model's probability as the outcome; rows without a residual are out."""
    a, b = model.utilities(data.item, data.similarity, data.behaviour[data.page], data.first_stage.nu, data.covariates)
    q, _ = probabilities(model.cells(data.item, data.page).adjust(a - b * data.y), data.starts, data.page)
    weight = data.row_weight
    inside = q - _shrunk_means(q[:, None], data.item, model.n_items, weight, 1e-9)[data.item, 0]
    above = np.bincount(group, weights=weight * residual * inside, minlength=n_groups)
    below = np.bincount(group, weights=weight * residual**2, minlength=n_groups)
    return np.divide(above, below, out=np.zeros(n_groups), where=below > 0)


def _sample(data: DemandData, seed: int) -> DemandData:
    if data.n_rows <= ROWS:
        return data
    share = ROWS / data.n_rows
    return data.pages(np.random.default_rng(seed).random(data.starts.size) < share)
