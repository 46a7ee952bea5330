"""Search by embedding: the index of a catalogue, chosen by its recall when the model folder is made.

- A small catalogue is scanned.
- A scan of 100,000 embeddings reads 150 MB for each query. Their 4-bit codes are 10 MB; the few hundred best are then
  scored exactly on the memory-mapped embeddings (Jegou, Douze and Schmid, TPAMI 2011; Andre, Kermarrec and
  Le Scouarnec, VLDB 2015).
- Of a million rows, only the codes in the lists nearest to the query are read.

The choice uses no clock: settings are tried in the order of their cost, and the first with enough recall is taken. The
same embeddings and queries give the same files. ``python -m benchmarks search-index`` compares the times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.files import read_json, write_atomic, write_json
from fairtag.search.similarity import best_positions, top_k

SCAN_ROWS = 20_000  # a scan of this many rows takes under 3 ms at 384 dimensions; codes would gain nothing
MIN_RECALL = 0.99  # of the exact best K
K = 100  # rows that the retrieval of a page wants
LISTED_ROWS = 300_000  # above this, reading all codes takes longer than the rest of a page
PROBES = (16, 32, 64, 128)  # lists whose codes are read for a query
LISTS_A_WIDTH = 6  # lists (of a million rows) read in the time it takes to score K more rows
WIDTHS = (
    5,
    10,
    20,
    30,
    40,
)  # candidates scored exactly for each row wanted, cheapest first; beyond these a scan is as fast
MIN_CANDIDATES = 500  # even for a small page
MAX_QUERIES = 128  # searched to measure recall; with half as many, a width passed that failed on other queries
CODES, CHOICE = "codes.faiss", "index.json"

Row = TypeVar("Row")

_TRAINED_ON = 16_384  # rows: a codebook of 16 entries needs few
_TRAINED_ON_A_LIST = 40
_ROUNDS = 8  # of k-means
_CHUNK = 65_536  # rows encoded at a time


@dataclass(frozen=True)
class IndexChoice:
    """The index chosen for a catalogue, with the evidence.

    Args:
        kind: ``codes``, ``lists`` (codes in an inverted file) or ``scan``.
        width: Candidates scored exactly for each row wanted; 0 for a scan.
        recall: Mean share of the exact best :data:`K` found; 1 for a scan.
        queries: Queries it was measured on; 0 where the catalogue is small enough to scan.
        tried: Recall of each setting tried, by its width, or by ``probes x width`` for lists.
    """

    kind: str = "scan"
    width: int = 0
    recall: float = 1.0
    queries: int = 0
    tried: dict[str, float] = field(default_factory=dict)


class CodeIndex:
    """Finds the rows with the greatest inner product by their codes, and scores the best of them exactly.

    Safe to use from several threads.

    Args:
        codes: A FAISS index of 4-bit codes over the rows.
        embeddings: (n, d) unit rows, memory-mapped.
        width: Candidates scored exactly for each row wanted.
    """

    def __init__(self, codes: Any, embeddings: Matrix, width: int) -> None:
        self._codes, self._embeddings, self._width = codes, embeddings, width

    def search(self, z: Matrix, k: int) -> Rows:
        """The k best rows, best first; approximate, with at least the recall of the choice."""
        query = np.ascontiguousarray(z, dtype=np.float32).reshape(1, -1)
        wanted = min(max(k * self._width, MIN_CANDIDATES), self._codes.ntotal)
        found = np.sort(self._codes.search(query, wanted)[1][0])  # sorted, so that the memory map is read front to back
        found = found[found >= 0]
        scores = self._embeddings.take(found, axis=0) @ query[0]
        return np.asarray(found[best_positions(scores, k)], dtype=np.int64)


@dataclass(frozen=True)
class DensePart:
    """The chosen index without the embeddings it searches.

    Args:
        choice: The choice and its evidence.
        codes: The FAISS index; None for a scan.
    """

    choice: IndexChoice = field(default_factory=IndexChoice)
    codes: Any = None

    def over(self, embeddings: Matrix) -> DenseIndex:
        """The index over the embeddings it was built from."""
        if self.codes is None:
            return ExactIndex(embeddings)
        return CodeIndex(self.codes, embeddings, self.choice.width)

    def save(self, folder: Path) -> None:
        """Write it into an existing folder."""
        write_json(folder / CHOICE, asdict(self.choice))
        if self.codes is not None:
            import faiss

            write_atomic(folder / CODES, lambda temporary: faiss.write_index(self.codes, str(temporary)))

    @classmethod
    def load(cls, folder: Path) -> DensePart:
        """Read what :meth:`save` wrote.

        Raises:
            ModelFolderMissing: No index was chosen there, or its codes are absent.
        """
        _require(folder / CHOICE)
        choice = IndexChoice(**read_json(folder / CHOICE))
        if choice.kind == "scan":
            return cls(choice)
        _require(folder / CODES)
        import faiss

        return cls(choice, faiss.read_index(str(folder / CODES)))


def choose_index(
    embeddings: Matrix,
    queries: Matrix,
    *,
    k: int = K,
    scan_rows: int = SCAN_ROWS,
    min_recall: float = MIN_RECALL,
) -> DensePart:
    """The cheapest index with enough recall on this catalogue and its queries.

    Args:
        embeddings: Unit rows (n, d).
        queries: Unit rows of queries (m, d), at most :data:`MAX_QUERIES` of which are searched; if m is 0, rows of the
            catalogue stand in.
        k: Rows wanted for a query.
        scan_rows: A smaller catalogue is scanned, and nothing else is tried.
        min_recall: Least mean recall of the exact best k.
    """
    if len(embeddings) < scan_rows or embeddings.shape[1] % 2:  # a code covers two dimensions
        return DensePart()
    sample: list[Matrix] = evenly_spaced(queries if len(queries) else embeddings)
    exact = ExactIndex(embeddings)
    truth = [exact.search(query, k) for query in sample]
    tried: dict[str, float] = {}
    listed = len(embeddings) >= LISTED_ROWS
    with _one_thread():
        codes = build_lists(embeddings) if listed else build_codes(embeddings)
        for probes, width in _cheapest_first() if listed else ((0, width) for width in WIDTHS):
            if listed:
                codes.nprobe = probes  # saved with the codes
            index = CodeIndex(codes, embeddings, width)
            found = recall([index.search(query, k) for query in sample], truth)
            tried[f"{probes} x {width}" if listed else str(width)] = found
            if found >= min_recall:
                kind = "lists" if listed else "codes"
                return DensePart(IndexChoice(kind, width, found, len(sample), tried), codes)
    return DensePart(IndexChoice(queries=len(sample), tried=tried))


def _cheapest_first() -> list[tuple[int, int]]:
    """Probes and widths in the order of their search cost, which was measured once; no clock may choose here."""
    return sorted(product(PROBES, WIDTHS), key=lambda pair: pair[0] + LISTS_A_WIDTH * pair[1])


def build_codes(embeddings: Matrix) -> Any:
    """A FAISS index of 4-bit codes over unit rows (n, d), d even."""
    import faiss

    d = embeddings.shape[1]
    codes = faiss.IndexPQFastScan(d, d // 2, 4, faiss.METRIC_INNER_PRODUCT)
    codes.pq.cp.niter = _ROUNDS
    return _train_and_add(codes, embeddings, _TRAINED_ON)


def build_lists(embeddings: Matrix) -> Any:
    """The same codes in an inverted file: each row is in the list of the centre nearest to it."""
    import faiss

    d = embeddings.shape[1]
    lists = 2 ** int(np.log2(np.sqrt(len(embeddings))) + 0.5)
    centres = faiss.IndexFlatIP(d)
    codes = faiss.IndexIVFPQFastScan(centres, d, lists, d // 2, 4, faiss.METRIC_INNER_PRODUCT)
    codes.by_residual = True  # codes of a row minus its centre need half as many candidates for the same recall
    codes.cp.niter = codes.pq.cp.niter = _ROUNDS
    return _train_and_add(codes, embeddings, max(_TRAINED_ON, lists * _TRAINED_ON_A_LIST))


def _train_and_add(codes: Any, embeddings: Matrix, trained_on: int) -> Any:
    """Train on a sample of the rows, and add all rows."""
    n = len(embeddings)
    sample = np.sort(np.random.default_rng(0).permutation(n)[:trained_on])
    codes.train(np.ascontiguousarray(embeddings[sample], dtype=np.float32))
    for start in range(0, n, _CHUNK):
        codes.add(np.ascontiguousarray(embeddings[start : start + _CHUNK], dtype=np.float32))
    return codes


def recall(answers: Sequence[Rows], truth: Sequence[Rows]) -> float:
    """Mean share of the true rows that an answer contains.

    >>> recall([np.array([1, 2])], truth=[np.array([2, 3])])
    0.5
    """
    shares = [len(np.intersect1d(a, t)) / max(len(t), 1) for a, t in zip(answers, truth, strict=True)]
    return float(np.mean(shares)) if shares else 1.0


def evenly_spaced(rows: Sequence[Row] | NDArray[Any], most: int = MAX_QUERIES) -> list[Row]:
    """At most so many of some rows or texts, evenly spaced from the first to the last."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64))
    return [rows[place] for place in places.tolist()]


def _require(file: Path) -> None:
    if not file.is_file():
        raise ModelFolderMissing(f"{file}: missing; build the model folder again")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run FAISS on one thread: sums in another order would give other codes for the same rows."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


Rows = NDArray[np.int64]
Matrix = NDArray[np.float32]


class DenseIndex(Protocol):
    """Anything that finds the rows with the greatest inner product."""

    def search(self, z: Matrix, k: int) -> Rows:
        """The k best rows (k,), best first."""
        ...


class ExactIndex:
    """A scan of all rows, memory-mapped or not.

    >>> ExactIndex(np.eye(3, dtype=np.float32)).search(np.array([0.0, 1.0, 0.5], dtype=np.float32), k=2).tolist()
    [1, 2]
    """

    def __init__(self, embeddings: Matrix) -> None:
        self.embeddings = embeddings

    def search(self, z: Matrix, k: int) -> Rows:
        """The k best rows, exactly."""
        return top_k(z, self.embeddings, k)[0]
