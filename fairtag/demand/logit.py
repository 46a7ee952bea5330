"""Conditional logit by maximum a posteriori: Newton's method on the concave posterior, and its Laplace covariance.

With nests of a given dissimilarity up to 1 the likelihood stays concave in the coefficients; the steps are those of
Fisher's scoring.

    fit = fit_logit(choices, prior)
    errors = laplace(choices, fit, prior).standard_errors

Without group effects a Newton step is one Cholesky solve. With them it is solved by conjugate gradients
(:mod:`fairtag.demand.hessian`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairtag.base.errors import ConfigError, NotConverged
from fairtag.demand.choices import Choices, Flags, Floats, log_likelihood, probabilities, score
from fairtag.demand.hessian import (
    NO_OPTIMUM,
    Arrow,
    Information,
    conjugate_gradients,
    group_information,
    group_information_times,
    information,
    information_times,
    inverse,
    penalised,
)

TOLERANCE = 1e-10  # relative Newton decrement below which rounding hides any further gain
IDENTIFIED = 1e-9  # least curvature at the optimum, relative to the start; separated data fall below it
MAX_ITERATIONS = 100  # Newton takes 5 to 12; more means that there is no optimum
SMALLEST_STEP = 2.0**-40
CG_TOLERANCE = 1e-3  # inexact Newton: a step still gains three digits and costs far fewer products


@dataclass(frozen=True)
class Prior:
    """Independent Gaussian priors; precision 0 is a flat prior.

    Args:
        mean: (K,) of the shared coefficients.
        precision: (K,) of the shared coefficients, at least 0.
        effects: (M,) precision of the group effects, whose mean is 0; above 0.
    """

    mean: Floats
    precision: Floats
    effects: Floats

    @classmethod
    def flat(cls, n_features: int) -> Prior:
        """No prior: maximum likelihood."""
        return cls(np.zeros(n_features), np.zeros(n_features), np.zeros(0))


@dataclass(frozen=True)
class LogitFit:
    """The optimum.

    Args:
        theta: (K,) shared coefficients.
        effects: (n_groups, M) group effects.
        bound: (K,) whether a coefficient lies on its lower bound.
        log_likelihood: At the optimum, without the prior.
        iterations: Newton steps taken.
    """

    theta: Floats
    effects: Floats
    bound: Flags
    log_likelihood: float
    iterations: int


@dataclass(frozen=True)
class Laplace:
    """Gaussian approximation of the posterior at the optimum.

    The marginal of ``theta`` and the regression of the effects on it are those of the full Hessian. Given ``theta``,
    the effects of two groups are taken as independent.

    Args:
        shared: (K, K) covariance of the shared coefficients; rows of coefficients at their bound are 0.
        gain: (n_groups, M, K): ``E[effects_g | theta] = effects_g - gain_g (theta - theta_hat)``.
        conditional: (n_groups, M, M) covariance of the effects given ``theta``.
    """

    shared: Floats
    gain: Floats
    conditional: Floats

    @property
    def standard_errors(self) -> Floats:
        """(K,) standard errors of the shared coefficients."""
        return np.sqrt(np.diag(self.shared))


def fit_logit(
    choices: Choices,
    prior: Prior | None = None,
    *,
    lower: Floats | None = None,
    start: LogitFit | None = None,
) -> LogitFit:
    """Maximise ``log-likelihood + log-prior`` subject to ``theta >= lower``.

    Args:
        choices: What was shown and chosen.
        prior: Flat when None.
        lower: (K,) lower bounds, ``-inf`` where there is none.
        start: A previous optimum to start from.

    Raises:
        NotConverged: There is no finite optimum: the data are separated or collinear and the prior is flat.
        ConfigError: The choices have group effects, and the prior has none for them.

    Example: one item, bought by two of three visitors at price 1 and by one of three at price 2. The slope is
    ``log(2/1) - log(1/2) = 2 log 2``.

        >>> price = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
        >>> bought = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
        >>> features = np.column_stack([np.ones(6), -price])
        >>> fit = fit_logit(Choices(features, starts=np.arange(6), bought=bought, outside=1.0 - bought))
        >>> fit.theta.round(4).tolist()
        [2.0794, 1.3863]
    """
    prior = prior or Prior.flat(choices.X.shape[1])
    _check_prior(choices, prior)
    floor = np.full(choices.X.shape[1], -np.inf) if lower is None else lower
    point = _Point.at(choices, prior, *_initial(choices, floor, start))
    curvature = np.diag(information(choices, point.q).shared) + prior.precision
    for iteration in range(1, MAX_ITERATIONS + 1):
        bound = (point.theta <= floor) & (point.slope < 0)
        step, effect_step = _newton_step(choices, prior, point, bound)
        decrement = float(point.slope @ step + np.sum(point.effect_slope * effect_step))
        if decrement <= TOLERANCE * max(1.0, abs(point.objective)):
            last = _Point.at(choices, prior, np.maximum(point.theta + step, floor), point.effects + effect_step)
            _check_identified(choices, prior, last, curvature)
            return LogitFit(last.theta, last.effects, bound, last.log_likelihood, iteration)
        moved = _search(choices, prior, point, step, effect_step, decrement, floor)
        if moved is None:
            break
        point = moved
    raise NotConverged(
        f"conditional logit: no optimum within {MAX_ITERATIONS} Newton steps "
        f"(largest coefficient {np.abs(point.theta).max():.3g}); {NO_OPTIMUM}"
    )


def laplace(choices: Choices, fit: LogitFit, prior: Prior | None = None) -> Laplace:
    """Covariance of the posterior at the optimum: the inverse of the full penalised Hessian, in arrow form.

    Raises:
        NotConverged: The Hessian is singular: a coefficient is not identified and has a flat prior.
    """
    prior = prior or Prior.flat(choices.X.shape[1])
    q, _ = probabilities(choices.adjusted(fit.theta, fit.effects), choices.starts, choices.page)
    curvature = penalised(information(choices, q), prior.precision, prior.effects, fit.bound)
    gain = _gain(choices, q, prior, curvature, fit.bound)
    reduced = curvature.shared - np.einsum("gmk,gml->kl", curvature.border, gain)
    shared = inverse(reduced)
    shared[fit.bound] = 0.0
    shared[:, fit.bound] = 0.0
    return Laplace(shared, gain, np.asarray(np.linalg.inv(curvature.blocks), dtype=np.float64))


@dataclass(frozen=True)
class _Point:
    """A point of the search, with the objective and the gradient there."""

    theta: Floats
    effects: Floats
    q: Floats
    log_likelihood: float
    objective: float
    slope: Floats
    effect_slope: Floats

    @classmethod
    def at(cls, choices: Choices, prior: Prior, theta: Floats, effects: Floats) -> _Point:
        utility = choices.adjusted(theta, effects)
        q, _ = probabilities(utility, choices.starts, choices.page)
        value = log_likelihood(choices, utility)
        slope, effect_slope = score(choices, q)
        away = theta - prior.mean
        penalty = 0.5 * float(prior.precision @ away**2 + np.sum(prior.effects * effects**2))
        slope = slope - prior.precision * away
        return cls(theta, effects, q, value, value - penalty, slope, effect_slope - prior.effects * effects)


def _initial(choices: Choices, floor: Floats, start: LogitFit | None) -> tuple[Floats, Floats]:
    if start is None:
        return np.maximum(0.0, floor), np.zeros((choices.n_groups, choices.n_loadings))
    return np.maximum(start.theta, floor), start.effects


def _newton_step(choices: Choices, prior: Prior, point: _Point, bound: Flags) -> tuple[Floats, Floats]:
    """Solve the penalised Newton system over the free coefficients."""
    arrow = Arrow(penalised(information(choices, point.q), prior.precision, prior.effects, bound))
    slope = np.where(bound, 0.0, point.slope)
    if not choices.n_loadings:
        return arrow.solve(slope, point.effect_slope)
    size, shape = slope.size, point.effect_slope.shape

    def times(vector: Floats) -> Floats:
        theta, effects = np.where(bound, 0.0, vector[:size]), vector[size:].reshape(shape)
        shared, groups = information_times(choices, point.q, theta, effects)
        shared = np.where(bound, vector[:size], shared + prior.precision * theta)
        return np.concatenate([shared, (groups + prior.effects * effects).ravel()])

    def precondition(vector: Floats) -> Floats:
        shared, groups = arrow.solve(vector[:size], vector[size:].reshape(shape))
        return np.concatenate([shared, groups.ravel()])

    step = conjugate_gradients(times, precondition, np.concatenate([slope, point.effect_slope.ravel()]), CG_TOLERANCE)
    return step[:size], step[size:].reshape(shape)


def _search(
    choices: Choices,
    prior: Prior,
    point: _Point,
    step: Floats,
    effect_step: Floats,
    decrement: float,
    floor: Floats,
) -> _Point | None:
    """Projected line search: halve the step until the objective rises enough (Armijo's rule); None if it never does."""
    length = 1.0
    while length >= SMALLEST_STEP:
        theta = np.maximum(point.theta + length * step, floor)
        with np.errstate(over="ignore", invalid="ignore"):  # a step too long is refused below
            moved = _Point.at(choices, prior, theta, point.effects + length * effect_step)
        if moved.objective >= point.objective + 1e-4 * length * decrement:
            return moved
        length /= 2.0
    return None


def _gain(
    choices: Choices,
    q: Floats,
    prior: Prior,
    curvature: Information,
    bound: Flags,
) -> Floats:
    """``D^-1 B`` with the full D, competition between groups included: one solve for each shared coefficient."""
    if not choices.n_loadings:
        return curvature.border
    shape = curvature.border.shape[:2]
    own = np.linalg.inv(curvature.majorant)

    def times(vector: Floats) -> Floats:
        effects = vector.reshape(shape)
        return (group_information_times(choices, q, effects) + prior.effects * effects).ravel()

    def precondition(vector: Floats) -> Floats:
        solved: Floats = np.einsum("gmn,gn->gm", own, vector.reshape(shape)).ravel()
        return solved

    gain = np.zeros_like(curvature.border)
    for k in np.flatnonzero(~bound):
        column = curvature.border[:, :, k].ravel()
        if column.any():
            gain[:, :, k] = conjugate_gradients(times, precondition, column, 1e-6).reshape(shape)
    return gain


def _check_identified(choices: Choices, prior: Prior, point: _Point, curvature: Floats) -> None:
    """Refuse an optimum at infinity (separated data under a flat prior): there the likelihood is flat to rounding."""
    if bool((prior.precision > 0).all()):
        return
    scale = np.sqrt(np.where(curvature > 0, curvature, 1.0))
    final = (information(choices, point.q).shared + np.diag(prior.precision)) / np.outer(scale, scale)
    least = float(np.linalg.eigvalsh(final)[0])
    if least < IDENTIFIED:
        raise NotConverged(
            f"conditional logit: {least:.1e} of the curvature at the start is left at the optimum "
            f"(largest coefficient {np.abs(point.theta).max():.3g}); {NO_OPTIMUM}"
        )


def _check_prior(choices: Choices, prior: Prior) -> None:
    if prior.effects.shape != (choices.n_loadings,) or bool((prior.effects <= 0).any()):
        raise ConfigError(
            f"prior of the group effects: {prior.effects.tolist()}; "
            f"needs {choices.n_loadings} precisions above 0, one for each loading"
        )
    if prior.mean.shape != prior.precision.shape or prior.mean.size != choices.X.shape[1]:
        raise ConfigError(f"prior: {prior.mean.size} means for {choices.X.shape[1]} features")


def shared_variances(choices: Choices, fit: LogitFit, prior: Prior) -> Floats:
    """(K,) posterior variances of the shared coefficients from the arrow form; slightly below the exact ones."""
    q, _ = probabilities(choices.adjusted(fit.theta, fit.effects), choices.starts, choices.page)
    curvature = penalised(information(choices, q), prior.precision, prior.effects, fit.bound)
    reduced = curvature.shared
    if choices.n_loadings:
        solved = np.linalg.solve(curvature.majorant, curvature.border)
        reduced = reduced - np.einsum("gmk,gml->kl", curvature.border, solved, optimize=True)
    return np.where(fit.bound, 0.0, np.diag(inverse(reduced)))


def effect_variances(choices: Choices, fit: LogitFit, prior: Prior) -> Floats:
    """(n_groups, M) posterior variances of the group effects given the shared coefficients."""
    q, _ = probabilities(choices.adjusted(fit.theta, fit.effects), choices.starts, choices.page)
    own, _ = choices.cells.curvature(q, choices.trials[choices.page])
    blocks = group_information(choices, own) + np.diag(prior.effects)
    return np.asarray(np.linalg.inv(blocks).diagonal(axis1=1, axis2=2), dtype=np.float64)
