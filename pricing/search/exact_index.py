"""Search by embedding without an index: the scan of all rows. Knows no text, and imports no search library."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pricing.search.similarity import top_k

Rows = NDArray[np.int64]
Matrix = NDArray[np.float32]


class DenseIndex(Protocol):
    """Finds the rows with the greatest inner product."""

    def search(self, z: Matrix, k: int) -> Rows:
        """The k best rows (k,), best first."""
        ...


class ExactIndex:
    """The scan of all rows, memory-mapped or not."""

    def __init__(self, embeddings: Matrix) -> None:
        self.embeddings = embeddings

    def search(self, z: Matrix, k: int) -> Rows:
        """The k best rows, exactly."""
        return top_k(z, self.embeddings, k)[0]
