"""Queries in the simulated shop, and the latent relevance of each product to them.

A *wish* is a product type with the attributes the shopper cares about. Its query is in the shopper's words, not the
shop's: synonyms that no title contains, descriptions of a need, typos. Relevance follows from the structure of the
catalogue, never from the words, so finding it from text is a real task for a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.simulator.catalogue import ATTRIBUTES, Catalogue, Floats, Ints, Texts, Vocabulary, pick

ANY = -1  # the shopper does not care
SAME_TYPE, SAME_FAMILY, SAME_CATEGORY, ELSEWHERE = 1.0, 0.45, 0.2, 0.02  # affinity of product types
ATTRIBUTE_PENALTY = 0.4  # share of the relevance lost when no wanted attribute matches
ATTRIBUTE_WEIGHTS = np.array([0.3, 0.25, 0.2, 0.25])  # material, colour, size, tier
ATTRIBUTE_WANTED = np.array([0.25, 0.3, 0.15, 0.25])  # how often a shopper names each
NEED, SYNONYM, TYPO = 0.12, 0.35, 0.1  # how often a query describes a need, uses a synonym, is misspelt
RATERS, RATER_NOISE = 3, 0.18  # a judgement is the mean of three raters on a three-point scale
DRAWS_PER_WISH = 4  # many draws have the same text, mostly the plain product name


@dataclass(frozen=True)
class Wishes:
    """Distinct queries and their meaning.

    Args:
        text: The query, unique, shape (w,).
        type: Wanted product type, shape (w,).
        category: Category of that type, shape (w,).
        attributes: Wanted attribute ids, ``ANY`` where the shopper does not care, shape (w, 4).
        popularity: Relative frequency, shape (w,).
    """

    text: Texts
    type: Ints
    category: Ints
    attributes: Ints
    popularity: Floats

    def __len__(self) -> int:
        return len(self.text)


def make_wishes(words: Vocabulary, n_wishes: int, rng: np.random.Generator) -> Wishes:
    """Draw up to ``n_wishes`` distinct queries; popularity falls with rank as in real query logs (Zipf)."""
    n_draws = DRAWS_PER_WISH * n_wishes
    kind = rng.permutation(np.arange(n_draws) % len(words.types)).astype(np.int64)
    category = np.array([kind_.category for kind_ in words.types])[kind]
    counts = np.array([[len(words.words(a, c)) for a in ATTRIBUTES] for c in range(len(words.categories))])
    values = (rng.random((n_draws, len(ATTRIBUTES))) * counts[category]).astype(np.int64)
    wanted = np.where(rng.random(values.shape) < ATTRIBUTE_WANTED, values, ANY)
    in_need = rng.random(n_draws) < NEED
    wanted[in_need] = ANY
    texts = [_words(words, k, w, need, rng) for k, w, need in zip(kind, wanted, in_need, strict=True)]
    _, first = np.unique(np.array(texts, dtype=str), return_index=True)
    kept = np.sort(first)[:n_wishes]
    popularity = 1.0 / np.sqrt(1.0 + rng.permutation(len(kept)))
    return Wishes(np.array(texts, dtype=object)[kept], kind[kept], category[kept], wanted[kept], popularity)


def _words(words: Vocabulary, kind: int, wanted: Ints, need: bool, rng: np.random.Generator) -> str:
    product, draws = words.types[kind], rng.random(9)
    if need:
        return str(pick(product.needs, draws[0]))
    name = pick(product.synonyms if draws[1] < SYNONYM else product.titles, draws[0])
    before: list[str] = []
    after: list[str] = []
    for j, attribute in enumerate(ATTRIBUTES):
        if wanted[j] == ANY:
            continue
        word = _attribute_words(words, attribute, product.category, int(wanted[j]), draws[2 + j])
        (after if attribute == "size" or draws[6] < 0.3 else before).append(word)
    text = " ".join([*before, name, *after])
    return _misspell(text, rng) if draws[7] < TYPO else text


def _attribute_words(words: Vocabulary, attribute: str, category: int, value: int, draw: float) -> str:
    if attribute == "tier":
        return str(pick(words.raw["tiers"][value]["queries"], draw))
    name = words.words(attribute, category)[value]
    if attribute == "colour":
        return str(pick((name, name, *words.raw["colours"][name]), draw))
    return name


def _misspell(text: str, rng: np.random.Generator) -> str:
    """Make one typing error: two letters swapped, one left out, or one doubled."""
    at, slip = int(rng.integers(1, len(text) - 1)), int(rng.integers(0, 3))
    left, letter, right = text[:at], text[at], text[at + 1 :]
    return (left + right[0] + letter + right[1:], left + right, left + letter + letter + right)[slip]


def relevance(wishes: Wishes, catalogue: Catalogue, rows: NDArray[np.integer] | None = None) -> Floats:
    """Latent relevance in [0, 1] of every item to the wishes in ``rows`` (default all), shape (len(rows), n).

    ``affinity(type) * (1 - ATTRIBUTE_PENALTY * share of the wanted attributes that do not match)``. Tiers count by
    their distance, as premium is further from value than standard is. An encoder's ``s = (1 + cos) / 2`` is an unknown
    increasing function of this; with an untrained encoder most pairs lie in [0.5, 0.9]. The slopes on relevance (kappa,
    beta_s) are therefore planted, and can be recovered, on this scale only.
    """
    chosen = np.arange(len(wishes)) if rows is None else rows
    types = catalogue.words.types
    family = np.array([kind.family for kind in types])
    category = np.array([kind.category for kind in types])
    affinity = np.full((len(types), len(types)), ELSEWHERE)
    affinity[category[:, None] == category[None, :]] = SAME_CATEGORY
    affinity[family[:, None] == family[None, :]] = SAME_FAMILY
    np.fill_diagonal(affinity, SAME_TYPE)
    missed = np.zeros((len(chosen), len(catalogue)))
    wanted_weight = np.zeros(len(chosen))
    for j, weight in enumerate(ATTRIBUTE_WEIGHTS):
        wanted = wishes.attributes[chosen, j]
        gap = wanted[:, None] - catalogue.attributes[None, :, j]
        distance = np.abs(gap) / 2.0 if ATTRIBUTES[j] == "tier" else (gap != 0)
        missed += weight * np.where(wanted[:, None] == ANY, 0.0, distance)
        wanted_weight += weight * (wanted != ANY)
    share = missed / np.maximum(wanted_weight, 1e-9)[:, None]
    by_type: Floats = affinity[wishes.type[chosen]][:, catalogue.type]
    return by_type * (1.0 - ATTRIBUTE_PENALTY * share)


def judge(latent: Floats, rng: np.random.Generator) -> Floats:
    """Graded judgements of latent relevance: the mean of three noisy raters, each giving 0, 0.5 or 1."""
    votes = latent[..., None] + rng.normal(0, RATER_NOISE, (*latent.shape, RATERS))
    grades: Floats = (np.clip(np.round(2.0 * votes), 0, 2) / 2.0).mean(axis=-1)
    return grades
