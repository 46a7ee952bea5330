"""The relevance floor: a query that means nothing to the shop gets no items, rather than the nearest of all.

An embedding has a nearest item whatever is asked. How near nonsense comes is measured when the model folder is made:
words of random letters for queries without a single known word, and words drawn from the language for all others. The
latter is lower where customers' own held-out queries would fall below it.

>>> floor = RelevanceFloor(known=0.3, unknown=0.4)
>>> floor.of(has_known_word=True), floor.of(has_known_word=False)
(0.3, 0.4)
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.files import read_json, write_json

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]

FILE = "floor.json"
DRAWS = 256  # nonsense queries of each kind: their embedding takes about a second
MOST_ITEMS = 20_000  # of the catalogue that nonsense is compared with, evenly spaced
SPREAD = 4.0  # standard deviations above the mean of random letters; hardly one such query in 10,000 is above
QUERIES_LOST = 0.01  # share of customers' held-out queries that may fall below the floor of known words
NONSENSE_LOST = 0.5  # most of the queries of random words that may fall below it: many do name what a shop sells
COMMON = 0.5  # share of texts above which a word ("for", "the") says nothing about what is wanted
_LETTERS, _WORDS = (4, 9), (1, 3)  # letters of a random word, words of a query; both ends included


@dataclass(frozen=True)
class RelevanceFloor:
    """Least cosine of a query with its nearest item; -1 lets everything pass.

    It applies where the catalogue lacks the telling words of a query: a match by words needs no floor.

    Args:
        known: Floor of a query with a word that shop, customers or encoder know.
        unknown: Floor of a query without any.
        queries: Held-out queries of customers it was set on.
        lost: Share of these that are below the floor of known words.
        nonsense: Share of the queries of random words that pass it.
    """

    known: float = -1.0
    unknown: float = -1.0
    queries: int = 0
    lost: float = 0.0
    nonsense: float = 1.0

    def of(self, *, has_known_word: bool) -> float:
        """The floor of a query."""
        return self.known if has_known_word else self.unknown

    def save(self, folder: Path) -> None:
        """Write it into an existing folder."""
        write_json(folder / FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> RelevanceFloor:
        """Read what :meth:`save` wrote.

        Raises:
            ModelFolderMissing: The file is absent.
        """
        if not (folder / FILE).is_file():
            raise ModelFolderMissing(f"{folder / FILE}: missing; build the model folder again")
        return cls(**read_json(folder / FILE))


def fit_floor(
    encode: Callable[[Sequence[str]], Vectors],
    items: Vectors,
    queries: Sequence[str],
    words: Sequence[str],
    seed: int = 0,
) -> RelevanceFloor:
    """Set the floor of a catalogue.

    The floor of known words loses :data:`QUERIES_LOST` of customers' queries and :data:`NONSENSE_LOST` of random words
    at most: a few held-out queries cannot tell how far off the rarest of them are. The floor without a known word is
    above what random letters reach.

    Args:
        encode: Unit rows (n, d) of queries.
        items: Unit rows (N, d) of the catalogue.
        queries: Customers' queries that the encoder was not trained on; may be empty.
        words: Words of the language; may be empty, and then letters stand in.
        seed: Of the draws.
    """
    sample = items[:: max(1, -(-len(items) // MOST_ITEMS))]
    if not len(sample):
        return RelevanceFloor()

    def nearest(texts: Sequence[str]) -> Floats:
        return np.asarray((encode(texts) @ sample.T).max(axis=1), dtype=np.float64)

    rng = np.random.default_rng(seed)
    letters = nearest([_query(rng, lambda: _letters(rng)) for _ in range(DRAWS)])
    drawn = nearest([_query(rng, lambda: str(rng.choice(words))) for _ in range(DRAWS)]) if len(words) else letters
    real = nearest(list(queries)) if len(queries) else np.zeros(0)
    known = float(np.quantile(drawn, NONSENSE_LOST))
    if real.size:
        known = min(known, float(np.quantile(real, QUERIES_LOST)))
    unknown = max(known, float(letters.mean() + SPREAD * letters.std()))
    lost = float((real < known).mean()) if real.size else 0.0
    return RelevanceFloor(known, unknown, int(real.size), lost, float((drawn >= known).mean()))


def _query(rng: np.random.Generator, word: Callable[[], str]) -> str:
    return " ".join(word() for _ in range(int(rng.integers(_WORDS[0], _WORDS[1] + 1))))


def _letters(rng: np.random.Generator) -> str:
    size = int(rng.integers(_LETTERS[0], _LETTERS[1] + 1))
    return "".join(rng.choice(list(string.ascii_lowercase), size=size))
