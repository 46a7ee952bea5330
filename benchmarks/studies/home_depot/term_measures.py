"""RMSE, nDCG@10 and reciprocal rank of several scores on the same search terms, with a paired bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Row
from fairtag.search.ranking_metrics import ndcg_by_query, reciprocal_rank_by_query

Floats = NDArray[np.float64]

RATING = 2.0  # relevance lies in [0, 1] in the tables; the figures are on the raters' scale of 1 to 3
GOOD = 5.0 / 6.0  # the reciprocal rank is that of the first product rated 2.67 or more of 3
DRAWS = 1000
_SEED = 0


@dataclass(frozen=True)
class Measure:
    """One measure of several scores.

    Args:
        name: Name of the measure.
        sign: 1 where more is better, -1 where less is.
        points: Value of each score.
        draws: Values of each score over resampled terms (d,), the same terms for all scores.
    """

    name: str
    sign: float
    points: dict[str, float]
    draws: dict[str, Floats]

    def row(self, label: str, score: str, reference: float | None = None) -> Row:
        """The value of a score with its 95 % interval."""
        low, high = np.quantile(self.draws[score], [0.025, 0.975])
        return Row(label, self.points[score], float(low), float(high), None, reference)

    def gain(self, label: str, score: str, other: str, reference: str | None = None) -> Row:
        """How much better one score is than another, paired by term."""
        low, high = np.quantile(self.sign * (self.draws[score] - self.draws[other]), [0.025, 0.975])
        point = self.sign * (self.points[score] - self.points[other])
        return Row(label, point, float(low), float(high), None, reference)


def measures(
    term: NDArray[np.str_],
    grade: Floats,
    grades: Mapping[str, Floats],
    orders: Mapping[str, Floats],
    draws: int = DRAWS,
) -> Iterator[Measure]:
    """RMSE, nDCG@10 and MRR, in this order.

    Args:
        term: Search term of each pair (n,).
        grade: Relevance by the raters in [0, 1] (n,).
        grades: Relevance that each score predicts (n,).
        orders: Value by which each score orders (n,), greater first.
        draws: Bootstrap samples of terms.
    """
    rng = np.random.default_rng(_SEED)
    codes = np.unique(term, return_inverse=True)[1]
    count = np.bincount(codes).astype(np.float64)
    squared = {
        name: np.bincount(codes, weights=(RATING * (predicted - grade)) ** 2) for name, predicted in grades.items()
    }
    drawn = rng.integers(0, len(count), (draws, len(count)))
    yield Measure(
        "rmse",
        -1.0,
        {name: float(np.sqrt(tops.sum() / count.sum())) for name, tops in squared.items()},
        {name: np.sqrt(tops[drawn].sum(1) / count[drawn].sum(1)) for name, tops in squared.items()},
    )
    for measure, by_term in (
        ("ndcg10", {name: ndcg_by_query(term, grade, score) for name, score in orders.items()}),
        ("mrr", {name: reciprocal_rank_by_query(term, grade >= GOOD, score) for name, score in orders.items()}),
    ):
        size = len(next(iter(by_term.values())))
        drawn = rng.integers(0, size, (draws, size))
        yield Measure(
            measure,
            1.0,
            {name: float(values.mean()) for name, values in by_term.items()},
            {name: values[drawn].mean(1) for name, values in by_term.items()},
        )
