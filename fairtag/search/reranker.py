"""The re-ranker: the relevance of a few candidates, from the cosine of the embeddings and from matching words.

It is fitted on graded pairs that the encoder was not trained on, where the cosine is as good as it is in the shop.
Boosted trees are stored as an ONNX graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fairtag.base.errors import ModelFolderError, ModelFolderMissing
from fairtag.base.files import load_arrays, save_arrays, write_atomic
from fairtag.search.match import FEATURES, Floats, QueryHashes, Rarity, match_features
from fairtag.search.ranking_metrics import ndcg_by_query
from fairtag.search.text_table import Rows, TextTable

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

GRAPH, RARITY = "reranker.onnx", "rarity"
INPUT, OUTPUT = "features", "relevance"
_OPSET, _ML_OPSET, _IR = 17, 3, 8  # the newest that every ONNX Runtime since 1.13 reads
MIN_PAIRS = 400  # judged pairs needed to fit: eight leaves of the smallest size hold 320
MIN_QUERIES = 60
_FOLDS = 3  # of the queries, to measure whether re-ranking helps at all
_MODELS = 3  # of different seeds: their mean ranks better than one model
_SETTINGS: dict[str, Any] = {
    "max_iter": 200,
    "learning_rate": 0.05,
    "max_leaf_nodes": 8,  # small trees: the raters' noise is far greater than the differences between a query's items
    "min_samples_leaf": 40,
    "l2_regularization": 1.0,
    "max_features": 0.5,
    "early_stopping": False,
}


class Reranker:
    """Predicts the relevance of texts to a query in [0, 1]: boosted trees over the features of ``match.py``.

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
                f"the re-ranker reads {width} features and this version makes {len(FEATURES)}; train again"
            )

    @classmethod
    def fit(cls, features: Floats, relevance: Floats, rarity: Rarity, seed: int = 0) -> Reranker:
        """Fit on graded pairs.

        Args:
            features: Features of each pair (p, f), from :func:`pair_features` and the encoder that will serve.
            relevance: Grade of each pair in [0, 1] (p,).
            rarity: How rare each stem of the shop's texts is, as used for the features.
            seed: Of the boosting.
        """
        from sklearn.ensemble import HistGradientBoostingRegressor  # not needed for serving

        models = [
            HistGradientBoostingRegressor(
                monotonic_cst=list(FEATURES.values()), random_state=seed * _MODELS + number, **_SETTINGS
            ).fit(features, relevance)
            for number in range(_MODELS)
        ]
        return cls(tree_graph(models, len(FEATURES)), rarity)

    def relevance(self, query: str, table: TextTable, rows: Rows, cosine: Floats) -> Floats:
        """Relevance (n,) of the texts of some rows to a query, given the cosine (n,) of each with the intent."""
        features = match_features(QueryHashes.of(query), table, rows, cosine, self.rarity)
        return self.predict(features)

    def predict(self, features: Floats) -> Floats:
        """Relevance (n,) of features (n, f)."""
        output: Any = self._session.run([OUTPUT], {INPUT: features.astype(np.float32)})[0]
        return np.clip(np.asarray(output, dtype=np.float64)[:, 0], 0.0, 1.0)

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
            ModelFolderError: It was fitted on other features than this version computes.
        """
        file = folder / GRAPH
        if not file.is_file():
            raise ModelFolderMissing(f"{file}: there is no re-ranker; build the model folder again")
        arrays, facts = load_arrays(folder, RARITY)
        return cls(file.read_bytes(), Rarity(arrays["stems"], arrays["weight"], float(facts["unknown"])))


def pair_features(queries: Sequence[str], table: TextTable, rows: Rows, cosine: Floats, rarity: Rarity) -> Floats:
    """The features (p, f) of many pairs of query and row."""
    codes, place = np.unique(np.asarray(queries, dtype=np.str_), return_inverse=True)
    out = np.zeros((len(place), len(FEATURES)), dtype=np.float32)
    order = np.argsort(place, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        if pairs.size:
            query = QueryHashes.of(str(codes[place[pairs[0]]]))
            out[pairs] = match_features(query, table, rows[pairs], cosine[pairs], rarity)
    return out.astype(np.float64)


def gain_over_cosine(queries: Sequence[str], features: Floats, relevance: Floats, seed: int = 0) -> float:
    """Mean nDCG@10 on queries of other folds, minus the nDCG@10 of the cosine alone."""
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


def enough_pairs(queries: NDArray[Any], relevance: Floats) -> bool:
    """Whether there are enough graded pairs to fit on, with more than one grade."""
    many = len(relevance) >= MIN_PAIRS and len(np.unique(queries)) >= MIN_QUERIES
    return bool(many and float(np.ptp(relevance)) > 0.0)


def tree_graph(models: Sequence[HistGradientBoostingRegressor], width: int) -> bytes:
    """The serialised ONNX graph of the mean of several models over ``width`` float32 features, none missing.

    ONNX Runtime needs no pickle and scores a page in under a millisecond.

    Args:
        models: Fitted regressors of squared error.
        width: Number of features.
    """
    from onnx import TensorProto, checker, helper

    nodes = _ensemble(models)
    node = helper.make_node("TreeEnsembleRegressor", [INPUT], [OUTPUT], domain="ai.onnx.ml", n_targets=1, **nodes)
    graph = helper.make_graph(
        [node],
        "relevance",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="fairtag")
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _ensemble(models: Sequence[HistGradientBoostingRegressor]) -> dict[str, Any]:
    """The attributes of ONNX's tree ensemble; scikit-learn goes left where the value is at most the threshold.

    Features and thresholds are rounded to float32. Rounding could move a value just below a threshold to its other
    side, so each threshold becomes the next float32 above it.
    """
    columns: dict[str, list[NDArray[Any]]] = {}
    trees = [tree for model in models for (tree,) in model._predictors]
    for number, tree in enumerate(trees):
        node = tree.nodes
        leaf, place = node["is_leaf"].astype(bool), np.arange(len(node))
        parts = {
            "nodes_treeids": np.full(len(node), number),
            "nodes_nodeids": place,
            "nodes_featureids": np.where(leaf, 0, node["feature_idx"]),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_values": np.where(
                leaf, 0.0, np.nextafter(node["num_threshold"].astype(np.float32), np.float32("inf"))
            ),
            "nodes_truenodeids": np.where(leaf, 0, node["left"]),
            "nodes_falsenodeids": np.where(leaf, 0, node["right"]),
            "target_treeids": np.full(int(leaf.sum()), number),
            "target_nodeids": place[leaf],
            "target_ids": np.zeros(int(leaf.sum()), dtype=np.int64),
            "target_weights": node["value"][leaf] / len(models),
        }
        for name, values in parts.items():
            columns.setdefault(name, []).append(values)
    joined = {name: np.concatenate(values).tolist() for name, values in columns.items()}
    start = float(np.mean([float(np.ravel(model._baseline_prediction)[0]) for model in models]))
    return {**joined, "base_values": [start]}
