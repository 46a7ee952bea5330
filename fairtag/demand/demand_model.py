"""Demand on a page of search results: the hierarchical conditional logit that prices are chosen on.

``q_i(y) = exp(a_i - b_i y_i) / (1 + sum_j exp(a_j - b_j y_j))`` with ``y`` the price over the reference price. Knows
the parameters and how to read a page from them; nothing of how they are estimated, of costs, bounds or tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fairtag.base.errors import ConfigError, ModelFolderError
from fairtag.base.schema import USER_PRICING_FEATURES
from fairtag.demand.choices import Flags, Floats, Ints
from fairtag.demand.features import N_BEHAVIOUR, Layout, Standard, TextBasis

FORMAT = "fairtag.demand/1"


@dataclass(frozen=True)
class Posterior:
    """Gaussian posterior of the parameters: theta, and the item effects given theta.

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
class Reaction:
    """What the elasticity cross-check asks of each category: data, so that a model folder shows it.

    Args:
        scale: (C,) factor on the slope.
        priced: (C,) False where demand could not be shown to fall with the price: serve the list price.
    """

    scale: Floats
    priced: Flags

    @classmethod
    def none(cls, n_categories: int) -> Reaction:
        """Leave every category as estimated."""
        return cls(np.ones(n_categories), np.ones(n_categories, dtype=bool))


@dataclass(frozen=True)
class DemandModel:
    """Estimated demand over the rows of a catalogue.

    Args:
        layout: Order of theta.
        categories: (C,) names.
        category: (I,) category of each catalogue row.
        text: (I, n_text) text scores of each catalogue row.
        basis: How a new text is scored.
        standard: How similarity and behaviour are scaled.
        posterior: The parameters.
        reaction: Of the elasticity cross-check.
        usual_ratio: (C,) mean price ratio seen, at which a corrected slope leaves demand as estimated.
        b_min: Floor of the slope: demand always falls with the price.
        similarity_in_price: False prices every page at the mean similarity.
        report: What the fit says of itself; JSON.
    """

    layout: Layout
    categories: tuple[str, ...]
    category: Ints
    text: Floats
    basis: TextBasis
    standard: Standard
    posterior: Posterior
    reaction: Reaction
    usual_ratio: Floats
    b_min: float
    similarity_in_price: bool = True
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def n_items(self) -> int:
        """I, the number of catalogue rows."""
        return int(self.category.size)

    def page(
        self, items: np.ndarray, similarity: Floats, behaviour: Floats | None = None, *, personalise: bool = True
    ) -> tuple[Floats, Floats]:
        """Utilities ``a`` and slopes ``b`` of a page at mean unobserved demand (nu = 0), each (n,).

        Args:
            items: (n,) catalogue rows.
            similarity: (n,) similarity to the intent, in [0, 1].
            behaviour: (k,) raw allow-listed behaviour, NaN where unknown; None for nobody in particular.
            personalise: False leaves the behaviour out.
        """
        base_a, base_b = self._base
        (kappa, eta), (beta_s, omega) = self._terms
        s = similarity - self.standard.similarity if self.similarity_in_price else 0.0
        a, b = base_a[items] + kappa * s, base_b[items] + beta_s * s
        if personalise and behaviour is not None:
            z = self.standard.behaviour(behaviour)
            a, b = a + z @ eta, b + z @ omega
        return self._settled(items, a, b)

    def draws(
        self,
        items: np.ndarray,
        similarity: Floats,
        behaviour: Floats | None = None,
        *,
        n_draws: int = 256,
        seed: int = 0,
        personalise: bool = True,
    ) -> tuple[Floats, Floats]:
        """Posterior draws of ``(a, b)``, each (n_draws, n); the parameters of a draw are shared over the page.

        Args:
            items: (n,) catalogue rows, each at most once.
            similarity: (n,) similarity to the intent.
            behaviour: (k,) raw allow-listed behaviour, or None.
            n_draws: Number of draws.
            seed: Seed of the draws; equal seeds give equal draws.
            personalise: False leaves the behaviour out.
        """
        known, posterior = personalise and behaviour is not None, self.posterior
        z = self.standard.behaviour(behaviour) if known and behaviour is not None else np.zeros(N_BEHAVIOUR)
        s = similarity - self.standard.similarity if self.similarity_in_price else np.zeros(items.size)
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
        return self._settled(items, a.T, b.T)

    def priceable(self, items: np.ndarray) -> Flags:
        """(n,) whether the item's category may be priced; where not, the list price is served."""
        priced: Flags = self.reaction.priced[self.category[items]]
        return priced

    def utilities(self, items: Ints, similarity: Floats, behaviour: Floats, nu: Floats) -> tuple[Floats, Floats]:
        """``(a, b)`` of many rows at once, each (n,): what the fit is scored on.

        Args:
            items: (n,) catalogue rows.
            similarity: (n,) similarity.
            behaviour: (n, k) raw behaviour of the row's user.
            nu: (n,) control function.
        """
        base_a, base_b = self._base
        (kappa, eta), (beta_s, omega) = self._terms
        z, s = self.standard.behaviour(behaviour), similarity - self.standard.similarity
        s = s if self.similarity_in_price else np.zeros_like(s)
        a = base_a[items] + kappa * s + z @ eta + self.posterior.theta[self.layout.phi] * nu
        return self._settled(items, a, base_b[items] + beta_s * s + z @ omega)

    def cold_start(self, category: str | None, embeddings: np.ndarray) -> tuple[Floats, Floats]:
        """``(a, b)`` at mean similarity and behaviour for texts that are not in the catalogue, each (n,).

        Args:
            category: Name of their category; None or an unknown one counts as the mean over categories.
            embeddings: (n, d) text embeddings.
        """
        n, half = len(embeddings), self.layout.half
        code = self.categories.index(category) if category in self.categories else -1
        nothing = np.zeros((n, N_BEHAVIOUR))
        rows = self.layout.rows(np.full(n, code), np.zeros(n), nothing, self.basis.scores(embeddings))
        theta = self.posterior.theta
        return rows @ theta[:half], np.maximum(rows @ theta[half : 2 * half], self.b_min)

    def without_similarity(self) -> DemandModel:
        """The same model with kappa = beta_s = 0: similarity ranks, it no longer moves a price."""
        return replace(self, similarity_in_price=False)

    def with_reaction(self, reaction: Reaction, report: dict[str, Any] | None = None) -> DemandModel:
        """The same model after an elasticity cross-check."""
        if reaction.scale.shape != (len(self.categories),) or not bool((reaction.scale > 0).all()):
            raise ConfigError(f"reaction: scale {reaction.scale.tolist()}; needs a factor above 0 for each category")
        return replace(self, reaction=reaction, report={**self.report, **(report or {})})

    def coefficients(self) -> dict[str, dict[str, float]]:
        """Estimate and standard error of every shared coefficient by name, on the standardised scale."""
        errors = np.sqrt((self.posterior.factor**2).sum(axis=1))
        names = self.layout.names(self.categories)
        triples = zip(names, self.posterior.theta, errors, strict=True)
        return {name: {"value": float(value), "standard_error": float(error)} for name, value, error in triples}

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything numeric, for an npz or safetensors file without pickles."""
        nested: dict[str, np.ndarray] = {}
        for name, part in (("basis", self.basis), ("posterior", self.posterior), ("reaction", self.reaction)):
            nested |= {f"{name}.{column}": values for column, values in vars(part).items()}
        behaviour = {f"standard.{name}": getattr(self.standard, name) for name in ("mean", "scale", "low", "high")}
        own = {"category": self.category, "text": self.text, "usual_ratio": self.usual_ratio}
        return {**own, **nested, **behaviour}

    def metadata(self) -> dict[str, Any]:
        """Everything else, as JSON."""
        return {
            "format": FORMAT,
            "categories": list(self.categories),
            "behaviour": list(USER_PRICING_FEATURES),
            "n_text": self.layout.n_text,
            "similarity_mean": self.standard.similarity,
            "similarity_in_price": self.similarity_in_price,
            "b_min": self.b_min,
            "coefficients": self.coefficients(),
            "report": self.report,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> DemandModel:
        """The model that :meth:`arrays` and :meth:`metadata` describe.

        Raises:
            ModelFolderError: The format or the behaviour allow-list is another one.
        """
        if metadata.get("format") != FORMAT or tuple(metadata["behaviour"]) != USER_PRICING_FEATURES:
            raise ModelFolderError(
                f"demand: format {metadata.get('format')} with behaviour {metadata.get('behaviour')}; "
                f"this version reads {FORMAT} with {list(USER_PRICING_FEATURES)}: train the model folder again"
            )
        layout = Layout(len(metadata["categories"]), int(metadata["n_text"]))
        return cls(
            layout=layout,
            categories=tuple(metadata["categories"]),
            category=arrays["category"],
            text=arrays["text"],
            basis=TextBasis(arrays["basis.centre"], arrays["basis.components"]),
            standard=Standard(
                float(metadata["similarity_mean"]),
                *(arrays[f"standard.{name}"] for name in ("mean", "scale", "low", "high")),
            ),
            posterior=Posterior(*(arrays[f"posterior.{f.name}"] for f in fields(Posterior))),
            reaction=Reaction(arrays["reaction.scale"], arrays["reaction.priced"]),
            usual_ratio=arrays["usual_ratio"],
            b_min=float(metadata["b_min"]),
            similarity_in_price=bool(metadata["similarity_in_price"]),
            report=dict(metadata["report"]),
        )

    @cached_property
    def _base(self) -> tuple[Floats, Floats]:
        """(I,) utilities and slopes at mean similarity and behaviour, before reaction and floor."""
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
    def _settling(self) -> tuple[Floats, Floats]:
        """(I,) slope factor and usual price ratio of each catalogue row."""
        return self.reaction.scale[self.category], self.usual_ratio[self.category]

    def _settled(self, items: np.ndarray, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """Apply the reaction and the floor to the slope; demand at the usual price stays as estimated."""
        scale, usual = self._settling
        slope = np.maximum(b * scale[items], self.b_min)
        return a + (slope - b) * usual[items], slope


@lru_cache(maxsize=8)
def _normals(seed: int, size: int, items: int, n_draws: int) -> tuple[Floats, Floats]:
    """Standard normal draws of theta (size, n_draws) and of the effects (items, 2, n_draws): those of a page's seed.

    The seed of a page is its epoch, so that a busy endpoint asks for the same ones all day.
    """
    rng = np.random.default_rng(seed)
    shared, each = rng.standard_normal((size, n_draws)), rng.standard_normal((items, 2, n_draws))
    shared.flags.writeable = each.flags.writeable = False
    return shared, each
