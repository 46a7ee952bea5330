"""Time and recall of finding the nearest 100 of 100,000 embeddings, by kind of index.

The kinds take turns, query by query, on one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from fairtag.search.dense_index import (
    PROBES,
    CodeIndex,
    ExactIndex,
    K,
    Matrix,
    build_codes,
    build_lists,
    choose_index,
    recall,
)

ROWS, DIMENSION, CENTRES, QUERIES = 100_000, 384, 2_000, 64
SPREAD = 0.8  # of a row around its centre of length 1: two items of one kind have a cosine of 0.6
WIDTHS = (5, 10, 20)

Search = Callable[[NDArray[np.float32]], Any]


def run(rows: int = ROWS) -> Result:
    """Compare an exact scan, 4-bit codes whole and in lists, FAISS's flat index and an HNSW graph on the same rows."""
    import faiss

    faiss.omp_set_num_threads(1)
    embeddings, queries = _rows(rows)
    built: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        codes, built["codes"] = _timed(lambda: build_codes(embeddings))
        lists, built["lists"] = _timed(lambda: build_lists(embeddings))
        lists.nprobe = PROBES[0]
        flat, built["flat"] = _timed(lambda: _filled(faiss.IndexFlatIP(DIMENSION), embeddings))
        graph, built["hnsw"] = _timed(lambda: _graph(embeddings))
        sizes = {
            name: _size(index, Path(scratch)) for name, index in (("codes", codes), ("lists", lists), ("hnsw", graph))
        }
    exact = ExactIndex(embeddings)
    searches: dict[str, Search] = {"scan": lambda z: exact.search(z, K)}
    for name, kind in (("codes", codes), ("lists", lists)):
        for width in WIDTHS:
            index = CodeIndex(kind, embeddings, width)
            searches[f"{name}_{width}"] = lambda z, index=index: index.search(z, K)  # type: ignore[misc]
    searches["flat"] = lambda z: flat.search(z[None], K)[1][0]
    searches["hnsw"] = lambda z: graph.search(z[None], K)[1][0]
    answers, times = _measured(searches, queries)
    chosen = choose_index(embeddings, queries).choice
    found = [Row("rows", rows), Row("chosen_width", chosen.width), Row("chosen_recall", chosen.recall)]
    for name in searches:
        low, middle, high = np.quantile(times[name], [0.05, 0.5, 0.95]) * 1e3
        found.append(Row(f"{name}_p50", float(middle), float(low), float(high), "ms"))
        found.append(Row(f"{name}_recall", recall(answers[name], answers["scan"]), unit="share of the exact best 100"))
    found.extend(Row(f"{name}_build", seconds, unit="s") for name, seconds in built.items())
    found.extend(Row(f"{name}_size", size / 1e6, unit="MB") for name, size in sizes.items())
    notes = (
        f"{rows:,} x {DIMENSION} float32 rows in {CENTRES:,} clusters; one thread; the indexes take turns, in a new "
        "order for each query.",
        f"Rows lists_*: only the codes of the nearest {lists.nprobe} of {lists.nlist} lists are read, as in a larger "
        "catalogue.",
    )
    return Result(tuple(found), notes)


def quick() -> Result:
    """The same on a fifth of the rows."""
    return run(ROWS // 5)


def _rows(rows: int) -> tuple[Matrix, Matrix]:
    """Items around centres, and queries around the same centres at twice the distance."""
    rng = np.random.default_rng(0)
    centres = _unit(rng.normal(size=(CENTRES, DIMENSION)))

    def drawn(count: int, spread: float) -> Matrix:
        noise = rng.normal(scale=spread / DIMENSION**0.5, size=(count, DIMENSION))
        return _unit(centres[rng.integers(CENTRES, size=count)] + noise)

    return drawn(rows, SPREAD), drawn(QUERIES, 2 * SPREAD)


def _unit(rows: NDArray[Any]) -> Matrix:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _filled(index: Any, embeddings: Matrix) -> Any:
    index.add(embeddings)
    return index


def _graph(embeddings: Matrix) -> Any:
    import faiss

    index = faiss.IndexHNSWFlat(DIMENSION, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 80, 256
    return _filled(index, embeddings)


def _size(index: Any, folder: Path) -> int:
    import faiss

    faiss.write_index(index, str(folder / "index"))
    return (folder / "index").stat().st_size


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def _measured(searches: dict[str, Search], queries: Matrix) -> tuple[dict[str, list[Any]], dict[str, list[float]]]:
    answers: dict[str, list[Any]] = {name: [] for name in searches}
    times: dict[str, list[float]] = {name: [] for name in searches}
    rng, names = np.random.default_rng(0), list(searches)
    for query in queries:
        for name in rng.permutation(names):  # so that no index always follows the scan, which empties the caches
            search = searches[name]
            found, seconds = _timed(lambda search=search, query=query: search(query))  # type: ignore[misc]
            answers[name].append(found)
            times[name].append(seconds)
    return answers, times
