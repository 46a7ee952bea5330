"""Fits what a catalogue is searched by: the index of the embeddings, BM25, and a re-ranker where pairs were judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.text import item_text, item_texts, normalise
from fairtag.data.splits import QUERY_SALT, held_out
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import EncoderDescription, TextEncoder
from fairtag.encoder.out_of_fold import out_of_fold_cosine
from fairtag.search.dense_index import choose_index, spread
from fairtag.search.match import Floats, Rarity
from fairtag.search.reranker import Reranker, enough, gain_over_cosine, pair_features
from fairtag.search.search_part import SearchPart
from fairtag.search.text_table import TextTable
from fairtag.search.word_index import WordIndex, fused_scores

ENCODER_SALT = "encoder"  # the queries that the encoder's own scores were taken on, and that it did not learn from


def fit_search(
    catalogue: pd.DataFrame,
    embeddings: NDArray[np.float32],
    judgements: pd.DataFrame | None,
    encoder: TextEncoder,
    description: EncoderDescription,
    queries: Sequence[str] = (),
    seed: int = 0,
    unseen: pd.DataFrame | None = None,
) -> SearchPart:
    """Index the catalogue, and fit a re-ranker where enough pairs were judged.

    Args:
        catalogue: Items in the order of the embeddings.
        embeddings: (n, d) unit rows of the items.
        judgements: Graded pairs, None where nothing was judged.
        encoder: The encoder that serves.
        description: What its folder says of how it was taught.
        queries: What customers asked, to measure the index's recall on; the items stand in where none is known.
        seed: Of the boosting.
        unseen: Cosines of judged pairs by encoders of a cross-validation that had not seen them, where there was one.
    """
    asked = spread(sorted(set(queries)))
    dense = choose_index(embeddings, encoder.encode(asked, "query") if asked else embeddings[:0])
    texts = TextTable.build([normalise(title) for title in catalogue[schema.TITLE]])
    words = WordIndex.build(item_texts(catalogue))
    if judgements is None:
        return SearchPart(dense, words, texts, None)
    rows, cosine = _lesson(judgements, description, unseen)
    if not enough(rows[schema.QUERY].to_numpy(), rows[schema.RELEVANCE].to_numpy()):
        return SearchPart(dense, words, texts, None)
    cosine = cosines(encoder, rows) if cosine is None else cosine
    judged, rarity = rows[schema.QUERY].tolist(), Rarity.of(texts)
    titles, of_title = np.unique(rows[schema.TITLE].astype(str).to_numpy(dtype=str), return_inverse=True)
    features = pair_features(judged, TextTable.build(titles.tolist()), of_title, cosine, rarity)
    relevance = rows[schema.RELEVANCE].to_numpy(dtype=np.float64)
    helps = gain_over_cosine(judged, features, relevance, seed) > 0
    return SearchPart(dense, words, texts, Reranker.fit(features, relevance, rarity, seed) if helps else None)


def _lesson(
    judgements: pd.DataFrame, description: EncoderDescription, unseen: pd.DataFrame | None
) -> tuple[pd.DataFrame, Floats | None]:
    """The judgements that a re-ranker may learn; their cosine where the encoder that serves is not to be asked."""
    if unseen is None:
        return unlearnt(judgements, description), None
    rows = judgements[~held_out(judgements[schema.QUERY], QUERY_SALT)].reset_index(drop=True)
    cosine = out_of_fold_cosine(rows, unseen)
    known = np.isfinite(cosine)
    return rows[known].reset_index(drop=True), cosine[known]


def unlearnt(judgements: pd.DataFrame, description: EncoderDescription) -> pd.DataFrame:
    """The judgements that neither the encoder learnt from nor the evaluation holds out.

    On pairs that the encoder was taught its cosine is worth more than on a customer's query, and the re-ranker would
    trust it too much. After a cross-validation the encoder that ships has learnt from all of them.
    """
    config = EncoderConfig.from_folder(description)
    usable = ~held_out(judgements[schema.QUERY], QUERY_SALT)
    if config.tuning.method != "none" and config.schedule.max_steps != 0:
        if config.validation.folds:
            return judgements.iloc[:0].reset_index(drop=True)
        queries = [normalise(query) for query in judgements[schema.QUERY]]
        usable &= held_out(queries, ENCODER_SALT, config.validation.holdout_share)
    return judgements[usable].reset_index(drop=True)


def cosines(encoder: TextEncoder, rows: pd.DataFrame) -> Floats:
    """Cosine (n,) of each pair of query and title by an encoder."""
    queries, of_query = np.unique(rows[schema.QUERY].to_numpy(dtype=str), return_inverse=True)
    titles, of_title = np.unique([item_text(title) for title in rows[schema.TITLE]], return_inverse=True)
    query, title = (
        encoder.encode(queries.tolist(), "query")[of_query],
        encoder.encode(titles.tolist(), "item")[of_title],
    )
    return np.asarray((query * title).sum(1), dtype=np.float64)


def served_scores(
    encoder: TextEncoder, reranker: Reranker | None, rows: pd.DataFrame
) -> tuple[Floats, NDArray[np.float64]]:
    """What orders judged pairs as a search would, and the cosine alone; (n,) each, greater is better.

    With a re-ranker its relevance; without one the fusion of the ranks by cosine and by BM25 within each query.
    """
    cosine = cosines(encoder, rows)
    titles, of_title = np.unique(rows[schema.TITLE].astype(str).to_numpy(dtype=str), return_inverse=True)
    codes, place = np.unique(rows[schema.QUERY].to_numpy(dtype=str), return_inverse=True)
    table, index = TextTable.build(titles.tolist()), WordIndex.build(titles.tolist())
    out = np.zeros(len(rows))
    order = np.argsort(place, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        query, which = str(codes[place[pairs[0]]]), of_title[pairs]
        if reranker is not None:
            out[pairs] = reranker.relevance(query, table, which, cosine[pairs])
        else:
            out[pairs] = fused_scores(cosine[pairs], index.scores(query)[which])
    return out, cosine
