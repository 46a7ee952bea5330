"""The learners that the price model combines: embedding, words, neighbours, market.

Each is a plain array or table, so that it can be stored without pickle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from fairtag.base.errors import ConfigError
from fairtag.price_model.design import Design, fit_design, log_competitor

Floats = NDArray[np.float64]

LEARNERS = ("embedding", "words", "neighbours", "market")
SAME = 1.0 - 1e-6  # cosine above which a neighbour counts as the item itself, and is left out
MEMORY = 20_000  # items stored as neighbours: 30 MB at 384 dimensions
_BLOCK = 2048  # rows compared with the memory at a time


@dataclass(frozen=True)
class PriceModelConfig:
    """Settings of the price model.

    Args:
        coverage: Share of new items whose price the interval should hold.
        folds: Folds of the cross-fitting.
        embedding_penalty: Ridge penalty of embedding and indicators; chosen on product_matching, like the next.
        word_penalty: Ridge penalty of the words.
        neighbours: Number of nearest items averaged.
        sharpness: A neighbour weighs ``exp(sharpness * cosine)``.
        numeric: Further numeric columns of the items, such as season or promotion.
        seed: Seed of the folds.
    """

    coverage: float = 0.9
    folds: int = 5
    embedding_penalty: float = 0.5
    word_penalty: float = 0.3
    neighbours: int = 5
    sharpness: float = 10.0
    numeric: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 <= self.coverage < 1.0:
            raise ConfigError(f"price model: coverage is {self.coverage}; it must be within [0.5, 1)")
        for name in ("folds", "neighbours"):
            if getattr(self, name) < (2 if name == "folds" else 1):
                raise ConfigError(
                    f"price model: {name} is {getattr(self, name)}; it must be at least {2 if name == 'folds' else 1}"
                )
        if min(self.embedding_penalty, self.word_penalty) <= 0:
            raise ConfigError(
                f"price model: penalties {self.embedding_penalty} and {self.word_penalty} must be above 0"
            )


@dataclass(frozen=True)
class Learners:
    """The fitted learners.

    Args:
        design: Columns of the regressions.
        embedding_line: Intercept and coefficients of the dense columns.
        word_line: Intercept and coefficients of the sparse columns.
        memory: (m, d) embeddings of the stored neighbours.
        memory_log_price: (m,) their log prices.
        market_offset: Mean of log list - log competitor.
    """

    design: Design
    embedding_line: Floats
    word_line: Floats
    memory: NDArray[np.float32]
    memory_log_price: Floats
    market_offset: float

    def predictions(
        self, embeddings: NDArray[np.float32], items: pd.DataFrame, config: PriceModelConfig
    ) -> tuple[Floats, Floats]:
        """Log price by each learner (n, 4), NaN where it has none; and the cosine of the nearest item (n,)."""
        embedding = self.embedding_line[0] + self.design.dense(embeddings, items) @ self.embedding_line[1:]
        words = self.word_line[0] + self.design.sparse(items) @ self.word_line[1:]
        near, nearness = neighbours(embeddings, self.memory, self.memory_log_price, config)
        return np.stack([embedding, words, near, log_competitor(items) + self.market_offset], axis=1), nearness


def fit_learners(
    embeddings: NDArray[np.float32], items: pd.DataFrame, log_price: Floats, config: PriceModelConfig
) -> Learners:
    """Fit the learners on items and their log prices."""
    design = fit_design(items, config.numeric)
    dense = Ridge(alpha=config.embedding_penalty).fit(design.dense(embeddings, items), log_price)
    sparse = Ridge(alpha=config.word_penalty, solver="sparse_cg", tol=1e-5).fit(design.sparse(items), log_price)
    kept = np.sort(np.random.default_rng(config.seed).permutation(len(items))[:MEMORY])
    gap = log_price - log_competitor(items)
    known = np.isfinite(gap)
    return Learners(
        design=design,
        embedding_line=np.concatenate([[dense.intercept_], dense.coef_]),
        word_line=np.concatenate([[sparse.intercept_], sparse.coef_]),
        memory=np.asarray(embeddings[kept], dtype=np.float32),
        memory_log_price=log_price[kept],
        market_offset=float(gap[known].mean()) if known.any() else 0.0,
    )


def neighbours(
    embeddings: NDArray[np.float32], memory: NDArray[np.float32], log_price: Floats, config: PriceModelConfig
) -> tuple[Floats, Floats]:
    """Mean log price of the nearest items, and the cosine of the nearest; the item itself is left out."""
    k = min(config.neighbours, len(memory))
    means, nearest = np.zeros(len(embeddings)), np.zeros(len(embeddings))
    for start in range(0, len(embeddings), _BLOCK):
        cosine = np.asarray(embeddings[start : start + _BLOCK] @ memory.T, dtype=np.float64)
        cosine[cosine > SAME] = -1.0
        best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(cosine, best, axis=1)
        weight = np.exp(config.sharpness * (near - near.max(1, keepdims=True)))
        means[start : start + _BLOCK] = (weight * log_price[best]).sum(1) / weight.sum(1)
        nearest[start : start + _BLOCK] = near.max(1)
    return means, nearest
