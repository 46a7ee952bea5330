"""Search by embedding in catalogues too large for a scan: FAISS indexes, chosen by measurement. Knows no text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pricing.errors import BundleMissing, ConfigError
from pricing.files import write_atomic
from pricing.search.exact_index import DenseIndex, ExactIndex, Matrix, Rows

KINDS = ("exact", "flat", "fastscan", "hnsw")
SCAN_ROWS = 20_000  # below this the exact scan takes under 3 ms at 384 dimensions: no index pays for its build
MIN_RECALL = 0.99  # of the exact top k
_TRIALS = 64  # queries measured
_FIT_ROWS = 50_000  # rows a quantiser is trained on


@dataclass(frozen=True)
class IndexTrial:
    """One kind of index as it was measured on this catalogue.

    Args:
        kind: ``exact``, ``flat``, ``fastscan`` (4-bit product quantiser with exact refinement) or ``hnsw``.
        recall: Mean share of the exact top k found.
        milliseconds: Median time of a query on one thread.
        build_seconds: Time to build it.
    """

    kind: str
    recall: float
    milliseconds: float
    build_seconds: float

    def as_json(self) -> dict[str, Any]:
        """The trial as a JSON object."""
        return asdict(self)


class FaissIndex:
    """A FAISS index; its answers are ordered by its own estimate of the inner product."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def search(self, z: Matrix, k: int) -> Rows:
        """About the k best rows; fewer where the index found fewer."""
        query = np.ascontiguousarray(z, dtype=np.float32).reshape(1, -1)
        rows = self.index.search(query, min(k, self.index.ntotal))[1][0]
        return np.asarray(rows[rows >= 0], dtype=np.int64)

    def save(self, path: Path) -> Path:
        """Write the index to a file, whole or not at all."""
        return write_atomic(path, lambda temporary: faiss.write_index(self.index, str(temporary)))

    @classmethod
    def load(cls, path: Path) -> FaissIndex:
        """Memory-map an index; what FAISS cannot map (product quantisers) it reads.

        Raises:
            BundleMissing: There is none.
        """
        if not path.is_file():
            raise BundleMissing(f"{path}: no search index; build the bundle again")
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP))


def build_index(embeddings: Matrix, kind: str, seed: int = 0) -> DenseIndex:
    """Build an index of a kind over unit rows (n, d).

    Raises:
        ConfigError: The kind is unknown, or a quantiser's 4-bit codes do not divide the dimension.
    """
    if kind == "exact":
        return ExactIndex(embeddings)
    n, d = embeddings.shape
    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    index: Any
    if kind == "flat":
        index = faiss.IndexFlatIP(d)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(d, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 80, 256
    elif kind == "fastscan":
        if d % 2:
            raise ConfigError(f"index fastscan: the dimension is {d}; it must be even")
        coarse = faiss.IndexPQFastScan(d, d // 2, 4, faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(seed).permutation(n)[:_FIT_ROWS]
        coarse.train(rows[sample])
        coarse.add(rows)
        index = faiss.IndexRefineFlat(coarse, faiss.swig_ptr(rows))
        index.k_factor = 8.0  # eight times the rows wanted are scored exactly
        return FaissIndex(index)
    else:
        raise ConfigError(f"index {kind!r} is unknown; there are {', '.join(KINDS)}")
    index.add(rows)
    return FaissIndex(index)


def choose_index(
    embeddings: Matrix,
    queries: Matrix,
    clock: Callable[[], float],
    *,
    k: int = 100,
    scan_rows: int = SCAN_ROWS,
    min_recall: float = MIN_RECALL,
) -> tuple[DenseIndex, list[IndexTrial]]:
    """The fastest index whose recall passes, measured on this catalogue and on queries of its kind.

    Args:
        embeddings: (n, d) unit rows.
        queries: (m, d) unit rows of queries; the first 64 are measured.
        clock: Monotonic seconds.
        k: Rows wanted of a query.
        scan_rows: Rows below which the exact scan is taken without trying others.
        min_recall: Least mean recall of the exact top k.

    Returns:
        The index and the trials, the exact scan's first.
    """
    asked = np.asarray(queries, dtype=np.float32)[:_TRIALS]
    exact = ExactIndex(embeddings)
    truth, took = _timed(exact, asked, k, clock)
    trials, built = [IndexTrial("exact", 1.0, took, 0.0)], {"exact": exact}
    found: dict[str, DenseIndex] = dict(built)
    for kind in KINDS[1:] if len(embeddings) >= scan_rows else ():
        begun = clock()
        index = build_index(embeddings, kind)
        seconds = clock() - begun
        answers, took = _timed(index, asked, k, clock)
        trials.append(IndexTrial(kind, recall(answers, truth), took, seconds))
        found[kind] = index
    fastest = min((trial for trial in trials if trial.recall >= min_recall), key=lambda trial: trial.milliseconds)
    return found[fastest.kind], trials


def recall(answers: list[Rows], truth: list[Rows]) -> float:
    """Mean share of the true rows that were found."""
    shares = [len(np.intersect1d(a, t)) / max(len(t), 1) for a, t in zip(answers, truth, strict=True)]
    return float(np.mean(shares)) if shares else 1.0


def _timed(index: DenseIndex, queries: Matrix, k: int, clock: Callable[[], float]) -> tuple[list[Rows], float]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        answers, times = [], []
        for query in queries:
            begun = clock()
            answers.append(index.search(query, k))
            times.append(clock() - begun)
    finally:
        faiss.omp_set_num_threads(threads)
    return answers, float(np.median(times) * 1e3) if times else 0.0
