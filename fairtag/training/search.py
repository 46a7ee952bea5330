"""Fit the search of a catalogue: the index of its embeddings, BM25, and a re-ranker where pairs were judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.money import currency
from fairtag.base.text import item_text, item_texts, normalise, tokens
from fairtag.data.splits import QUERY_SALT, held_out
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import EncoderDescription, TextEncoder
from fairtag.encoder.out_of_fold import out_of_fold_cosine
from fairtag.search.dense_index import choose_index, evenly_spaced
from fairtag.search.match import Floats, Rarity
from fairtag.search.query import QueryReader, SearchOptions
from fairtag.search.relevance_floor import RelevanceFloor, fit_floor
from fairtag.search.reranker import Reranker, enough_pairs, gain_over_cosine, pair_features
from fairtag.search.retrieval import SearchPart
from fairtag.search.spelling import Speller, frequent_words
from fairtag.search.text_table import TextTable
from fairtag.search.word_index import WordIndex, fused_scores

ENCODER_SALT = "encoder"  # hash salt of the queries that the encoder held out for its own scores

LEAST_QUERIES = 3  # distinct queries that make a word one of the customers' own, and not a slip
FLOOR_QUERIES = 512  # held-out queries that set the relevance floor


def fit_search(
    catalogue: pd.DataFrame,
    embeddings: NDArray[np.float32],
    judgements: pd.DataFrame | None,
    encoder: TextEncoder,
    description: EncoderDescription,
    queries: Sequence[str] = (),
    seed: int = 0,
    out_of_fold: pd.DataFrame | None = None,
    known: Collection[str] = (),
) -> SearchPart:
    """Index the catalogue, and fit a re-ranker where enough pairs were judged.

    Args:
        catalogue: Items in the order of the embeddings.
        embeddings: Unit rows of the items (n, d).
        judgements: Graded pairs; None where nothing was judged.
        encoder: The encoder that serves.
        description: Its description, with the settings it was trained with.
        queries: Queries of customers, to measure the recall of the index; without any, the items stand in.
        seed: Seed of the boosting.
        out_of_fold: Out-of-fold cosines of judged pairs, where the encoder was cross-validated.
        known: Words of the language, which spelling leaves alone.
    """
    sample = evenly_spaced(sorted(set(queries)))
    dense = choose_index(embeddings, encoder.encode(sample, "query") if sample else embeddings[:0])
    texts = TextTable.build([normalise(title) for title in catalogue[schema.TITLE]])
    words = WordIndex.build(item_texts(catalogue))
    speller = fit_speller(words, [*queries, *_judged(judgements)], known)
    held = _held_out_queries(judgements, description)
    read = QueryReader(words, speller, RelevanceFloor(), currency("USD"), SearchOptions(price_words=False)).read
    asked = [read(query).text for query in held]
    floor = fit_floor(lambda these: encoder.encode(these, "query"), embeddings, asked, sorted(known), seed)
    without = SearchPart(dense, words, texts, None, speller, floor)
    if judgements is None:
        return without
    rows, cosine = _reranker_rows(judgements, description, out_of_fold)
    if not enough_pairs(rows[schema.QUERY].to_numpy(), rows[schema.RELEVANCE].to_numpy()):
        return without
    cosine = cosines(encoder, rows) if cosine is None else cosine
    judged, rarity = rows[schema.QUERY].tolist(), Rarity.of(texts)
    titles, of_title = np.unique(rows[schema.TITLE].astype(str).to_numpy(dtype=str), return_inverse=True)
    features = pair_features(judged, TextTable.build(titles.tolist()), of_title, cosine, rarity)
    relevance = rows[schema.RELEVANCE].to_numpy(dtype=np.float64)
    helps = gain_over_cosine(judged, features, relevance, seed) > 0
    return replace(without, reranker=Reranker.fit(features, relevance, rarity, seed) if helps else None)


def fit_speller(words: WordIndex, queries: Sequence[str], known: Collection[str] = ()) -> Speller:
    """Index the words that queries are corrected to: those of the catalogue, and those that many customers use.

    Args:
        words: The words of the catalogue's texts.
        queries: Queries of customers; the same one counts once.
        known: Words of the language, which are left alone.
    """
    asked = frequent_words((tokens(query) for query in sorted(set(queries))), LEAST_QUERIES)
    return Speller.build(words, asked, known)


def _judged(judgements: pd.DataFrame | None) -> list[str]:
    return [] if judgements is None else judgements[schema.QUERY].unique().tolist()


def _held_out_queries(judgements: pd.DataFrame | None, description: EncoderDescription) -> list[str]:
    """Queries that the encoder was not trained on; after a cross-validation those that the evaluation holds out."""
    if judgements is None:
        return []
    rows = untrained_judgements(judgements, description)
    rows = rows if len(rows) else judgements[held_out(judgements[schema.QUERY], QUERY_SALT)]
    return evenly_spaced(sorted(rows[schema.QUERY].unique().tolist()), FLOOR_QUERIES)


def _reranker_rows(
    judgements: pd.DataFrame, description: EncoderDescription, out_of_fold: pd.DataFrame | None
) -> tuple[pd.DataFrame, Floats | None]:
    """The judgements that a re-ranker may learn from, and their out-of-fold cosines where there are any."""
    if out_of_fold is None:
        return untrained_judgements(judgements, description), None
    rows = judgements[~held_out(judgements[schema.QUERY], QUERY_SALT)].reset_index(drop=True)
    cosine = out_of_fold_cosine(rows, out_of_fold)
    scored = np.isfinite(cosine)
    return rows[scored].reset_index(drop=True), cosine[scored]


def untrained_judgements(judgements: pd.DataFrame, description: EncoderDescription) -> pd.DataFrame:
    """The judgements that the encoder was not trained on and the evaluation does not hold out.

    On training pairs the encoder's cosine is better than on a customer's query, and the re-ranker would trust it too
    much. After a cross-validation the encoder that ships was trained on every pair, so none is left.
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
    """Cosine (n,) of the query and the title of each pair."""
    queries, of_query = np.unique(rows[schema.QUERY].to_numpy(dtype=str), return_inverse=True)
    titles, of_title = np.unique([item_text(title) for title in rows[schema.TITLE]], return_inverse=True)
    query, title = (
        encoder.encode(queries.tolist(), "query")[of_query],
        encoder.encode(titles.tolist(), "item")[of_title],
    )
    return np.asarray((query * title).sum(1), dtype=np.float64)


def search_scores(
    encoder: TextEncoder, reranker: Reranker | None, rows: pd.DataFrame
) -> tuple[Floats, NDArray[np.float64]]:
    """The scores by which search would order judged pairs, and their cosines; (n,) each, greater is better.

    With a re-ranker the score is its relevance; otherwise it is the rank fusion of cosine and BM25 within each query.
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
