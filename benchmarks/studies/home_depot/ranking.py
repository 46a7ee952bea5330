"""Real search judgements (Home Depot): does the served search order products of new search terms better?

Folds are cut by search term. A fold is scored by an encoder trained on two other folds and by the product's re-ranker,
fitted on the remaining two: so no feature has seen the relevance that it is fitted to. The baselines are fitted on all
four other folds.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from benchmarks.studies.home_depot import fold_encoders as encoders
from benchmarks.studies.home_depot.baselines import bm25, overlap_features, predict_by_features, predict_by_score
from benchmarks.studies.home_depot.fold_encoders import FOLDS, SCORED_BY, SEED, TRAINED_ON, EncoderScores, fold_of
from benchmarks.studies.home_depot.term_measures import DRAWS, RATING, measures
from fairtag.base import schema
from fairtag.base.files import write_atomic
from fairtag.data import load, splits
from fairtag.search.match import FEATURES, Rarity
from fairtag.search.reranker import Reranker, pair_features
from fairtag.search.text_table import TextTable

Floats = NDArray[np.float64]
log = logging.getLogger(__name__)

STEPS = 400  # of 16 terms each: 1.7 passes over the terms of two folds, a quarter of an hour on a CPU
PUBLISHED = {"mean": 0.532, "overlap": 0.482}  # computed independently when the data set was prepared, other folds
METHODS = ("mean", "bm25", "minilm", "overlap", "tuned", "ours")
PARTS, EXPORTS = ("ours", "tuned"), ("fp32", "int8")  # methods that are scored with each export of the encoder too
NOTES = (
    "Folds by search term: no scored term was seen in training. RMSE: on the raters' scale of 1 to 3. nDCG@10: "
    "relevance as gain. MRR: first product rated 2.67 or more. Terms whose products all have one rating have no order "
    "and are left out of nDCG and MRR.",
    "Intervals: 95 % bootstrap over search terms; gains are paired by term. Relevance is predicted from a score by "
    "isotonic regression, from features by boosting; the baselines are fitted on all four training folds.",
    "tuned: cosine of the fine-tuned encoder, trained on two folds. ours: the served re-ranker, which orders the best "
    f"50 candidates of a search: trees over that cosine and {len(FEATURES) - 1} overlaps of words and letters, fitted "
    "on the other two folds; tuned is a part of it. The first stage, which finds the candidates, is not judged: the "
    "data set holds a few products for each term.",
    "The re-ranker's features and settings were chosen on the untuned cosine, one fold against another, before a tuned "
    "encoder was scored. On words alone, trees trained on the order (lambdarank), or on relevance minus the term's "
    "mean, ordered no better than trees trained on relevance.",
    "lost_by_int8: what the 8-bit encoder, and the re-ranker fitted on its cosine, lose to the same in fp32, paired.",
)


def run(
    data: Path,
    *,
    folds: int = FOLDS,
    steps: int = STEPS,
    terms: int | None = None,
    precision: str = "fp32",
    work: Path | None = None,
) -> Result:
    """Run the study on the judgements under ``data``.

    Args:
        data: Folder of the real data sets.
        folds: Folds scored, of five.
        steps: Training steps of each encoder.
        terms: Search terms kept, drawn by hash; None keeps all.
        precision: Precision of the encoders' training, fp32 or bf16.
        work: Folder that keeps each encoder and each fold, so that an interrupted run continues; None keeps nothing.

    Raises:
        MissingDataError: ``data`` holds no judgements.
    """
    judgements = load("home-depot", data).judgements
    assert judgements is not None
    judgements = some_terms(judgements, terms)
    with encoders.working_folder(work) as folder:
        signals = {"bm25": bm25(judgements), "minilm": encoders.score_untuned(judgements, folder).cosine}
        words = _words(judgements)
        log.info("BM25 and the untuned encoder scored %d pairs", len(judgements))
        # The folds of one encoder together, the last ones first.
        chosen = sorted(range(FOLDS), reverse=True)[:folds]
        parts = []
        for number in chosen:
            scores = encoders.score_tuned(judgements, SCORED_BY[number], steps, precision, folder)
            parts.append(_kept_fold(judgements, signals, words, number, scores, folder))
        scored = pd.concat(parts, ignore_index=True)
    size = f"{folds} of {FOLDS} folds, {scored[schema.QUERY].nunique()} terms; {steps} training steps for each encoder."
    return Result(tuple(rows_of(scored)), (size, *NOTES))


def some_terms(judgements: pd.DataFrame, terms: int | None) -> pd.DataFrame:
    """The judgements of a number of terms, the same ones every time."""
    if terms is None:
        return judgements
    known = sorted(judgements[schema.QUERY].unique(), key=lambda term: splits.unit_hash(term, "sample"))
    return judgements[judgements[schema.QUERY].isin(known[:terms])].reset_index(drop=True)


def _words(judgements: pd.DataFrame) -> tuple[Floats, Rarity]:
    """The re-ranker's features of every pair, with 0 in the first column, which holds an encoder's cosine later."""
    titles, of_title = np.unique(judgements[schema.TITLE].to_numpy(dtype=str), return_inverse=True)
    table = TextTable.build(titles.tolist())
    rarity = Rarity.of(table)
    nothing = np.zeros(len(judgements))
    return pair_features(judgements[schema.QUERY].tolist(), table, of_title, nothing, rarity), rarity


def _kept_fold(
    judgements: pd.DataFrame,
    signals: dict[str, Floats],
    words: tuple[Floats, Rarity],
    number: int,
    scores: EncoderScores,
    folder: Path,
) -> pd.DataFrame:
    """Read a kept fold; otherwise score and keep it."""
    file = folder / f"fold{number}-{encoders.digest(judgements, scores)}.parquet"
    if not file.is_file():
        part = _fold(judgements, signals, words, number, scores)
        write_atomic(file, part.to_parquet)
    return pd.read_parquet(file)


def _fold(
    judgements: pd.DataFrame,
    signals: dict[str, Floats],
    words: tuple[Floats, Rarity],
    number: int,
    scores: EncoderScores,
) -> pd.DataFrame:
    """Relevance and order of one fold's test rows by every method."""
    fold = fold_of(judgements)
    test = fold == number
    lesson = ~test & ~np.isin(fold, TRAINED_ON[SCORED_BY[number]])  # neither scored here nor seen by the encoder
    grade = judgements[schema.RELEVANCE].to_numpy(dtype=np.float64)
    out = judgements.loc[test, [schema.QUERY, schema.RELEVANCE]].reset_index(drop=True)
    predictions = {
        "mean": np.full(len(out), grade[~test].mean()),
        "bm25": predict_by_score(signals["bm25"], grade, test),
        "minilm": predict_by_score(signals["minilm"], grade, test),
        "overlap": predict_by_features(overlap_features(judgements), grade, test),
    }
    orders = {**predictions, **{name: signals[name][test] for name in signals}}
    for export, known in scores.by_export.items():
        cosine = np.full(len(judgements), np.nan)
        cosine[scores.rows] = known
        features, rarity = words[0].copy(), words[1]
        features[:, 0] = cosine
        ours = Reranker.fit(features[lesson], grade[lesson], rarity, SEED).predict(features[test])
        tuned = predict_by_score(cosine[lesson | test], grade[lesson | test], test[lesson | test])
        for ending in ("", f"_{export}") if export == scores.serving else (f"_{export}",):
            predictions |= {f"tuned{ending}": tuned, f"ours{ending}": ours}
            orders |= {f"tuned{ending}": cosine[test], f"ours{ending}": ours}
    for name in predictions:
        out[f"{name}_grade"], out[f"{name}_order"] = predictions[name], orders[name]
    shown = ", ".join(f"{name} {RATING * _rmse(out, name):.4f}" for name in METHODS)
    log.info("fold %d: RMSE %s", number + 1, shown)
    return pd.DataFrame(out)


def _rmse(scored: pd.DataFrame, name: str) -> float:
    return float(np.sqrt(((scored[f"{name}_grade"] - scored[schema.RELEVANCE]) ** 2).mean()))


def rows_of(scored: pd.DataFrame, draws: int = DRAWS) -> list[Row]:
    """Every measure of every method, the gains of ours over each other method, and what the 8-bit export loses."""
    names = [str(column).removesuffix("_grade") for column in scored if str(column).endswith("_grade")]
    rows: list[Row] = []
    for measure in measures(
        scored[schema.QUERY].to_numpy(dtype=str),
        scored[schema.RELEVANCE].to_numpy(dtype=np.float64),
        {name: scored[f"{name}_grade"].to_numpy() for name in names},
        {name: scored[f"{name}_order"].to_numpy() for name in names},
        draws,
    ):
        published = PUBLISHED if measure.name == "rmse" else {}
        rows.append(measure.row(measure.name, "ours"))
        rows += [measure.row(f"{measure.name}_{name}", name, published.get(name)) for name in METHODS[:-1]]
        for name in METHODS[:-1]:
            reference = None if name == "tuned" else "above 0"
            rows.append(measure.gain(f"{measure.name}_gain_over_{name}", "ours", name, reference))
        for part in PARTS:
            whole, small = (f"{part}_{export}" for export in EXPORTS)
            if {whole, small} <= set(names):
                rows.append(measure.gain(f"{measure.name}_{part}_lost_by_int8", whole, small))
    return rows
