"""Does the index of the embeddings find what an exact scan finds? Measured on held-out queries."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.model.pricing_model import PricingModel
from fairtag.search.dense_index import MAX_QUERIES, ExactIndex, K, Rows, recall


def index_figures(model: PricingModel, vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """The kind of index that was chosen, and its recall and speed on queries that the choice did not see.

    Args:
        model: The model.
        vectors: Embeddings of held-out queries.

    Returns:
        The kind, the number of queries, the share found of the exact best 100, and the median processor time in
        milliseconds; the last two are None without queries.
    """
    asked = list(vectors.values())[:MAX_QUERIES]
    exact = ExactIndex(model.embeddings)
    answers: list[Rows] = []
    times: list[float] = []
    for vector in asked:
        begun = time.thread_time()
        answers.append(model.retriever.dense.search(vector, K))
        times.append(1_000 * (time.thread_time() - begun))
    return {
        "kind": model.search.dense.choice.kind,
        "queries": len(asked),
        "recall_at_100": recall(answers, [exact.search(vector, K) for vector in asked]) if asked else None,
        "milliseconds": float(np.median(times)) if times else None,
    }
