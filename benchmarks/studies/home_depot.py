"""Study: real search judgements. Does the fine-tuned encoder judge and order products of unseen search terms better?

Knows the Home Depot terms and titles. Folds are by search term. In each fold the encoder is fine-tuned on 60 % of the
training terms and the boosting of its features on the other 40 %, so that no feature has seen the grades it is boosted
on. The baselines have no such need: they are fitted on all the training terms.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression

from benchmarks.result import Result, Row
from pricing import schema
from pricing.bundle import splits
from pricing.datasets import load
from pricing.encoder.config import EncoderConfig
from pricing.encoder.encoder import load_encoder
from pricing.encoder.model import load_heads
from pricing.encoder.report import Progress
from pricing.encoder.training import train_encoder
from pricing.errors import MissingDataError
from pricing.search.ranking import ndcg_by_query, reciprocal_rank_by_query
from pricing.search.word_index import WordIndex
from pricing.text import tokens

Floats = NDArray[np.float64]
Tell = Callable[[str], None]

FOLDS = 5
STEPS = 400  # of 16 terms: well under one pass over a fold's terms, and what a CPU does in a quarter of an hour
ENCODER_SHARE = 0.6  # of the training terms teach the encoder; the rest teach the boosting
RATING = 2.0  # the tables grade in [0, 1]; the figures are on the set's own scale of 1 to 3
GOOD = 5.0 / 6.0  # a product rated 2.67 or more of 3 is what the reciprocal rank looks for
DRAWS, SEED = 1000, 0
PUBLISHED = {"mean": 0.532, "overlap": 0.482}  # measured when the set was prepared, on other folds
METHODS = ("mean", "bm25", "minilm", "overlap", "ours")
NOTES = (
    "Folds by search term: no term scored was seen in training. RMSE on the raters' scale of 1 to 3; nDCG@10 with the "
    "grade as gain; MRR: first product rated 2.67 or more. Terms whose products are all rated alike show no order and "
    "are left out of nDCG and MRR.",
    "Intervals: 95 % bootstrap over search terms; the gains are paired on the same terms. Scores become grades by "
    "isotonic regression, features by boosting: baselines on all training terms, ours on 40 % of them.",
    "ours: boosting of the tuned encoder's cosine and graded head, the untuned cosine, BM25 and overlap features; its "
    "order by a second boosting, of what sets a product apart from the term's others.",
)


def run(
    data: Path | None,
    *,
    folds: int = FOLDS,
    steps: int = STEPS,
    terms: int | None = None,
    tell: Tell = lambda _: None,
) -> Result:
    """Run the study on the judgements under ``data``.

    Args:
        data: Folder of real data.
        folds: Folds scored, of the five that the terms are cut into.
        steps: Optimiser steps of the encoder in each fold.
        terms: Search terms kept, drawn by hash; None keeps all.
        tell: Called with a line of progress.

    Raises:
        MissingDataError: No folder was given, or it holds no judgements.
    """
    if data is None:
        raise MissingDataError("the study home-depot reads the folder home_depot_search; name its parent with --data")
    judgements = load("home-depot", data).judgements
    assert judgements is not None
    judgements = _some(judgements, terms)
    with tempfile.TemporaryDirectory() as scratch:
        base = _encoder(None, Path(scratch) / "base", 0, tell)
        signals = {"bm25": _bm25(judgements), "minilm": _cosine(judgements, base)[0]}
        tell(f"BM25 and the untuned encoder have scored {len(judgements)} pairs")
        parts = [_fold(judgements, signals, number, Path(scratch), steps, tell) for number in range(folds)]
        scored = pd.concat(parts, ignore_index=True)
    command = f"python -m benchmarks.studies.home_depot --data DIR --folds {folds} --steps {steps}"
    command += f" --terms {terms}" if terms else ""
    said = f"{folds} of {FOLDS} folds, {scored[schema.QUERY].nunique()} terms, {steps} steps of fine-tuning a fold."
    return Result("home-depot", command, tuple(rows_of(scored)), (said, *NOTES))


def _some(judgements: pd.DataFrame, terms: int | None) -> pd.DataFrame:
    """The judgements of so many terms, the same ones every time."""
    if terms is None:
        return judgements
    known = sorted(judgements[schema.QUERY].unique(), key=lambda term: splits.unit_hash(term, "sample"))
    return judgements[judgements[schema.QUERY].isin(known[:terms])].reset_index(drop=True)


def _fold(
    judgements: pd.DataFrame, signals: dict[str, Floats], number: int, scratch: Path, steps: int, tell: Tell
) -> pd.DataFrame:
    """Predictions and scores of one fold's test rows by every method."""
    place = np.array([splits.unit_hash(term, "fold") for term in judgements[schema.QUERY]])
    test = (place * FOLDS).astype(np.int64) == number
    teach = ~test & ~splits.held_out(judgements[schema.QUERY], "boosting", 1.0 - ENCODER_SHARE)
    tuned = _encoder(judgements[teach], scratch / f"fold{number}", steps, tell)
    ours = ~teach  # the test rows and those that teach the boosting
    cosine, head = _cosine(judgements[ours], tuned)
    overlap = overlap_features(judgements)
    features = np.column_stack([overlap[ours], signals["bm25"][ours], signals["minilm"][ours], cosine, head])
    grade = judgements[schema.RELEVANCE].to_numpy(dtype=np.float64)
    out = judgements.loc[test, [schema.QUERY, schema.RELEVANCE]].reset_index(drop=True)
    predictions = {
        "mean": np.full(len(out), grade[~test].mean()),
        "bm25": _calibrated(signals["bm25"], grade, test),
        "minilm": _calibrated(signals["minilm"], grade, test),
        "overlap": _boosted(overlap[:, :SEVEN], grade, test),
        "ours": _boosted(features, grade[ours], test[ours]),
    }
    orders = {**predictions, "bm25": signals["bm25"][test], "minilm": signals["minilm"][test]}
    orders["ours"] = _ordered(features, grade[ours], judgements[schema.QUERY][ours].to_numpy(dtype=str), test[ours])
    for name in METHODS:
        out[f"{name}_grade"], out[f"{name}_order"] = predictions[name], orders[name]
    shown = ", ".join(f"{name} {RATING * _rmse(out, name):.4f}" for name in METHODS)
    tell(f"fold {number + 1}: RMSE {shown}; tuned encoder alone {_spearman(cosine, grade[ours]):.3f} rank correlation")
    return pd.DataFrame(out)


def _encoder(judgements: pd.DataFrame | None, folder: Path, steps: int, tell: Tell) -> Path:
    """Train an encoder, or without judgements export the untuned one; each is scored as it would serve."""
    config = EncoderConfig(
        method="none" if judgements is None else "full",
        max_length=32,
        max_steps=steps,
        epochs=10,
        learning_rate=5e-5,
        contrastive_weight=0.1,
        holdout_share=0.0,
        price_weight=0.0,
        click_weight=0.0,
        checkpoint_every=100,
        seed=SEED,
    )

    def told(now: Progress) -> None:
        if now.step % 25 == 0:
            loss = now.losses["loss"]
            tell(f"{folder.name}: step {now.step}/{now.steps}, loss {loss:.4f}, {now.seconds_left:.0f} s left")

    train_encoder(config, judgements, None, folder, progress=told)
    return folder


def _cosine(rows: pd.DataFrame, folder: Path) -> tuple[Floats, Floats]:
    """Cosine and graded relevance (n,) of each pair by an encoder; the grade is the cosine where no head was taught."""
    import torch

    terms, of_term = np.unique(rows[schema.QUERY].to_numpy(dtype=str), return_inverse=True)
    titles, of_title = np.unique(rows[schema.TITLE].to_numpy(dtype=str), return_inverse=True)
    encoder = load_encoder(folder)
    query, title = encoder.encode(terms.tolist())[of_term], encoder.encode(titles.tolist())[of_title]
    cosine = (query * title).sum(1).astype(np.float64)
    heads = load_heads(folder, query.shape[1]).tasks
    if "relevance" not in heads:
        return cosine, cosine
    with torch.inference_mode():
        grade = heads["relevance"](torch.from_numpy(query), torch.from_numpy(title)).numpy()
    return cosine, np.asarray(grade, dtype=np.float64)


def _bm25(rows: pd.DataFrame) -> Floats:
    terms, of_term = np.unique(rows[schema.QUERY].to_numpy(dtype=str), return_inverse=True)
    titles, of_title = np.unique(rows[schema.TITLE].to_numpy(dtype=str), return_inverse=True)
    index = WordIndex.build(titles.tolist())
    scores = np.zeros(len(rows))
    order = np.argsort(of_term, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(of_term[order])) + 1):
        scores[pairs] = index.scores(str(terms[of_term[pairs[0]]]))[of_title[pairs]]
    return scores


def _spearman(one: Floats, other: Floats) -> float:
    return float(pd.Series(one).corr(pd.Series(other), method="spearman"))


SEVEN = 7  # the first seven features are the baseline's: word and character overlap alone
_NUMBER = re.compile(r"\d+")


def overlap_features(rows: pd.DataFrame) -> Floats:
    """(n, 12) overlap of term and title; the first seven are the baseline's, all are ours."""
    pairs = zip(rows[schema.QUERY], rows[schema.TITLE], strict=True)
    return np.array([_overlap(tokens(term), tokens(title)) for term, title in pairs], dtype=np.float64)


def _overlap(term: list[str], title: list[str]) -> list[float]:
    words, other = set(term), set(title)
    shared = words & other
    term_text, title_text = " ".join(term), " ".join(title)
    stems, other_stems = {word.rstrip("s") for word in words}, {word.rstrip("s") for word in other}
    numbers, other_numbers = set(_NUMBER.findall(term_text)), set(_NUMBER.findall(title_text))
    fours, other_fours = _grams(term_text, 4), _grams(title_text, 4)
    return [
        float(len(term)),
        float(len(title)),
        float(len(shared)),
        _share(len(shared), len(words)),
        _share(len(shared), len(words | other)),
        _share(len(_grams(term_text, 3) & _grams(title_text, 3)), len(_grams(term_text, 3))),
        float(bool(term) and term[-1] in other),
        _share(len(stems & other_stems), len(stems)),
        _share(len(numbers & other_numbers), len(numbers)) if numbers else -1.0,
        _share(len(fours & other_fours), len(fours)),
        float(term_text in title_text),
        _share(min((title.index(word) for word in shared), default=len(title)), max(len(title), 1)),
    ]


def _grams(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(max(len(text) - size + 1, 1))}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _boosted(features: Floats, grade: Floats, test: NDArray[np.bool_]) -> Floats:
    model = HistGradientBoostingRegressor(
        max_iter=300,
        learning_rate=0.05,
        max_leaf_nodes=24,
        min_samples_leaf=40,
        l2_regularization=1.0,
        random_state=SEED,
    ).fit(features[~test], grade[~test])
    return np.asarray(np.clip(model.predict(features[test]), 0.0, 1.0), dtype=np.float64)


def _ordered(features: Floats, grade: Floats, term: NDArray[np.str_], test: NDArray[np.bool_]) -> Floats:
    """Order within a term: boosting of the grade's distance to the term's mean, on the features' distances too.

    Between terms nothing has to be right, so that small trees do; chosen on terms outside the first fold.
    """
    codes = np.unique(term, return_inverse=True)[1]
    joined = np.column_stack([features, *(_centred(column, codes) for column in features.T)])
    model = HistGradientBoostingRegressor(
        max_iter=300,
        learning_rate=0.05,
        max_leaf_nodes=8,
        min_samples_leaf=80,
        l2_regularization=1.0,
        random_state=SEED,
    ).fit(joined[~test], _centred(grade, codes)[~test])
    return np.asarray(model.predict(joined[test]), dtype=np.float64)


def _centred(values: Floats, codes: NDArray[np.int64]) -> Floats:
    means = np.bincount(codes, weights=values) / np.bincount(codes)
    return np.asarray(values - means[codes], dtype=np.float64)


def _calibrated(score: Floats, grade: Floats, test: NDArray[np.bool_]) -> Floats:
    fit = IsotonicRegression(out_of_bounds="clip").fit(score[~test], grade[~test])
    return np.asarray(fit.predict(score[test]), dtype=np.float64)


def _rmse(scored: pd.DataFrame, name: str) -> float:
    return float(np.sqrt(((scored[f"{name}_grade"] - scored[schema.RELEVANCE]) ** 2).mean()))


def rows_of(scored: pd.DataFrame, draws: int = DRAWS) -> list[Row]:
    """Every measure of every method, and ours against each other one, paired."""
    rng = np.random.default_rng(SEED)
    term = scored[schema.QUERY].to_numpy(dtype=str)
    grade = scored[schema.RELEVANCE].to_numpy(dtype=np.float64)
    codes = np.unique(term, return_inverse=True)[1]
    count = np.bincount(codes).astype(np.float64)
    squared = {
        name: np.bincount(codes, weights=(RATING * (scored[f"{name}_grade"] - grade)) ** 2).astype(np.float64)
        for name in METHODS
    }
    ndcg = {name: ndcg_by_query(term, grade, scored[f"{name}_order"].to_numpy()) for name in METHODS}
    first = {
        name: reciprocal_rank_by_query(term, grade >= GOOD, scored[f"{name}_order"].to_numpy()) for name in METHODS
    }

    def root(tops: Floats) -> Callable[[NDArray[np.int64]], float]:
        return lambda drawn: float(np.sqrt(tops[drawn].sum() / count[drawn].sum()))

    def mean(values: Floats) -> Callable[[NDArray[np.int64]], float]:
        return lambda drawn: float(values[drawn].mean())

    measures = {
        "rmse": ({name: root(squared[name]) for name in METHODS}, len(count), -1.0, PUBLISHED),
        "ndcg10": ({name: mean(ndcg[name]) for name in METHODS}, len(ndcg["ours"]), 1.0, {}),
        "mrr": ({name: mean(first[name]) for name in METHODS}, len(first["ours"]), 1.0, {}),
    }
    rows: list[Row] = []
    for measure, (methods, size, sign, published) in measures.items():
        samples = rng.integers(0, size, (draws, size))
        everything = np.arange(size)
        values = {name: np.array([of(drawn) for drawn in samples]) for name, of in methods.items()}
        for name in ("ours", *METHODS[:-1]):
            low, high = np.quantile(values[name], [0.025, 0.975])
            label = measure if name == "ours" else f"{measure}_{name}"
            rows.append(Row(label, methods[name](everything), float(low), float(high), None, published.get(name)))
        for name in METHODS[:-1]:
            gain = sign * (values["ours"] - values[name])
            point = sign * (methods["ours"](everything) - methods[name](everything))
            low, high = np.quantile(gain, [0.025, 0.975])
            rows.append(Row(f"{measure}_gain_over_{name}", point, float(low), float(high), None, "above 0"))
    return rows


def main() -> None:
    """Run some folds from the command line, with progress."""
    parser = argparse.ArgumentParser(description=run.__doc__.splitlines()[0] if run.__doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of real data")
    parser.add_argument("--folds", type=int, default=FOLDS, help="folds scored, of five")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps of the encoder in each fold")
    parser.add_argument("--terms", type=int, help="search terms kept; all when absent")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    console, begun = Console(width=160), time.monotonic()

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - begun:6.0f} s  {line}")

    result = run(arguments.data, folds=arguments.folds, steps=arguments.steps, terms=arguments.terms, tell=tell)
    result.show(console)
    if arguments.json is not None:
        result.save(arguments.json)


if __name__ == "__main__":
    main()
