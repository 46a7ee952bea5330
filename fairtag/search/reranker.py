"""Re-ranking: the relevance of a few candidates from the embedding and the words together.

Fitted on graded pairs that the encoder was not taught, so that its cosine is worth there what it is worth in the shop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fairtag.base.errors import ModelFolderError, ModelFolderMissing
from fairtag.base.files import load_arrays, save_arrays, write_atomic
from fairtag.search.match import FEATURES, Asked, Floats, Rarity, match_features
from fairtag.search.ranking_metrics import ndcg_by_query
from fairtag.search.text_table import Rows, TextTable
from fairtag.search.tree_graph import INPUT, OUTPUT, graph_of

GRAPH, RARITY = "reranker.onnx", "rarity"
LEAST_PAIRS = 400  # judged pairs below which nothing is fitted: eight leaves of the least size hold 320
LEAST_QUERIES = 60
_FOLDS = 3  # by query, to see whether re-ranking helps at all
_MODELS = 3  # of other seeds: their mean orders better than one
_SETTINGS: dict[str, Any] = {
    "max_iter": 200,
    "learning_rate": 0.05,
    "max_leaf_nodes": 8,  # small trees: the raters' noise is far greater than what sets a query's items apart
    "min_samples_leaf": 40,
    "l2_regularization": 1.0,
    "max_features": 0.5,
    "early_stopping": False,
}


class Reranker:
    """Relevance in [0, 1] of texts to a query, by boosted trees over :data:`~fairtag.search.match.FEATURES`.

    Safe to use from several threads.

    Args:
        graph: Serialised ONNX graph of the trees.
        rarity: How rare each stem of the shop's texts is.
    """

    def __init__(self, graph: bytes, rarity: Rarity) -> None:
        self._graph, self.rarity = graph, rarity
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (width,) = (entry.shape[1] for entry in self._session.get_inputs())
        if width != len(FEATURES):
            raise ModelFolderError(
                f"the re-ranker reads {width} features, this version makes {len(FEATURES)}: train again"
            )

    @classmethod
    def fit(cls, features: Floats, relevance: Floats, rarity: Rarity, seed: int = 0) -> Reranker:
        """Fit on graded pairs.

        Args:
            features: Of each pair (p, f), by :func:`pair_features` and the encoder that will serve.
            relevance: Grade of each pair in [0, 1] (p,).
            rarity: How rare each stem of the shop's texts is; the one that the features were made with.
            seed: Of the boosting.
        """
        from sklearn.ensemble import HistGradientBoostingRegressor  # serving has no use for it

        models = [
            HistGradientBoostingRegressor(
                monotonic_cst=list(FEATURES.values()), random_state=seed * _MODELS + number, **_SETTINGS
            ).fit(features, relevance)
            for number in range(_MODELS)
        ]
        return cls(graph_of(models, len(FEATURES)), rarity)

    def relevance(self, query: str, table: TextTable, rows: Rows, cosine: Floats) -> Floats:
        """Relevance (n,) of some rows' texts to a query, given the cosine of each with the intent."""
        features = match_features(Asked.of(query), table, rows, cosine, self.rarity)
        return self.of_features(features)

    def of_features(self, features: Floats) -> Floats:
        """Relevance (n,) of rows of features."""
        answer: Any = self._session.run([OUTPUT], {INPUT: features.astype(np.float32)})[0]
        return np.clip(np.asarray(answer, dtype=np.float64)[:, 0], 0.0, 1.0)

    def save(self, folder: Path) -> None:
        """Write the graph and the rarities into an existing folder."""
        write_atomic(folder / GRAPH, lambda path: path.write_bytes(self._graph))
        arrays: dict[str, NDArray[Any]] = {"stems": self.rarity.stems, "weight": self.rarity.weight}
        save_arrays(folder, RARITY, arrays, {"unknown": self.rarity.unknown})

    @classmethod
    def load(cls, folder: Path) -> Reranker:
        """Read what :meth:`save` wrote.

        Raises:
            ModelFolderMissing: A file is absent.
            ModelFolderError: It was fitted on other features than this version makes.
        """
        file = folder / GRAPH
        if not file.is_file():
            raise ModelFolderMissing(f"{file}: no re-ranker there; build the model folder again")
        arrays, facts = load_arrays(folder, RARITY)
        return cls(file.read_bytes(), Rarity(arrays["stems"], arrays["weight"], float(facts["unknown"])))


def pair_features(queries: Sequence[str], table: TextTable, rows: Rows, cosine: Floats, rarity: Rarity) -> Floats:
    """The features (p, f) of many pairs, query after query."""
    codes, place = np.unique(np.asarray(queries, dtype=np.str_), return_inverse=True)
    out = np.zeros((len(place), len(FEATURES)), dtype=np.float32)
    order = np.argsort(place, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        if pairs.size:
            query = Asked.of(str(codes[place[pairs[0]]]))
            out[pairs] = match_features(query, table, rows[pairs], cosine[pairs], rarity)
    return out.astype(np.float64)


def gain_over_cosine(queries: Sequence[str], features: Floats, relevance: Floats, seed: int = 0) -> float:
    """Mean nDCG@10 of trees on queries they were not fitted on, less that of the cosine alone."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    codes = np.unique(np.asarray(queries, dtype=np.str_), return_inverse=True)[1]
    fold = np.random.default_rng(seed).permutation(int(codes.max()) + 1)[codes] % _FOLDS
    score = np.zeros(len(codes))
    for number in range(_FOLDS):
        trees = HistGradientBoostingRegressor(monotonic_cst=list(FEATURES.values()), random_state=seed, **_SETTINGS)
        score[fold == number] = trees.fit(features[fold != number], relevance[fold != number]).predict(
            features[fold == number]
        )
    cosine = features[:, list(FEATURES).index("cosine")]
    gains = ndcg_by_query(queries, relevance, score) - ndcg_by_query(queries, relevance, cosine)
    return float(gains.mean()) if gains.size else 0.0


def enough(queries: NDArray[Any], relevance: Floats) -> bool:
    """Whether graded pairs are enough to fit on, and not all graded alike."""
    known = len(relevance) >= LEAST_PAIRS and len(np.unique(queries)) >= LEAST_QUERIES
    return bool(known and float(np.ptp(relevance)) > 0.0)
