"""Does the encoder find what people ask for? nDCG@10 on judged queries it never saw. Knows no prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pricing import schema
from pricing.bundle.decision import Gate
from pricing.bundle.splits import QUERY_SALT, held_out
from pricing.encoder.encoder import TextEncoder
from pricing.search.ranking import ndcg_by_query
from pricing.search.similarity import similarity
from pricing.text import item_text, tokens

Floats = NDArray[np.float64]

K = 10
LEAST_QUERIES = 20  # fewer say nothing about an order
REPLICATES = 1_000  # of the paired bootstrap


@dataclass(frozen=True)
class Relevance:
    """nDCG@10 by held-out query, for an encoder and for the overlap of words on the same pairs."""

    encoder: Floats
    words: Floats

    def figures(self) -> dict[str, Any]:
        """Means for the report."""
        if self.encoder.size == 0:
            return {"queries": 0}
        return {
            "queries": int(self.encoder.size),
            "ndcg10": float(self.encoder.mean()),
            "ndcg10_word_overlap": float(self.words.mean()),
        }


def score_relevance(encoder: TextEncoder, judgements: pd.DataFrame | None) -> Relevance:
    """Rank the judged items of each held-out query by the encoder and by shared words."""
    nothing = np.zeros(0)
    if judgements is None:
        return Relevance(nothing, nothing)
    rows = judgements[held_out(judgements[schema.QUERY], QUERY_SALT)]
    if rows.empty:
        return Relevance(nothing, nothing)
    titles = [item_text(title) for title in rows[schema.TITLE]]
    queries = rows[schema.QUERY].tolist()
    vectors = _embedded(encoder, [*queries, *titles])
    cosine = np.array([vectors[q] @ vectors[t] for q, t in zip(queries, titles, strict=True)], dtype=np.float64)
    overlap = np.array(
        [similarity(set(tokens(q)), [set(tokens(t))], "jaccard")[0] for q, t in zip(queries, titles, strict=True)]
    )
    relevance = rows[schema.RELEVANCE].to_numpy(dtype=np.float64)
    return Relevance(ndcg_by_query(queries, relevance, cosine, K), ndcg_by_query(queries, relevance, overlap, K))


def relevance_gate(challenger: Relevance, champion: Relevance | None, margin: float, seed: int) -> Gate:
    """Not worse than the champion, or than shared words where there is no champion."""
    rival, name = (champion.encoder, "the champion") if champion else (challenger.words, "word overlap")
    rule = f"nDCG@10 on unseen queries not below {name} by more than {margin:g} (lower end of the paired 95 % interval)"
    if challenger.encoder.size == 0:
        return Gate("relevance", None, rule, "not applicable", note="the data hold no judged queries")
    if challenger.encoder.size < LEAST_QUERIES:
        note = f"{challenger.encoder.size} judged queries were held out, {LEAST_QUERIES} are needed"
        return Gate("relevance", None, rule, "could not tell", note=note)
    low, high = paired_interval(challenger.encoder - rival, seed)
    gap = float((challenger.encoder - rival).mean())
    return Gate(
        "relevance",
        gap,
        rule,
        "pass" if low >= -margin else "fail",
        threshold=-margin,
        low=low,
        high=high,
        note=f"nDCG@10 {challenger.encoder.mean():.3f} against {rival.mean():.3f} on {rival.size} queries",
    )


def paired_interval(differences: Floats, seed: int, replicates: int = REPLICATES) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of paired differences."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, differences.size, size=(replicates, differences.size))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _embedded(encoder: TextEncoder, texts: list[str]) -> dict[str, NDArray[np.float32]]:
    distinct = sorted(set(texts))
    return dict(zip(distinct, encoder.encode(distinct), strict=True))
