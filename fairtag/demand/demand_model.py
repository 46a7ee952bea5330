"""The demand model: a hierarchical conditional logit over the items of a page (docs/pricing-model.md, section 4).

``q_i(y) = exp(a_i - b_i y_i) / (1 + sum_j exp(a_j - b_j y_j))`` with ``y`` the price over the reference price. Where
near-identical items share their demand it is a nested logit: :meth:`DemandModel.cells` adjusts the utilities first.
:func:`fairtag.demand.fit.fit_demand` estimates it; :meth:`DemandModel.page` gives ``a`` and ``b`` of a page.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtr

from fairtag.base.errors import ConfigError, ModelFolderError
from fairtag.base.normal import Z95
from fairtag.base.schema import USER_PRICING_FEATURES
from fairtag.demand.choices import Flags, Floats, Ints
from fairtag.demand.covariates import CovariateScaling
from fairtag.demand.features import N_BEHAVIOUR, FeatureScaling, Layout, TextBasis
from fairtag.solver.cells import Cells

FORMAT = "fairtag.demand/6"


@dataclass(frozen=True)
class Posterior:
    """Gaussian posterior of the parameters: of theta, and of the item effects given theta.

    Args:
        theta: (K,) mode.
        effects: (I, 2) mode of the item effects on a and on b.
        factor: (K, K) with ``factor @ factor.T`` the covariance of theta.
        gain: (I, 2, K): the mean of the effects falls by ``gain @ (theta - mode)``.
        conditional: (I, 2, 2) Cholesky factor of the covariance of the effects given theta.
    """

    theta: Floats
    effects: Floats
    factor: Floats
    gain: Floats
    conditional: Floats


@dataclass(frozen=True)
class SlopeCorrection:
    """Result of the elasticity cross-check for each category.

    Args:
        scale: (C,) factor on the slope.
        priced: (C,) False where demand could not be shown to fall with the price: serve the list price.
    """

    scale: Floats
    priced: Flags

    @classmethod
    def none(cls, n_categories: int) -> SlopeCorrection:
        """Every category as estimated."""
        return cls(np.ones(n_categories), np.ones(n_categories, dtype=bool))


@dataclass(frozen=True)
class DemandModel:
    """Estimated demand over the rows of a catalogue.

    Args:
        layout: Order of the coefficients in theta.
        categories: (C,) names.
        category: (I,) category of each catalogue row.
        text: (I, n_text) text scores of each catalogue row.
        basis: Projection that scores a new text.
        scaling: Centre and scale of similarity and behaviour.
        posterior: The parameters.
        correction: Slope correction of the elasticity cross-check.
        usual_ratio: (C,) mean price ratio in training; a corrected slope leaves demand there as estimated.
        b_min: Floor of the slope, above 0, so that demand always falls with the price.
        contradicts: (I,) items whose own purchases contradict what category and text predict; they stay at list.
        nest: (I,) nest of each item, the row of its first item; items of a nest have one slope.
        dissimilarity: (C,) zeta of each category; 1 where its demand is a plain logit.
        covariates: What else shifts demand, with the means at which prices are set.
        units: (C,) mean units of a purchase in each category; a purchase probability is of purchases of that size.
        report: Diagnostics of the fit; JSON.
    """

    layout: Layout
    categories: tuple[str, ...]
    category: Ints
    text: Floats
    basis: TextBasis
    scaling: FeatureScaling
    posterior: Posterior
    correction: SlopeCorrection
    usual_ratio: Floats
    b_min: float
    contradicts: Flags
    nest: Ints
    dissimilarity: Floats
    units: Floats
    covariates: CovariateScaling = field(default_factory=CovariateScaling.none)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        """Whether demand was fitted on pages; otherwise it is its prior alone, and every item stays at list."""
        return "not_learned" not in self.report

    @property
    def n_items(self) -> int:
        """I, the number of catalogue rows."""
        return int(self.category.size)

    def page(
        self, items: np.ndarray, similarity: Floats, behaviour: Floats | None = None, *, personalise: bool = True
    ) -> tuple[Floats, Floats]:
        """Utilities ``a`` and slopes ``b`` of a page at mean unobserved demand (nu = 0) and covariates, each (n,).

        Args:
            items: (n,) catalogue rows.
            similarity: (n,) similarity to the intent, in [0, 1].
            behaviour: (k,) raw allow-listed behaviour, NaN where unknown; None for an unknown customer.
            personalise: False leaves the behaviour out.
        """
        base_a, base_b = self._base
        (kappa, eta), (beta_s, omega) = self._terms
        s = similarity - self.scaling.similarity
        a, b = base_a[items] + kappa * s, base_b[items] + beta_s * s
        if personalise and behaviour is not None:
            z = self.scaling.behaviour(behaviour)
            a, b = a + z @ eta, b + z @ omega
        return self._corrected(items, a, b)

    def draws(
        self,
        items: np.ndarray,
        similarity: Floats,
        behaviour: Floats | None = None,
        *,
        n_draws: int = 256,
        seed: int = 0,
        personalise: bool = True,
        covariates: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Posterior draws of ``(a, b)``, each (n_draws, n); one draw's parameters hold for the whole page.

        Args:
            items: (n,) catalogue rows, no row twice.
            similarity: (n,) similarity to the intent.
            behaviour: (k,) raw allow-listed behaviour, or None.
            n_draws: Number of draws.
            seed: Seed of the draws; equal seeds give equal draws.
            personalise: False leaves the behaviour out.
            covariates: (n, V) logged values; their means when None.
        """
        known, posterior = personalise and behaviour is not None, self.posterior
        z = self.scaling.behaviour(behaviour) if known and behaviour is not None else np.zeros(N_BEHAVIOUR)
        s = similarity - self.scaling.similarity
        rows = self.layout.rows(
            self.category[items], s, np.broadcast_to(z, (items.size, N_BEHAVIOUR)), self.text[items]
        )
        shared, each = _normals(seed, self.layout.size, items.size, n_draws)
        shift = posterior.factor @ shared
        own = posterior.conditional[items] @ each
        own -= posterior.gain[items] @ shift
        own += posterior.effects[items][:, :, None]
        theta, half = posterior.theta[:, None] + shift, self.layout.half
        a, b = rows @ theta[:half] + own[:, 0], rows @ theta[half : 2 * half] + own[:, 1]
        if covariates is not None:
            a += self.covariates.standardised(covariates) @ theta[self.layout.gamma]
        return self._corrected(items, a.T, b.T)

    def cells(self, items: Ints, page: Ints | None = None) -> Cells:
        """What turns the utilities ``a - b y`` of rows into those of a logit: near-identical items share demand.

        ``probabilities(model.cells(items, page).adjust(a - b * y), starts, page)`` are the purchase probabilities.

        Args:
            items: (n,) catalogue rows.
            page: (n,) page of each row; one page when None.
        """
        where = np.zeros(items.size, dtype=np.int64) if page is None else page
        return Cells.of(where, self.nest[items], self.dissimilarity[self.category[items]])

    def units_of(self, items: Ints) -> Floats:
        """(n,) mean units of a purchase of each item."""
        return np.asarray(self.units[self.category[items]], dtype=np.float64)

    def slope_above(
        self, items: np.ndarray, threshold: Floats, similarity: Floats, behaviour: Floats | None = None
    ) -> Floats:
        """Posterior probability ``Pr(b > threshold)`` of each item's slope, (n,): exact, as the posterior is Gaussian.

        Args:
            items: (n,) catalogue rows.
            threshold: (n,) slopes.
            similarity: (n,) similarity to the intent.
            behaviour: (k,) raw allow-listed behaviour, or None.
        """
        s = similarity - self.scaling.similarity
        if behaviour is None and not s.any():
            mean, spread = self._usual_slopes(items)
        else:
            mean, spread = self._slopes(items, s, behaviour)
        scale, _ = self._item_correction
        with np.errstate(divide="ignore", invalid="ignore"):  # without any spread the slope is known
            above = ndtr((mean * scale[items] - threshold) / (spread * scale[items]))
        return np.asarray(np.where(threshold < self.b_min, 1.0, above), dtype=np.float64)

    def _slopes(self, items: np.ndarray, s: Floats, behaviour: Floats | None) -> tuple[Floats, Floats]:
        """Posterior mean and standard deviation (n,) of the slopes, before the items' own purchases correct them.

        Args:
            items: (n,) catalogue rows.
            s: (n,) similarity beyond the mean of training.
            behaviour: (k,) raw allow-listed behaviour, or None.
        """
        posterior, half = self.posterior, self.layout.half
        z = np.zeros(N_BEHAVIOUR) if behaviour is None else self.scaling.behaviour(behaviour)
        rows = self.layout.rows(
            self.category[items], s, np.broadcast_to(z, (items.size, N_BEHAVIOUR)), self.text[items]
        )
        mean = rows @ posterior.theta[half : 2 * half] + posterior.effects[items, 1]
        own = -posterior.gain[items, 1]
        own[:, half : 2 * half] += rows
        variance = ((own @ posterior.factor) ** 2).sum(-1) + (posterior.conditional[items, 1] ** 2).sum(-1)
        return np.asarray(mean), np.sqrt(variance)

    def _usual_slopes(self, items: np.ndarray) -> tuple[Floats, Floats]:
        """:meth:`_slopes` of an unknown customer at the mean similarity, kept by item, as most prices ask for them."""
        kept = self._kept_slopes
        new = np.unique(items[np.isnan(kept[1, items])])
        if new.size:  # two threads that find the same items new write the same numbers
            kept[:, new] = self._slopes(new, np.zeros(new.size), None)
        return kept[0, items], kept[1, items]

    @cached_property
    def _kept_slopes(self) -> Floats:
        return np.full((2, len(self.category)), np.nan)

    def priceable(self, items: np.ndarray) -> Flags:
        """(n,) whether category and item may be priced; if not, list is served.

        An item may not where its own purchases contradict its category, or where its slope rests on the floor.
        """
        falls = self._base[1][items] * self._item_correction[0][items] > self.b_min
        priced: Flags = self.correction.priced[self.category[items]] & ~self.contradicts[items] & falls
        return priced

    def utilities(
        self, items: Ints, similarity: Floats, behaviour: Floats, nu: Floats, covariates: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """``(a, b)`` of many rows at once, each (n,), as evaluation needs them.

        Args:
            items: (n,) catalogue rows.
            similarity: (n,) similarity.
            behaviour: (n, k) raw behaviour of the row's user.
            nu: (n,) first-stage residual.
            covariates: (n, V) logged values, NaN where unknown; their means when None.
        """
        return self._corrected(items, *self.estimated(items, similarity, behaviour, nu, covariates))

    def estimated(
        self, items: Ints, similarity: Floats, behaviour: Floats, nu: Floats, covariates: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """The same as estimated: before the slope correction and the floor."""
        base_a, base_b = self._base
        (kappa, eta), (beta_s, omega) = self._terms
        z, s = self.scaling.behaviour(behaviour), similarity - self.scaling.similarity
        a = base_a[items] + kappa * s + z @ eta + self.posterior.theta[self.layout.phi] * nu
        if covariates is not None:
            a = a + self.covariates.standardised(covariates) @ self.posterior.theta[self.layout.gamma]
        return a, base_b[items] + beta_s * s + z @ omega

    @property
    def slopes(self) -> tuple[Floats, Floats]:
        """(I,) slope of each item at mean similarity and behaviour, as estimated; and without the item's own effect."""
        return self._base[1], self._base[1] - self.posterior.effects[:, 1]

    def cold_start(self, category: str | None, embeddings: np.ndarray) -> tuple[Floats, Floats]:
        """``(a, b)`` at mean similarity and behaviour for texts that are not in the catalogue, each (n,).

        Args:
            category: Name of their category; None or an unknown name counts as the mean over categories.
            embeddings: (n, d) text embeddings.
        """
        n, half = len(embeddings), self.layout.half
        code = self.categories.index(category) if category in self.categories else -1
        nothing = np.zeros((n, N_BEHAVIOUR))
        rows = self.layout.rows(np.full(n, code), np.zeros(n), nothing, self.basis.scores(embeddings))
        theta = self.posterior.theta
        return rows @ theta[:half], np.maximum(rows @ theta[half : 2 * half], self.b_min)

    def with_correction(self, correction: SlopeCorrection, report: dict[str, Any] | None = None) -> DemandModel:
        """The same model with the slope correction of a cross-check.

        Raises:
            ConfigError: The correction does not have one factor above 0 for each category.
        """
        if correction.scale.shape != (len(self.categories),) or not bool((correction.scale > 0).all()):
            raise ConfigError(
                f"slope correction: scale {correction.scale.tolist()} is refused; "
                f"it needs a factor above 0 for each of {len(self.categories)} categories"
            )
        return replace(self, correction=correction, report={**self.report, **(report or {})})

    def coefficients(self) -> dict[str, dict[str, float]]:
        """Estimate and standard error of each shared coefficient by name, for standardised features."""
        errors = np.sqrt((self.posterior.factor**2).sum(axis=1))
        names = self.layout.names(self.categories, self.covariates.names)
        triples = zip(names, self.posterior.theta, errors, strict=True)
        return {name: {"value": float(value), "standard_error": float(error)} for name, value, error in triples}

    def covariate_effects(self) -> dict[str, tuple[float, float, float]]:
        """Effect of one unit of each covariate on the utility, by name, with its 95 % interval."""
        known = self.coefficients()
        effects = {}
        for name, scale in zip(self.covariates.names, self.covariates.scale, strict=True):
            found = known[f"gamma[{name}]"]
            half = Z95 * found["standard_error"]
            value = found["value"]
            effects[name] = (float(value / scale), float((value - half) / scale), float((value + half) / scale))
        return effects

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of the model, for an npz or safetensors file."""
        nested: dict[str, np.ndarray] = {}
        for name, part in (("basis", self.basis), ("posterior", self.posterior), ("correction", self.correction)):
            nested |= {f"{name}.{column}": values for column, values in vars(part).items()}
        behaviour = {f"scaling.{name}": getattr(self.scaling, name) for name in ("mean", "scale", "low", "high")}
        own: dict[str, np.ndarray] = {"category": self.category, "text": self.text, "usual_ratio": self.usual_ratio}
        own |= {"contradicts": self.contradicts, "nest": self.nest, "dissimilarity": self.dissimilarity}
        own |= {"units": self.units}
        covariates = {f"covariates.{name}": getattr(self.covariates, name) for name in ("mean", "scale")}
        return {**own, **nested, **behaviour, **covariates}

    def metadata(self) -> dict[str, Any]:
        """All else of the model, as JSON."""
        return {
            "format": FORMAT,
            "categories": list(self.categories),
            "behaviour": list(USER_PRICING_FEATURES),
            "n_text": self.layout.n_text,
            "covariates": list(self.covariates.names),
            "similarity_mean": self.scaling.similarity,
            "b_min": self.b_min,
            "coefficients": self.coefficients(),
            "report": self.report,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> DemandModel:
        """The model that :meth:`arrays` and :meth:`metadata` describe.

        Raises:
            ModelFolderError: The format or the allow-list of behaviour differs from this version's.
        """
        if metadata.get("format") != FORMAT or tuple(metadata["behaviour"]) != USER_PRICING_FEATURES:
            raise ModelFolderError(
                f"demand: format {metadata.get('format')} with behaviour {metadata.get('behaviour')}; "
                f"this version reads {FORMAT} with {list(USER_PRICING_FEATURES)}: train the model folder again"
            )
        covariates = tuple(metadata["covariates"])
        layout = Layout(len(metadata["categories"]), int(metadata["n_text"]), len(covariates))
        return cls(
            layout=layout,
            categories=tuple(metadata["categories"]),
            category=arrays["category"],
            text=arrays["text"],
            basis=TextBasis(arrays["basis.centre"], arrays["basis.components"]),
            scaling=FeatureScaling(
                float(metadata["similarity_mean"]),
                *(arrays[f"scaling.{name}"] for name in ("mean", "scale", "low", "high")),
            ),
            posterior=Posterior(*(arrays[f"posterior.{f.name}"] for f in fields(Posterior))),
            correction=SlopeCorrection(arrays["correction.scale"], arrays["correction.priced"]),
            usual_ratio=arrays["usual_ratio"],
            b_min=float(metadata["b_min"]),
            contradicts=arrays["contradicts"],
            nest=arrays["nest"],
            dissimilarity=arrays["dissimilarity"],
            units=arrays["units"],
            covariates=CovariateScaling(covariates, arrays["covariates.mean"], arrays["covariates.scale"]),
            report=dict(metadata["report"]),
        )

    @cached_property
    def _base(self) -> tuple[Floats, Floats]:
        """(I,) utilities and slopes at mean similarity and behaviour, before correction and floor."""
        n, half, theta = self.n_items, self.layout.half, self.posterior.theta
        rows = self.layout.rows(self.category, np.zeros(n), np.zeros((n, N_BEHAVIOUR)), self.text)
        effects = self.posterior.effects
        return rows @ theta[:half] + effects[:, 0], rows @ theta[half : 2 * half] + effects[:, 1]

    @cached_property
    def _terms(self) -> tuple[tuple[float, Floats], tuple[float, Floats]]:
        """``(kappa, eta)`` and ``(beta_s, omega)``."""
        at = 1 + self.layout.n_categories
        a, b = self.posterior.theta[: self.layout.half], self.posterior.theta[self.layout.half : 2 * self.layout.half]
        behaviour = slice(at + 1, at + 1 + N_BEHAVIOUR)
        return (float(a[at]), a[behaviour]), (float(b[at]), b[behaviour])

    @cached_property
    def _item_correction(self) -> tuple[Floats, Floats]:
        """(I,) slope factor and usual price ratio of each catalogue row."""
        return self.correction.scale[self.category], self.usual_ratio[self.category]

    def _corrected(self, items: np.ndarray, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """Apply correction and floor to the slope; demand at the usual price ratio stays as estimated."""
        scale, usual = self._item_correction
        slope = np.maximum(b * scale[items], self.b_min)
        return a + (slope - b) * usual[items], slope


@lru_cache(maxsize=8)
def _normals(seed: int, size: int, items: int, n_draws: int) -> tuple[Floats, Floats]:
    """Standard normal draws for theta (size, n_draws) and for the effects (items, 2, n_draws).

    Cached: the seed of a page is its price day, so a busy endpoint asks for the same draws all day.
    """
    rng = np.random.default_rng(seed)
    shared, each = rng.standard_normal((size, n_draws)), rng.standard_normal((items, 2, n_draws))
    shared.flags.writeable = each.flags.writeable = False
    return shared, each
