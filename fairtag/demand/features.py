"""Features of the demand model: the order of its coefficients, and how raw inputs are scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairtag.base.schema import USER_PRICING_FEATURES
from fairtag.demand.choices import Floats, Ints

N_BEHAVIOUR = len(USER_PRICING_FEATURES)


@dataclass(frozen=True)
class Layout:
    """Position of each coefficient in the shared vector theta.

    theta holds the coefficients of ``a`` (mean, categories, similarity, behaviour, text), those of ``b`` in the same
    order, phi, and gamma.

    Args:
        n_categories: C.
        n_text: Number of principal components of the text embeddings.
        n_covariates: V, number of covariates.
    """

    n_categories: int
    n_text: int
    n_covariates: int = 0

    @property
    def half(self) -> int:
        """Number of coefficients of ``a``, and of ``b``."""
        return 1 + self.n_categories + 1 + N_BEHAVIOUR + self.n_text

    @property
    def size(self) -> int:
        """K, the length of theta."""
        return 2 * self.half + 1 + self.n_covariates

    @property
    def phi(self) -> int:
        """Position of phi, the coefficient of the control function."""
        return 2 * self.half

    @property
    def gamma(self) -> slice:
        """Positions of gamma, the coefficients of the covariates."""
        return slice(self.phi + 1, self.size)

    @property
    def families(self) -> dict[str, slice]:
        """Coefficients that share a prior spread: categories, behaviour and text, each for ``a`` and for ``b``."""
        c = self.n_categories
        parts = {
            "category": (1, 1 + c),
            "behaviour": (2 + c, 2 + c + N_BEHAVIOUR),
            "text": (2 + c + N_BEHAVIOUR, self.half),
        }
        return {
            f"{side} {name}": slice(start + low, start + high)
            for side, start in (("utility", 0), ("slope", self.half))
            for name, (low, high) in parts.items()
            if high > low
        }

    def names(self, categories: tuple[str, ...], covariates: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Name of each coefficient, as in the formula of docs/pricing-model.md, section 4."""
        text = range(self.n_text)
        a = ("alpha", *(f"alpha[{c}]" for c in categories), "kappa", *(f"eta[{u}]" for u in USER_PRICING_FEATURES))
        b = ("beta", *(f"beta[{c}]" for c in categories), "beta_s", *(f"omega[{u}]" for u in USER_PRICING_FEATURES))
        gamma = (f"gamma[{name}]" for name in covariates)
        return (*a, *(f"alpha_text[{j}]" for j in text), *b, *(f"beta_text[{j}]" for j in text), "phi", *gamma)

    def rows(self, category: Ints, similarity: Floats, behaviour: Floats, text: Floats) -> Floats:
        """(n, half) features of the rows, the same for ``a`` and for ``b``.

        Args:
            category: (n,) category of each row; -1, an unknown one, counts as the mean over categories.
            similarity: (n,) centred similarity.
            behaviour: (n, k) standardised behaviour.
            text: (n, n_text) text scores.
        """
        n, c = category.size, self.n_categories
        out = np.zeros((n, self.half))
        out[:, 0] = 1.0
        known = np.flatnonzero(category >= 0)
        out[known, 1 + category[known]] = 1.0
        out[:, 1 + c] = similarity
        out[:, 2 + c : 2 + c + N_BEHAVIOUR] = behaviour
        out[:, 2 + c + N_BEHAVIOUR :] = text
        return out


@dataclass(frozen=True)
class FeatureScaling:
    """Centre and scale of similarity and behaviour on the training pages.

    Args:
        similarity: Mean similarity, subtracted; pricing without similarity is pricing at this value.
        mean: (k,) mean of each behaviour feature.
        scale: (k,) its standard deviation, 1 where it does not vary.
        low: (k,) smallest value in training; lower values count as this one.
        high: (k,) largest value in training; higher values count as this one.
    """

    similarity: float
    mean: Floats
    scale: Floats
    low: Floats
    high: Floats

    def behaviour(self, raw: Floats) -> Floats:
        """(..., k) standardised behaviour; an unknown value (NaN or infinite) counts as the mean, 0."""
        z = (np.minimum(np.maximum(raw, self.low), self.high) - self.mean) / self.scale
        return np.where(np.isfinite(raw), z, 0.0)


@dataclass(frozen=True)
class TextBasis:
    """Principal components of the item texts, scaled to unit variance: ``scores = (E - centre) @ components``.

    Args:
        centre: (d,) mean embedding.
        components: (d, n_text), scaled.
    """

    centre: Floats
    components: Floats

    def scores(self, embeddings: np.ndarray) -> Floats:
        """(n, n_text) text scores of embeddings (n, d)."""
        scores: Floats = (np.asarray(embeddings, dtype=np.float64) - self.centre) @ self.components
        return scores
