"""Does search find what people ask for? nDCG@10 on held-out judged queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.text import tokens
from fairtag.data.splits import HOLD_OUT_SHARE, QUERY_SALT, held_out
from fairtag.model.decision import GateResult
from fairtag.model.pricing_model import PricingModel
from fairtag.search.ranking_metrics import ndcg_by_query
from fairtag.search.similarity import similarity
from fairtag.training.search import search_scores

Floats = NDArray[np.float64]

K = 10
LEAST_QUERIES = 20  # with fewer, the interval says nothing
REPLICATES = 1_000  # of the paired bootstrap


@dataclass(frozen=True)
class Relevance:
    """nDCG@10 of each held-out query, for three orders of the same pairs.

    Args:
        served: The order that is served: by the re-ranker, or by fusion when the model folder has none.
        words: The order by the overlap of words.
        encoder: The order by the encoder's cosine alone; empty if it was not computed.
    """

    served: Floats
    words: Floats
    encoder: Floats = field(default_factory=lambda: np.zeros(0))

    def figures(self) -> dict[str, Any]:
        """Means for the report."""
        if self.served.size == 0:
            return {"queries": 0}
        figures = {
            "queries": int(self.served.size),
            "ndcg10": float(self.served.mean()),
            "ndcg10_word_overlap": float(self.words.mean()),
        }
        return {**figures, "ndcg10_encoder": float(self.encoder.mean())} if self.encoder.size else figures


def score_relevance(model: PricingModel, judgements: pd.DataFrame | None) -> Relevance:
    """Order the judged items of each held-out query as search does, by the encoder alone, and by shared words."""
    nothing = Relevance(np.zeros(0), np.zeros(0))
    if judgements is None:
        return nothing
    rows = judgements[held_out(judgements[schema.QUERY], QUERY_SALT)].reset_index(drop=True)
    if rows.empty:
        return nothing
    queries, titles = rows[schema.QUERY].tolist(), rows[schema.TITLE].tolist()
    asked = rows.assign(**{schema.QUERY: [model.query_reader.text(query) for query in queries]})  # as it is served
    served, cosine = search_scores(model.encoder, model.search.reranker, asked)
    overlap = np.array(
        [similarity(set(tokens(q)), [set(tokens(t))], "jaccard")[0] for q, t in zip(queries, titles, strict=True)]
    )
    relevance = rows[schema.RELEVANCE].to_numpy(dtype=np.float64)
    return Relevance(*(ndcg_by_query(queries, relevance, score, K) for score in (served, overlap, cosine)))


def relevance_gate(challenger: Relevance, champion: Relevance | None, margin: float, seed: int) -> GateResult:
    """Not worse than the champion, or than word overlap when there is no champion."""
    rival, name = (champion.served, "the champion") if champion else (challenger.words, "word overlap")
    rule = (
        f"nDCG@10 on held-out queries not below {name} by more than {margin:g} (lower end of the paired 95 % interval)"
    )
    if challenger.served.size == 0:
        return GateResult("relevance", None, rule, "not applicable", note="the data have no judged queries")
    if challenger.served.size < LEAST_QUERIES:
        held = challenger.served.size
        note = f"{held} judged queries were held out, {LEAST_QUERIES} are needed"
        needs = f"about {round((LEAST_QUERIES - held) / HOLD_OUT_SHARE):,} more judged queries"
        if champion is None:  # nothing can become worse, and that search works at all is a gate of its own
            return GateResult("relevance", None, rule, "not applicable", note=f"{note}: {needs}")
        return GateResult("relevance", None, rule, "could not tell", note=note, needs=needs)
    low, high = paired_interval(challenger.served - rival, seed)
    gap = float((challenger.served - rival).mean())
    return GateResult(
        "relevance",
        gap,
        rule,
        "pass" if low >= -margin else "fail",
        threshold=-margin,
        low=low,
        high=high,
        note=f"nDCG@10 {challenger.served.mean():.3f} against {rival.mean():.3f} on {rival.size} queries",
    )


def paired_interval(differences: Floats, seed: int, replicates: int = REPLICATES) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of paired differences."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, differences.size, size=(replicates, differences.size))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
