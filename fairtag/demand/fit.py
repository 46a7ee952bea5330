"""Estimation of the demand model: priors, empirical Bayes for their spreads, the posterior.

model = fit_demand(demand_data(training_set, assortment, similarity=similarity))
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fairtag.base.errors import DataError
from fairtag.demand.choices import Choices, Floats, log_likelihood
from fairtag.demand.config import DemandConfig
from fairtag.demand.covariates import CovariateScaling
from fairtag.demand.demand_data import DemandData
from fairtag.demand.demand_model import DemandModel, Posterior, SlopeCorrection
from fairtag.demand.dissimilarity import CategoryNests, judge_nests, with_dissimilarity
from fairtag.demand.features import FeatureScaling, Layout, TextBasis
from fairtag.demand.logit import Laplace, LogitFit, Prior, effect_variances, fit_logit, laplace, shared_variances
from fairtag.demand.own_slopes import own_slopes
from fairtag.demand.shared_slopes import alike, share_slopes
from fairtag.solver.cells import Cells

SPREAD_RANGE = (0.02, 3.0)  # of item effects: below, they do not differ from none; above, the data do not tell
FIRST_TAU = (0.3, 0.3)  # start of the search for the spreads of the item effects
SHARES = (1.0, 0.6, 0.36, 0.2, 0.1)  # of the spreads of empirical Bayes that cross-validation tries
CROSS_VALIDATED = 2_000  # pages; with more, empirical Bayes is sure enough of the spreads
SPREAD_TOLERANCE = 0.05  # relative change of the spreads at which the search ends


def fit_demand(data: DemandData, config: DemandConfig | None = None) -> DemandModel:
    """Estimate demand: maximum a posteriori, with the Laplace covariance.

    Item effects on utility and slope are ``N(w' scores_i, tau^2)``: an item that was never shown gets what its category
    and text predict, with spread tau. Near-identical items (a nest) share text and slope, and where the evidence says
    so (:func:`fairtag.demand.dissimilarity.judge_nests`) their demand.

    Args:
        data: The impressions.
        config: Priors.

    Raises:
        DataError: A feature is not finite, or nothing was bought.
        NotConverged: No optimum was found.

    Example: one mug at three prices; its slope is about 4.

        >>> import pandas as pd
        >>> from fairtag.demand.demand_data import Assortment, demand_data
        >>> rng = np.random.default_rng(0)
        >>> price = rng.choice([8.0, 9.0, 10.0], size=600)
        >>> bought = rng.random(600) < 1 / (1 + np.exp(4.0 * price / 10.0 - 3.0))
        >>> pages = pd.DataFrame({"page_id": range(600), "item_id": "mug", "price": price, "purchased": bought})
        >>> shop = Assortment.of(pd.DataFrame({"item_id": ["mug"], "category": ["cups"]}))
        >>> model = fit_demand(demand_data(pages.assign(list_price=10.0), shop, similarity=np.ones(600)))
        >>> utility, slope = model.page(np.array([0]), np.array([1.0]))
        >>> slope.round(1).tolist()
        [4.0]
    """
    config = config or DemandConfig()
    if data.bought.sum() == 0:
        raise DataError(
            f"demand: nothing was bought in {data.n_rows} impressions; add pages with purchases",
            rule="at least one purchase",
        )
    basis, text = text_basis(data, config.components)
    text = alike(text, data.assortment.nest)
    layout = Layout(len(data.assortment.categories), text.shape[1], len(data.covariate_names))
    scaling = _scaling(data)
    covariates = CovariateScaling.of(data.covariate_names, data.covariates, data.row_weight)
    pivot = float(np.average(data.y, weights=data.row_weight))
    choices = design(data, layout, scaling, text, pivot, covariates)
    lower = np.full(layout.size, -np.inf)
    lower[layout.half] = config.b_min
    fit, prior, spreads = _fit(choices, layout, config, lower)
    share = _cross_validated_share(choices, data, layout, config, spreads, lower)
    if share != 1.0:
        spreads = spreads.times(share)
        prior = _prior(layout, config, spreads)
        fit = fit_logit(choices, prior, lower=lower, start=fit)
    plain, (choices, fit, nests) = fit, _with_nests(choices, prior, fit, lower, data)
    spread = _spread(choices, fit, prior, data)
    shared = share_slopes(fit, spread, data.assortment.nest, float(prior.effects[1]))
    posterior = _posterior(*shared, layout, pivot)
    model = DemandModel(
        layout=layout,
        categories=data.assortment.categories,
        category=data.assortment.category,
        text=text,
        basis=basis,
        scaling=scaling,
        posterior=posterior,
        correction=SlopeCorrection.none(layout.n_categories),
        usual_ratio=_usual_ratio(data),
        b_min=config.b_min,
        contradicts=np.zeros(data.assortment.category.size, dtype=bool),
        nest=data.assortment.nest,
        dissimilarity=_dissimilarity(nests, layout.n_categories),
        covariates=covariates,
        units=data.units,
        report={
            **_report(data, config, fit, spreads),
            "cross_validated_share": share,
            "nests": [each.as_json() for each in nests],
            "log_likelihood_plain": plain.log_likelihood,
        },
    )
    return _with_item_check(model, data, config)


def _with_item_check(model: DemandModel, data: DemandData, config: DemandConfig) -> DemandModel:
    """The model with its items judged one by one; the report names those that stay at list."""
    a, b = model.estimated(data.item, data.similarity, data.behaviour[data.page], data.first_stage.nu, data.covariates)
    modelled, predicted = model.slopes
    effects = model.posterior.effects
    own = own_slopes(
        data,
        a - b * data.y,
        effects,
        predicted,
        modelled,
        cells=model.cells(data.item, data.page),
        b_min=config.b_min,
        level=config.item_level,
    )
    items = own.as_json(data.assortment.item_ids)
    return replace(model, contradicts=own.refused, report={**model.report, "items_at_list": items})


def _with_nests(
    choices: Choices, prior: Prior, plain: LogitFit, lower: Floats, data: DemandData
) -> tuple[Choices, LogitFit, tuple[CategoryNests, ...]]:
    """The choices and their optimum by the model that the evidence chooses for each category, and the evidence."""
    shop = data.assortment
    nests = judge_nests(
        choices, prior, plain, lower, item=data.item, nest=shop.nest, category=shop.category, names=shop.categories
    )
    if not any(each.nested for each in nests):
        return choices, plain, nests
    zeta = _dissimilarity(nests, len(shop.categories))[shop.category[data.item]]
    nested = choices.with_cells(Cells.of(data.page, shop.nest[data.item], zeta))
    return nested, fit_logit(nested, prior, lower=lower, start=plain), nests


def _spread(choices: Choices, fit: LogitFit, prior: Prior, data: DemandData) -> Laplace:
    """The covariance at the optimum, with the uncertainty of the nested categories' dissimilarities in it."""
    cells = choices.cells
    if not cells.row.size:
        return laplace(choices, fit, prior)
    found, kind = np.unique(data.assortment.category[data.item[cells.row[cells.starts]]], return_inverse=True)
    return with_dissimilarity(choices, fit, prior, kind.ravel(), found.size)


def _dissimilarity(nests: tuple[CategoryNests, ...], n_categories: int) -> Floats:
    """(C,) zeta that each category's demand has: 1 where it is a plain logit."""
    if not nests:
        return np.ones(n_categories)
    return np.array([each.dissimilarity if each.nested else 1.0 for each in nests])


def design(
    data: DemandData, layout: Layout, scaling: FeatureScaling, text: Floats, pivot: float, covariates: CovariateScaling
) -> Choices:
    """The choice problem of the demand model: features of the level, of ``b`` times ``pivot - y``, nu, covariates.

    The level is the utility at the pivot, the mean price ratio. Level and slope may have independent priors there: how
    well an item sells says nothing about how fast its demand falls. At price 0, far from all data, they may not: a
    steep item would need a high utility. Items are the groups.
    """
    page, item = data.page, data.item
    behaviour = scaling.behaviour(data.behaviour)[page]
    rows = layout.rows(data.assortment.category[item], data.similarity - scaling.similarity, behaviour, text[item])
    X = np.empty((data.n_rows, layout.size))
    X[:, : layout.half] = rows
    np.multiply(rows, pivot - data.y[:, None], out=X[:, layout.half : 2 * layout.half])
    X[:, layout.phi] = data.first_stage.nu
    X[:, layout.gamma] = covariates.standardised(data.covariates)
    loadings = np.column_stack([np.ones(data.n_rows), pivot - data.y])
    n_items = int(data.assortment.category.size)
    return Choices(X, data.starts, data.bought, data.outside, item, loadings, n_items)


@dataclass(frozen=True)
class _Spreads:
    """Prior spreads that empirical Bayes estimates: of the item effects (2,), and by family of coefficients."""

    tau: Floats
    families: dict[str, float]

    def times(self, share: float) -> _Spreads:
        """All spreads times a share."""
        return _Spreads(self.tau * share, {name: spread * share for name, spread in self.families.items()})

    def near(self, other: _Spreads) -> bool:
        """Whether all spreads agree within the tolerance."""
        mine, theirs = [*self.tau, *self.families.values()], [*other.tau, *other.families.values()]
        return bool((np.abs(np.divide(mine, theirs) - 1.0) < SPREAD_TOLERANCE).all())


def _fit(choices: Choices, layout: Layout, config: DemandConfig, lower: Floats) -> tuple[LogitFit, Prior, _Spreads]:
    """Alternate between the fit and the spreads of its priors until the spreads settle (MacKay's fixed point)."""
    first = _Spreads(np.array(config.tau or FIRST_TAU), _family_spreads(layout, config))
    spreads, prior = first, _prior(layout, config, first)
    fit = fit_logit(choices, prior, lower=lower)
    for _ in range(config.rounds):
        found = _estimate_spreads(choices, layout, config, fit, prior, first)
        settled = found.near(spreads)
        spreads, prior = found, _prior(layout, config, found)
        fit = fit_logit(choices, prior, lower=lower, start=fit)
        if settled:
            break
    return fit, prior, spreads


def _cross_validated_share(
    choices: Choices, data: DemandData, layout: Layout, config: DemandConfig, spreads: _Spreads, lower: Floats
) -> float:
    """The share of all spreads under which pages predict other pages best, by cross-validation.

    Empirical Bayes reads spreads off few purchases poorly, and its own prior keeps them from vanishing. A small share
    leaves one price response for all. Large logs need no help: there the share is 1.
    """
    if config.rounds == 0 or data.starts.size > CROSS_VALIDATED:
        return 1.0
    loss = np.zeros(len(SHARES))
    for k in np.unique(data.fold):
        train, held = (choices.pages(keep) for keep in (data.fold != k, data.fold == k))
        if not train.bought.any():
            continue
        start = None
        for at, share in enumerate(SHARES):
            start = fit_logit(train, _prior(layout, config, spreads.times(share)), lower=lower, start=start)
            loss[at] -= log_likelihood(held, held.utility(start.theta, start.effects))
    return SHARES[int(loss.argmin())]


def _estimate_spreads(
    choices: Choices, layout: Layout, config: DemandConfig, fit: LogitFit, prior: Prior, first: _Spreads
) -> _Spreads:
    """Spreads estimated from the current fit.

    A coefficient counts by how far the data, rather than its prior, determine it. The first spread of a family counts
    as one more coefficient of that size: families are small, and a spread that reached 0 could never grow again.
    """
    tau = first.tau
    if config.tau is None and choices.group is not None:
        shown = np.bincount(choices.group, minlength=choices.n_groups) > 0
        informed = (1.0 - effect_variances(choices, fit, prior)[shown] * prior.effects).sum(axis=0)
        squares = (fit.effects[shown] ** 2).sum(axis=0)
        tau = np.clip(np.sqrt(squares / np.maximum(informed, 1e-6)), *SPREAD_RANGE)
    informed = 1.0 - shared_variances(choices, fit, prior) * prior.precision
    families = {
        name: float(np.sqrt(((fit.theta[part] ** 2).sum() + first.families[name] ** 2) / (informed[part].sum() + 1.0)))
        for name, part in layout.families.items()
    }
    return _Spreads(tau, families)


def _family_spreads(layout: Layout, config: DemandConfig) -> dict[str, float]:
    spread = {
        "utility category": config.category_utility,
        "slope category": config.category_slope,
        "utility behaviour": config.behaviour,
        "slope behaviour": config.behaviour,
        "utility text": config.text,
        "slope text": config.text,
    }
    return {name: spread[name] for name in layout.families}


def _prior(layout: Layout, config: DemandConfig, spreads: _Spreads) -> Prior:
    spread = np.full(layout.size, config.similarity)
    spread[[0, layout.half, layout.phi]] = config.utility_spread, config.slope_spread, config.control
    spread[layout.gamma] = config.covariate
    for name, part in layout.families.items():
        spread[part] = spreads.families[name]
    mean = np.zeros(layout.size)
    mean[layout.half] = config.slope_mean
    return Prior(mean, spread**-2.0, spreads.tau**-2.0)


def demand_prior(layout: Layout, config: DemandConfig) -> tuple[Prior, Floats]:
    """The prior before any data: of theta, and the spreads (2,) of the item effects."""
    spreads = _Spreads(np.array(config.tau or FIRST_TAU), _family_spreads(layout, config))
    return _prior(layout, config, spreads), spreads.tau


def _posterior(fit: LogitFit, spread: Laplace, layout: Layout, pivot: float) -> Posterior:
    """Posterior in terms of utilities at price 0, ``a = level + pivot b``, from that of levels at the pivot."""
    values, vectors = np.linalg.eigh(spread.shared)
    factor = vectors * np.sqrt(np.maximum(values, 0.0))
    half = np.arange(layout.half)
    shared, own = np.eye(layout.size), np.array([[1.0, pivot], [0.0, 1.0]])
    shared[half, layout.half + half] = pivot
    conditional = own @ spread.conditional @ own.T
    return Posterior(
        theta=shared @ fit.theta,
        effects=fit.effects @ own.T,
        factor=shared @ factor,
        gain=own @ spread.gain @ np.linalg.inv(shared),
        conditional=np.asarray(np.linalg.cholesky(conditional)),
    )


def text_basis(data: DemandData, components: int) -> tuple[TextBasis, Floats]:
    """Leading principal components of the catalogue's embeddings; the largest weight of each is positive."""
    embeddings = data.assortment.embeddings
    n_items = data.assortment.category.size
    if embeddings is None or components == 0 or n_items < 2:
        width = 0 if embeddings is None else embeddings.shape[1]
        return TextBasis(np.zeros(width), np.zeros((width, 0))), np.zeros((n_items, 0))
    centre = embeddings.mean(axis=0)
    centred = embeddings - centre
    values, vectors = np.linalg.eigh(centred.T @ centred / n_items)
    order = np.argsort(values)[::-1][:components]
    order = order[values[order] > 1e-12 * max(float(values[-1]), 1e-300)]
    chosen = vectors[:, order]
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(order.size)])
    basis = TextBasis(centre, chosen / np.sqrt(values[order]))
    return basis, basis.scores(embeddings)


def _scaling(data: DemandData) -> FeatureScaling:
    raw, weight = data.behaviour, data.weight[:, None]
    known = np.isfinite(raw)
    count = (known * weight).sum(axis=0)
    count = np.where(count > 0, count, 1.0)
    mean = np.where(known, weight * raw, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, weight * (raw - mean) ** 2, 0.0).sum(axis=0) / count)
    low = np.where(known.any(axis=0), np.where(known, raw, np.inf).min(axis=0), 0.0)
    high = np.where(known.any(axis=0), np.where(known, raw, -np.inf).max(axis=0), 0.0)
    similarity = float(np.average(data.similarity, weights=data.row_weight))
    return FeatureScaling(similarity, mean, np.where(spread > 0, spread, 1.0), low, high)


def _usual_ratio(data: DemandData) -> Floats:
    """(C,) mean price ratio seen by category; the mean over all where a category was never shown."""
    c = len(data.assortment.categories)
    category = data.assortment.category[data.item]
    weight = data.row_weight
    count = np.bincount(category, weights=weight, minlength=c)
    total = np.bincount(category, weights=weight * data.y, minlength=c)
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.average(data.y, weights=weight))


def _never_left(data: DemandData) -> list[str]:
    """Categories of which every page ended in a purchase: the level of their demand is that of the prior."""
    c = len(data.assortment.categories)
    category = data.assortment.category[data.item]
    shown = np.bincount(category, minlength=c) > 0
    left = np.bincount(category, weights=(data.outside > 0)[data.page], minlength=c) > 0
    return [name for name, never in zip(data.assortment.categories, shown & ~left, strict=True) if never]


def _report(data: DemandData, config: DemandConfig, fit: LogitFit, spreads: _Spreads) -> dict[str, Any]:
    return {
        "rows": data.n_rows,
        "pages": int(data.starts.size),
        "purchases": int(data.counts["purchases"]),
        "counts": data.counts,
        "left_out": data.left_out,
        "log_likelihood": fit.log_likelihood,
        "newton_steps": fit.iterations,
        "mean_slope_at_floor": bool(fit.bound.any()),
        "level_from_prior": _never_left(data),
        "tau": {"utility": float(spreads.tau[0]), "slope": float(spreads.tau[1])},
        "spreads": spreads.families,
        "first_stage": data.first_stage.as_json(),
        "config": asdict(config),
    }
