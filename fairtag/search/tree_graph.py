"""Boosted trees as an ONNX graph: saved without pickle, run in under a millisecond.

The graph holds the trees of several models and answers their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

INPUT, OUTPUT = "features", "relevance"
_OPSET, _ML_OPSET, _IR = 17, 3, 8  # the newest that every ONNX Runtime since 1.13 reads


def graph_of(models: Sequence[HistGradientBoostingRegressor], width: int) -> bytes:
    """The serialised graph of the mean of some models over ``width`` float32 features, none missing.

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

    A threshold lies between two float64 values and is rounded to float32, as the features are: the next float32 up
    keeps the value that it was cut beneath on its side.
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
