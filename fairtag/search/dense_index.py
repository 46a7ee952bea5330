"""Search by embedding: the index of a catalogue, chosen by its recall here when the model folder is made.

A scan of 100,000 embeddings reads 150 MB a query; their 4-bit codes are 10 MB, and the few hundred best of them are
then scored on the memory-mapped embeddings themselves (Jegou, Douze and Schmid, TPAMI 2011; Andre, Kermarrec and
Le Scouarnec, VLDB 2015); of a million only the codes of the lists nearest to the query are read. No clock takes part in
the choice: widths stand in the order of their cost, the first whose recall is enough is taken, and the same embeddings
and queries make the same files. ``python -m benchmarks search-index`` times them beside other kinds.
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
from fairtag.search.similarity import top_k

SCAN_ROWS = 20_000  # a scan of so many takes under 3 ms at 384 dimensions: no codes pay for their making
MIN_RECALL = 0.99  # of the exact best K
K = 100  # rows that a page's retrieval asks for
LISTED_ROWS = 300_000  # from here on reading all codes takes longer than the rest of a page
PROBES = (16, 32, 64, 128)  # lists whose codes are read for a query
LISTS_A_WIDTH = 6  # lists of a million rows that are read in the time of scoring K rows more, within a page
WIDTHS = (
    5,
    10,
    20,
    30,
    40,
)  # candidates scored exactly for each row wanted, cheapest first; past them a scan is as good
LEAST = 500  # candidates at least, for a page of few
MOST_QUERIES = 128  # searched to measure recall; half as many let a width pass that the next ones did not
CODES, CHOICE = "codes.faiss", "index.json"

Row = TypeVar("Row")

_TRAINED_ON = 16_384  # rows: a codebook of 16 entries needs few
_TRAINED_ON_A_LIST = 40
_ROUNDS = 8  # of k-means
_CHUNK = 65_536  # rows encoded at a time


@dataclass(frozen=True)
class IndexChoice:
    """What was chosen for a catalogue, and on what evidence.

    Args:
        kind: ``codes``, ``lists`` (codes in lists by place) or ``scan``.
        width: Candidates scored exactly for each row wanted; 0 for a scan.
        recall: Mean share of the exact best :data:`K` found; 1 for a scan.
        queries: Queries it was measured on; 0 where the catalogue was too small to try anything.
        tried: Recall of each width tried, by the width, and of ``probes x width`` for lists.
    """

    kind: str = "scan"
    width: int = 0
    recall: float = 1.0
    queries: int = 0
    tried: dict[str, float] = field(default_factory=dict)


class CodeIndex:
    """Finds the rows with the greatest inner product by their codes, scored exactly afterwards.

    Safe to use from several threads.

    Args:
        codes: A FAISS index of 4-bit codes over the rows.
        embeddings: (n, d) unit rows, memory-mapped.
        width: Candidates scored exactly for each row wanted.
    """

    def __init__(self, codes: Any, embeddings: Matrix, width: int) -> None:
        self._codes, self._embeddings, self._width = codes, embeddings, width

    def search(self, z: Matrix, k: int) -> Rows:
        """About the k best rows, best first."""
        query = np.ascontiguousarray(z, dtype=np.float32).reshape(1, -1)
        wanted = min(max(k * self._width, LEAST), self._codes.ntotal)
        found = np.sort(self._codes.search(query, wanted)[1][0])  # sorted: the map is read front to back
        found = found[found >= 0]
        scores = self._embeddings.take(found, axis=0) @ query[0]
        best = np.lexsort((found, -scores))[:k]
        return np.asarray(found[best], dtype=np.int64)


@dataclass(frozen=True)
class DensePart:
    """The chosen index without the embeddings that it searches.

    Args:
        choice: What was chosen.
        codes: FAISS's codes, None for a scan.
    """

    choice: IndexChoice = field(default_factory=IndexChoice)
    codes: Any = None

    def over(self, embeddings: Matrix) -> DenseIndex:
        """The index over the embeddings that it was made of."""
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
        _needed(folder / CHOICE)
        choice = IndexChoice(**read_json(folder / CHOICE))
        if choice.kind == "scan":
            return cls(choice)
        _needed(folder / CODES)
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
    """The cheapest index whose recall is enough on this catalogue and on queries of its kind.

    Args:
        embeddings: (n, d) unit rows.
        queries: (m, d) unit rows of queries, up to :data:`MOST_QUERIES` of which are searched; of the catalogue's rows
            where m is 0.
        k: Rows wanted of a query.
        scan_rows: Rows below which the catalogue is scanned and nothing is tried.
        min_recall: Least mean recall of the exact best k.
    """
    if len(embeddings) < scan_rows or embeddings.shape[1] % 2:  # a code is of two dimensions
        return DensePart()
    asked: list[Matrix] = spread(queries if len(queries) else embeddings)
    exact = ExactIndex(embeddings)
    truth = [exact.search(query, k) for query in asked]
    tried: dict[str, float] = {}
    listed = len(embeddings) >= LISTED_ROWS
    with _one_thread():
        codes = lists_of(embeddings) if listed else codes_of(embeddings)
        for probes, width in _cheapest_first() if listed else ((0, width) for width in WIDTHS):
            if listed:
                codes.nprobe = probes  # saved with the codes
            index = CodeIndex(codes, embeddings, width)
            found = recall([index.search(query, k) for query in asked], truth)
            tried[f"{probes} x {width}" if listed else str(width)] = found
            if found >= min_recall:
                kind = "lists" if listed else "codes"
                return DensePart(IndexChoice(kind, width, found, len(asked), tried), codes)
    return DensePart(IndexChoice(queries=len(asked), tried=tried))


def _cheapest_first() -> list[tuple[int, int]]:
    """Probes and widths in the order of what a search by them costs; measured once, since no clock may choose here."""
    return sorted(product(PROBES, WIDTHS), key=lambda pair: pair[0] + LISTS_A_WIDTH * pair[1])


def codes_of(embeddings: Matrix) -> Any:
    """FAISS's 4-bit codes of unit rows (n, d), d even."""
    import faiss

    d = embeddings.shape[1]
    codes = faiss.IndexPQFastScan(d, d // 2, 4, faiss.METRIC_INNER_PRODUCT)
    codes.pq.cp.niter = _ROUNDS
    return _filled(codes, embeddings, _TRAINED_ON)


def lists_of(embeddings: Matrix) -> Any:
    """The same codes in lists by place: each row lies in that of the centre nearest to it (inverted file)."""
    import faiss

    d = embeddings.shape[1]
    lists = 2 ** int(np.log2(np.sqrt(len(embeddings))) + 0.5)
    centres = faiss.IndexFlatIP(d)
    codes = faiss.IndexIVFPQFastScan(centres, d, lists, d // 2, 4, faiss.METRIC_INNER_PRODUCT)
    codes.by_residual = True  # a row less its centre: half as many candidates hold the best as with codes of whole rows
    codes.cp.niter = codes.pq.cp.niter = _ROUNDS
    return _filled(codes, embeddings, max(_TRAINED_ON, lists * _TRAINED_ON_A_LIST))


def _filled(codes: Any, embeddings: Matrix, trained_on: int) -> Any:
    """Train on some rows and add all."""
    n = len(embeddings)
    sample = np.sort(np.random.default_rng(0).permutation(n)[:trained_on])
    codes.train(np.ascontiguousarray(embeddings[sample], dtype=np.float32))
    for start in range(0, n, _CHUNK):
        codes.add(np.ascontiguousarray(embeddings[start : start + _CHUNK], dtype=np.float32))
    return codes


def recall(answers: Sequence[Rows], truth: Sequence[Rows]) -> float:
    """Mean share of the true rows that were found."""
    shares = [len(np.intersect1d(a, t)) / max(len(t), 1) for a, t in zip(answers, truth, strict=True)]
    return float(np.mean(shares)) if shares else 1.0


def spread(rows: Sequence[Row] | NDArray[Any]) -> list[Row]:
    """Up to :data:`MOST_QUERIES` of some rows or texts, from the first to the last."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_QUERIES)).astype(np.int64))
    return [rows[place] for place in places.tolist()]


def _needed(file: Path) -> None:
    if not file.is_file():
        raise ModelFolderMissing(f"{file}: missing; build the model folder again")


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS on one thread: sums in another order would make other codes of the same rows."""
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
