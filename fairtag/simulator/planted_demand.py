"""The demand planted in a simulated shop: the logit of docs/pricing-model.md, section 4, as an oracle.

Where the shop lists products twice, and the two listings share their demand, it is the nested logit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.simulator.catalogue import Catalogue, Floats, Ints
from fairtag.simulator.queries import Wishes, relevance

BEHAVIOUR = schema.USER_PRICING_FEATURES
# Planted user effects are linear in (raw - centre) / scale; an unknown value counts as the centre.
CENTRE = dict(zip(BEHAVIOUR, (35.0, 3.0, 180.0, 0.45), strict=True))
SCALE = dict(zip(BEHAVIOUR, (30.0, 1.8, 170.0, 0.25), strict=True))
USUAL_RATIO = 0.85  # the price ratio at which all categories are equally attractive
SALES_WEIGHT = 1.5  # sum of exp(utility) of a page of perfect matches at the usual ratio


@dataclass(frozen=True)
class Effects:
    """Sizes of the planted effects.

    Args:
        kappa: Utility of a full unit of relevance.
        beta_s: Change of the price slope for a full unit of relevance.
        eta: Utility of one scale unit of each behaviour feature, in the order of the pricing allow-list.
        omega: Change of the price slope for one scale unit of each behaviour feature.
        beta_low: Slope of the least price-sensitive category at relevance 0.
        beta_high: Slope of the most price-sensitive category at relevance 0.
        tier_beta: How much steeper the slope is for value than for standard, and for standard than for premium: this is
            the part of elasticity that text predicts.
        alpha_noise: Spread of item utilities that no text predicts.
        beta_noise: Spread of item slopes that no text predicts.
        phi: Utility of one unit of the unobserved price shock; no effect unless prices are endogenous.
        b_min: Floor of the slope.
    """

    kappa: float = 3.0
    beta_s: float = -1.0
    eta: tuple[float, ...] = (-0.15, 0.15, 0.05, 0.1)
    omega: tuple[float, ...] = (0.15, -0.2, -0.1, 1.0)
    beta_low: float = 5.5
    beta_high: float = 8.5
    tier_beta: float = 0.8
    alpha_noise: float = 0.15
    beta_noise: float = 0.15
    phi: float = 8.0
    b_min: float = 0.5


@dataclass(frozen=True)
class PlantedDemand:
    """The truth behind a simulated shop: its demand parameters, and the latent variables of each impression.

    Args:
        alpha_category: Utility by category, shape (c,).
        beta_category: Price slope by category, shape (c,).
        alpha_item: Item utilities, mean zero in each category, shape (n,).
        beta_item: Item slopes, mean zero in each category, shape (n,).
        kappa: See :class:`Effects`; also ``beta_s``, ``eta`` (k,), ``omega`` (k,), ``phi``, ``b_min``.
        dissimilarity: How far an item and its copy have demand of their own; 1 is the plain logit.
        centre: Behaviour values at which user effects are zero, shape (k,).
        scale: Behaviour change that counts as one unit, shape (k,).
        catalogue: Products; row i is row i of ``Tables.latest_items()``.
        wishes: Queries and their meaning.
        item_row: Catalogue row of each row of ``tables.impressions``, shape (m,).
        page_row: Page of each impression, shape (m,).
        similarity: Latent relevance of each impression, shape (m,).
        shock: Unobserved price shock nu of each impression (zero unless prices are endogenous), shape (m,).
        behaviour: Raw behaviour of the customer of each page at that time, NaN where unknown, shape (pages, k).
    """

    alpha_category: Floats
    beta_category: Floats
    alpha_item: Floats
    beta_item: Floats
    kappa: float
    beta_s: float
    eta: Floats
    omega: Floats
    phi: float
    b_min: float
    dissimilarity: float
    centre: Floats
    scale: Floats
    catalogue: Catalogue
    wishes: Wishes
    item_row: Ints
    page_row: Ints
    similarity: Floats
    shock: Floats
    behaviour: Floats

    def relevance(self, queries: list[str]) -> Floats:
        """Latent relevance of every item to queries, shape (len(queries), n); KeyError for an unknown query."""
        row = {text: i for i, text in enumerate(self.wishes.text)}
        return relevance(self.wishes, self.catalogue, np.array([row[query] for query in queries], dtype=np.int64))

    def page(
        self,
        items: NDArray[np.integer],
        similarity: Floats,
        behaviour: Floats | None = None,
        *,
        shock: Floats | float = 0.0,
    ) -> tuple[Floats, Floats]:
        """Utilities ``a`` and slopes ``b`` of pages, each (..., n); ``q_i`` is proportional to exp(a_i - b_i y_i).

        Args:
            items: Catalogue rows, shape (..., n).
            similarity: Latent relevance, shape (..., n).
            behaviour: Raw behaviour, shape (..., k); None or NaN means no personal effect.
            shock: Unobserved price shock nu.
        """
        category = self.catalogue.category[items]
        a = self.alpha_category[category] + self.alpha_item[items] + self.kappa * similarity + self.phi * shock
        b = self.beta_category[category] + self.beta_item[items] + self.beta_s * similarity
        if behaviour is not None:
            z = np.nan_to_num((behaviour - self.centre) / self.scale)
            a = a + (z @ self.eta)[..., None]
            b = b + (z @ self.omega)[..., None]
        return a, np.maximum(b, self.b_min)

    def demand(
        self,
        items: NDArray[np.integer],
        similarity: Floats,
        behaviour: Floats | None,
        price_ratio: Floats,
        *,
        shock: Floats | float = 0.0,
        in_stock: NDArray[np.bool_] | None = None,
    ) -> Floats:
        """Purchase probability of each item of pages at prices ``y = p / list``, shape (..., n)."""
        a, b = self.page(items, similarity, behaviour, shock=shock)
        utility = np.broadcast_to(a - b * price_ratio, items.shape)
        utility = utility if in_stock is None else np.where(in_stock, utility, -np.inf)
        return choice_probabilities(self.nested(items, utility))

    def nested(self, items: NDArray[np.integer], utility: Floats) -> Floats:
        """Utilities (..., n) of pages, minus infinity for what is not in stock, as those of a logit."""
        page = np.repeat(np.arange(utility.size // utility.shape[-1]), utility.shape[-1])
        nest = self.catalogue.copy_of[items].ravel()
        return nested_utilities(utility.ravel(), page, nest, self.dissimilarity).reshape(utility.shape)

    def profit(
        self,
        items: NDArray[np.integer],
        similarity: Floats,
        behaviour: Floats | None,
        price_ratio: Floats,
        unit_cost: Floats,
    ) -> Floats:
        """Expected profit of pages in money, shape (...): the true value of a policy.

        Args:
            items: Catalogue rows, shape (..., n).
            similarity: Latent relevance, shape (..., n).
            behaviour: Raw behaviour, shape (..., k), or None.
            price_ratio: Prices over list price, shape (..., n).
            unit_cost: Unit costs in money, shape (..., n).
        """
        q = self.demand(items, similarity, behaviour, price_ratio)
        total: Floats = (q * (price_ratio * self.catalogue.list_price[items] - unit_cost)).sum(axis=-1)
        return total


def nested_utilities(utility: Floats, page: Ints, nest: Ints, dissimilarity: float) -> Floats:
    """Utilities (m,) of rows as those of a logit: ``u / zeta - (1 - zeta) log sum exp(u / zeta)`` over page and nest.

    >>> one = np.zeros(2, dtype=np.int64)
    >>> np.exp(nested_utilities(np.zeros(2), one, one, 0.5)).sum().round(3)    # two twins: not 2
    np.float64(1.414)
    """
    if dissimilarity == 1.0 or not utility.size:
        return utility
    _, cell = np.unique(page * (nest.max() + 1) + nest, return_inverse=True)
    top = np.full(cell.max() + 1, -np.inf)
    np.maximum.at(top, cell, utility)
    top = np.where(np.isfinite(top), top, 0.0)
    away = (utility - top[cell]) / dissimilarity
    whole = np.maximum(np.bincount(cell, weights=np.exp(away)), 1e-300)
    nested: Floats = away + (top - (1.0 - dissimilarity) * np.log(whole))[cell]
    return nested


def choice_probabilities(utility: Floats, in_stock: NDArray[np.bool_] | None = None) -> Floats:
    """``exp(u_i) / (1 + sum_j exp(u_j))`` over the last axis, without overflow; items out of stock get 0.

    >>> choice_probabilities(np.array([0.0, 0.0])).round(3)
    array([0.333, 0.333])
    """
    u = utility if in_stock is None else np.where(in_stock, utility, -np.inf)
    top = np.maximum(u.max(axis=-1, keepdims=True, initial=0.0), 0.0)
    weight = np.exp(u - top)
    q: Floats = weight / (np.exp(-top) + weight.sum(axis=-1, keepdims=True))
    return q


def plant(
    catalogue: Catalogue,
    wishes: Wishes,
    effects: Effects,
    page_size: int,
    rng: np.random.Generator,
    dissimilarity: float = 1.0,
) -> PlantedDemand:
    """Draw the demand parameters of a shop; the latent variables of impressions stay empty until pages are simulated.

    The categories get slopes from ``beta_low`` to ``beta_high`` in random order. Utilities are set so that a page of
    perfect matches at the usual ratio sells equally well in every category, whatever its slope.
    """
    n_categories = len(catalogue.words.categories)
    beta = rng.permutation(np.linspace(effects.beta_low, effects.beta_high, n_categories))
    level = np.log(SALES_WEIGHT / page_size) + rng.normal(0, 0.15, n_categories)
    tier = catalogue.attributes[:, 3]
    beta_item = effects.tier_beta * (1.0 - tier) + rng.normal(0, effects.beta_noise, len(catalogue))
    alpha_item = -USUAL_RATIO * effects.tier_beta * (tier - 1.0) + rng.normal(0, effects.alpha_noise, len(catalogue))
    alpha_item, beta_item = alpha_item[catalogue.copy_of], beta_item[catalogue.copy_of]
    none_f, none_i = np.zeros(0), np.zeros(0, dtype=np.int64)
    return PlantedDemand(
        alpha_category=level - effects.kappa + (beta + effects.beta_s) * USUAL_RATIO,
        beta_category=beta,
        alpha_item=_centred(alpha_item, catalogue.category, n_categories),
        beta_item=_centred(beta_item, catalogue.category, n_categories),
        kappa=effects.kappa,
        beta_s=effects.beta_s,
        eta=np.array(effects.eta),
        omega=np.array(effects.omega),
        phi=effects.phi,
        b_min=effects.b_min,
        dissimilarity=dissimilarity,
        centre=np.array([CENTRE[name] for name in BEHAVIOUR]),
        scale=np.array([SCALE[name] for name in BEHAVIOUR]),
        catalogue=catalogue,
        wishes=wishes,
        item_row=none_i,
        page_row=none_i,
        similarity=none_f,
        shock=none_f,
        behaviour=np.zeros((0, len(BEHAVIOUR))),
    )


def _centred(values: Floats, group: Ints, n_groups: int) -> Floats:
    count = np.maximum(np.bincount(group, minlength=n_groups), 1)
    return values - (np.bincount(group, weights=values, minlength=n_groups) / count)[group]
