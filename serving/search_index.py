"""Candidates of a large catalogue by 4-bit codes, scored exactly afterwards; the codes are kept beside the run.

A scan of 100,000 embeddings reads 150 MB a query; their codes are 10 MB, and the few hundred best are then scored on
the memory-mapped embeddings themselves. Small catalogues are scanned. It knows no stock, no text and no price.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pricing.files import write_atomic

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]
Matrix = NDArray[np.float32]

SCAN_ROWS = 20_000  # a scan of so many takes under 3 ms: no codes pay for their making
WIDER = 10  # candidates scored exactly for each row wanted: recall@100 above 0.98 (benchmarks/serving.py)
LEAST = 500  # candidates at least, for a page of few
TRAINED_ON = 16_384  # rows: a codebook of 16 entries needs few, and start-up waits for them
ROUNDS = 8  # of k-means
CHUNK = 65_536  # rows encoded at a time


class CodeIndex:
    """Finds the rows with the greatest inner product.

    Safe to use from several threads.

    Args:
        codes: A FAISS index of 4-bit codes over the rows.
        embeddings: (n, d) unit rows, memory-mapped.
    """

    def __init__(self, codes: Any, embeddings: Matrix) -> None:
        self._codes = codes
        self._embeddings = embeddings

    def search(self, z: NDArray[Any], k: int) -> Rows:
        """About the k best rows, best first."""
        query = np.ascontiguousarray(z, dtype=np.float32).reshape(1, -1)
        wanted = min(max(k * WIDER, LEAST), self._codes.ntotal)
        found = np.sort(self._codes.search(query, wanted)[1][0])  # sorted: the map is read front to back
        found = found[found >= 0]
        scores = self._embeddings[found] @ query[0]
        best = np.lexsort((found, -scores))[:k]
        return np.asarray(found[best], dtype=np.int64)


def open_index(embeddings: Matrix, file: Path) -> CodeIndex | None:
    """The index of a catalogue, read from a file or made and kept there; None where a scan is as good.

    Args:
        embeddings: (n, d) unit rows.
        file: Where the codes are kept; its name must change with the embeddings.
    """
    if len(embeddings) < SCAN_ROWS or embeddings.shape[1] % 2:
        return None
    import faiss

    if file.is_file():
        codes = faiss.read_index(str(file))
        if codes.ntotal == len(embeddings):
            return CodeIndex(codes, embeddings)
    started = time.perf_counter()
    codes = _make(embeddings)
    try:
        write_atomic(file, lambda temporary: faiss.write_index(codes, str(temporary)))
    except OSError as error:  # a read-only disk costs the next start these seconds again, and nothing else
        logger.warning("the search codes were not kept: %s", error.strerror)
    logger.info("search codes of %d items made in %.1f s", len(embeddings), time.perf_counter() - started)
    return CodeIndex(codes, embeddings)


def _make(embeddings: Matrix) -> Any:
    import faiss

    n, d = embeddings.shape
    codes = faiss.IndexPQFastScan(d, d // 2, 4, faiss.METRIC_INNER_PRODUCT)
    codes.pq.cp.niter = ROUNDS
    sample = np.sort(np.random.default_rng(0).permutation(n)[:TRAINED_ON])
    codes.train(np.ascontiguousarray(embeddings[sample]))
    for start in range(0, n, CHUNK):
        codes.add(np.ascontiguousarray(embeddings[start : start + CHUNK]))
    return codes
