"""Study: real search judgements. Does the search that is served judge and order products of unseen terms better?

Knows the Home Depot terms and titles. Folds are by search term. A fold is scored by an encoder taught on two other
folds and by the product's own re-ranker, fitted on the two that neither saw: so no feature has seen the grades it is
boosted on. The baselines have no such need: they are fitted on all four.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from benchmarks.studies import home_depot_command as command_line
from benchmarks.studies import home_depot_encoders as encoders
from benchmarks.studies.home_depot_baselines import bm25, boosted, calibrated, overlap_features
from benchmarks.studies.home_depot_command import Tell
from benchmarks.studies.home_depot_encoders import FOLDS, SCORED, SEED, TAUGHT, fold_of
from benchmarks.studies.home_depot_measures import DRAWS, RATING, measures
from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.files import write_atomic
from fairtag.data import load, splits
from fairtag.search.match import FEATURES, Rarity
from fairtag.search.reranker import Reranker, pair_features
from fairtag.search.text_table import TextTable

Floats = NDArray[np.float64]

STEPS = 400  # of 16 terms: 1.7 passes over two folds' terms, and what a CPU does in a quarter of an hour
PUBLISHED = {"mean": 0.532, "overlap": 0.482}  # measured when the set was prepared, on other folds
METHODS = ("mean", "bm25", "minilm", "overlap", "tuned", "ours")
PARTS, EXPORTS = ("ours", "tuned"), ("fp32", "int8")  # what is scored by each export of the encoder too
NOTES = (
    "Folds by search term: no term scored was seen in training. RMSE on the raters' scale of 1 to 3; nDCG@10 with the "
    "grade as gain; MRR: first product rated 2.67 or more. Terms whose products are all rated alike show no order and "
    "are left out of nDCG and MRR.",
    "Intervals: 95 % bootstrap over search terms; the gains are paired on the same terms. Scores become grades by "
    "isotonic regression, features by boosting: baselines on all four training folds.",
    "tuned: the fine-tuned encoder's cosine, taught on two folds. ours: the served re-ranker, as it orders the best "
    f"50 candidates of a search: trees over that cosine and {len(FEATURES) - 1} overlaps of words and letters, fitted "
    "on the other two folds. The first stage, which finds the candidates, is not judged here: the set holds no term's "
    "full list. tuned is a part of ours and no rival.",
    "The re-ranker's features and settings were chosen by trying them on the untuned cosine, one fold against another, "
    "before a tuned encoder was scored. On words alone, without a cosine, trees taught the order (lambdarank) or the "
    "grade less its term's mean ordered no better than trees taught the grade.",
    "lost_by_int8: what the encoder in eight bits, and the re-ranker fitted on its cosine, lose to the same in fp32, "
    "paired.",
)


def run(
    data: Path | None,
    *,
    folds: int = FOLDS,
    steps: int = STEPS,
    terms: int | None = None,
    precision: str = "fp32",
    work: Path | None = None,
    tell: Tell = lambda _: None,
) -> Result:
    """Run the study on the judgements under ``data``.

    Args:
        data: Folder of real data.
        folds: Folds scored, of the five that the terms are cut into.
        steps: Optimiser steps of each encoder.
        terms: Search terms kept, drawn by hash; None keeps all.
        precision: Of the encoder's training, fp32 or bf16.
        work: Folder that keeps each encoder and each fold, so that a run that was cut goes on; None keeps nothing.
        tell: Called with a line of progress.

    Raises:
        MissingDataError: No folder was given, or it holds no judgements.
    """
    if data is None:
        raise MissingDataError("the study home-depot reads the folder home_depot_search; name its parent with --data")
    judgements = load("home-depot", data).judgements
    assert judgements is not None
    judgements = some_terms(judgements, terms)
    with encoders.kept_in(work) as folder:
        signals = {"bm25": bm25(judgements), "minilm": encoders.untuned(judgements, folder, tell).cosine}
        words = _words(judgements)
        tell(f"BM25 and the untuned encoder have scored {len(judgements)} pairs")
        # Folds of one encoder together, the last ones first.
        chosen = sorted(range(FOLDS), reverse=True)[:folds]
        parts = []
        for number in chosen:
            said = encoders.tuned(judgements, SCORED[number], steps, precision, folder, tell)
            parts.append(_kept_fold(judgements, signals, words, number, said, folder, tell))
        scored = pd.concat(parts, ignore_index=True)
    command = command_line.command("benchmarks.studies.home_depot", precision, terms, folds=folds, steps=steps)
    said_of_run = f"{folds} of {FOLDS} folds, {scored[schema.QUERY].nunique()} terms; {steps} steps an encoder."
    return Result("home-depot", command, tuple(rows_of(scored)), (said_of_run, *NOTES))


def some_terms(judgements: pd.DataFrame, terms: int | None) -> pd.DataFrame:
    """The judgements of so many terms, the same ones every time."""
    if terms is None:
        return judgements
    known = sorted(judgements[schema.QUERY].unique(), key=lambda term: splits.unit_hash(term, "sample"))
    return judgements[judgements[schema.QUERY].isin(known[:terms])].reset_index(drop=True)


def _words(judgements: pd.DataFrame) -> tuple[Floats, Rarity]:
    """The re-ranker's features of every pair, with a cosine of 0 in the first column for an encoder to fill."""
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
    said: encoders.Said,
    folder: Path,
    tell: Tell,
) -> pd.DataFrame:
    file = folder / f"fold{number}-{encoders.digest(judgements, said)}.parquet"
    if not file.is_file():
        part = _fold(judgements, signals, words, number, said, tell)
        write_atomic(file, part.to_parquet)
    return pd.read_parquet(file)


def _fold(
    judgements: pd.DataFrame,
    signals: dict[str, Floats],
    words: tuple[Floats, Rarity],
    number: int,
    said: encoders.Said,
    tell: Tell,
) -> pd.DataFrame:
    """Predictions and scores of one fold's test rows by every method."""
    fold = fold_of(judgements)
    test = fold == number
    lesson = ~test & ~np.isin(fold, TAUGHT[SCORED[number]])  # neither scored here nor known to the encoder
    grade = judgements[schema.RELEVANCE].to_numpy(dtype=np.float64)
    out = judgements.loc[test, [schema.QUERY, schema.RELEVANCE]].reset_index(drop=True)
    predictions = {
        "mean": np.full(len(out), grade[~test].mean()),
        "bm25": calibrated(signals["bm25"], grade, test),
        "minilm": calibrated(signals["minilm"], grade, test),
        "overlap": boosted(overlap_features(judgements), grade, test),
    }
    orders = {**predictions, **{name: signals[name][test] for name in signals}}
    for export, known in said.by_export.items():
        cosine = np.full(len(judgements), np.nan)
        cosine[said.rows] = known
        features, rarity = words[0].copy(), words[1]
        features[:, 0] = cosine
        ours = Reranker.fit(features[lesson], grade[lesson], rarity, SEED).of_features(features[test])
        tuned = calibrated(cosine[lesson | test], grade[lesson | test], test[lesson | test])
        for ending in ("", f"_{export}") if export == said.serving else (f"_{export}",):
            predictions |= {f"tuned{ending}": tuned, f"ours{ending}": ours}
            orders |= {f"tuned{ending}": cosine[test], f"ours{ending}": ours}
    for name in predictions:
        out[f"{name}_grade"], out[f"{name}_order"] = predictions[name], orders[name]
    shown = ", ".join(f"{name} {RATING * _rmse(out, name):.4f}" for name in METHODS)
    tell(f"fold {number + 1}: RMSE {shown}")
    return pd.DataFrame(out)


def _rmse(scored: pd.DataFrame, name: str) -> float:
    return float(np.sqrt(((scored[f"{name}_grade"] - scored[schema.RELEVANCE]) ** 2).mean()))


def rows_of(scored: pd.DataFrame, draws: int = DRAWS) -> list[Row]:
    """Every measure of every method, ours against each other one, and one export against the other; gains paired."""
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


def main() -> None:
    """Run some folds from the command line, with progress."""
    parser = command_line.options(run, STEPS)
    parser.add_argument("--folds", type=int, default=FOLDS, help="folds scored, of five")
    command_line.main(run, parser)


if __name__ == "__main__":
    main()
