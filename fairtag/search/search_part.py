"""What a model folder holds to search by: the index of the embeddings, BM25, hashed titles, and a re-ranker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairtag.search.dense_index import DensePart
from fairtag.search.reranker import GRAPH, Reranker
from fairtag.search.text_table import TextTable
from fairtag.search.word_index import WordIndex

WORDS, TEXTS = "words", "texts"


@dataclass(frozen=True)
class SearchPart:
    """What a model folder holds beside the embeddings to search by.

    Args:
        dense: The index over the embeddings, chosen by its recall.
        words: BM25 over the items' texts.
        texts: The items' titles, hashed.
        reranker: Fitted on judgements that the encoder had not learnt from; None where there were too few, or where it
            ordered held-out queries no better than the cosine.
    """

    dense: DensePart
    words: WordIndex
    texts: TextTable
    reranker: Reranker | None

    def save(self, folder: Path) -> None:
        """Write all of it into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.dense.save(folder)
        self.words.save(folder / WORDS)
        self.texts.save(folder / TEXTS)
        if self.reranker is not None:
            self.reranker.save(folder)

    @classmethod
    def load(cls, folder: Path) -> SearchPart:
        """Open it; words and titles are memory-mapped.

        Raises:
            ModelFolderMissing: A file is absent.
        """
        reranker = Reranker.load(folder) if (folder / GRAPH).is_file() else None
        return cls(DensePart.load(folder), WordIndex.load(folder / WORDS), TextTable.load(folder / TEXTS), reranker)
