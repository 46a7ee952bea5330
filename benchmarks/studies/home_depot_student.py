"""Study: what does a smaller student of the tuned encoder lose on real search, and what does it gain in speed?

Knows the Home Depot terms and titles, no re-ranker and no index. An encoder is tuned on three folds of search terms,
students of it learn its embeddings on the same texts, and all are scored on terms of a fourth as they would be served.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.result import Result, Row
from benchmarks.studies.home_depot import DRAWS, GOOD, RATING, some_terms
from benchmarks.studies.home_depot_baselines import calibrated
from benchmarks.studies.home_depot_encoders import SEED, SETTINGS, Tell, fold_of, kept_in
from pricing import schema
from pricing.bundle import splits
from pricing.datasets import load
from pricing.encoder.config import EncoderConfig
from pricing.encoder.encoder import load_encoder
from pricing.encoder.folder import MODEL, describe_encoder
from pricing.encoder.onnx import OnnxEncoder
from pricing.encoder.report import Progress
from pricing.encoder.training import train_encoder
from pricing.errors import MissingDataError
from pricing.search.fitting import cosines
from pricing.search.ranking import ndcg_by_query, reciprocal_rank_by_query

Floats = NDArray[np.float64]

STEPS, STUDENT_STEPS = 400, 500
LAYERS = (3, 2)  # of MiniLM's six
TAUGHT, SCORED = (0, 1, 2), 4
TURNS, TOKENS = 200, 12  # calls of each encoder, in turn; a query's length
NOTES = (
    "Terms scored were seen by neither teacher nor students. RMSE on the raters' scale of 1 to 3, the cosine made a "
    "grade by isotonic regression on the other half of the scored terms; nDCG@10 with the grade as gain; MRR: first "
    "product rated 2.67 or more. Intervals: 95 % bootstrap over terms; what is lost is paired.",
    "Each encoder is scored and timed by the export that passed its fidelity gate; a time is the median of a query of "
    "12 tokens on one thread, the encoders taking turns, so their ratio survives a busy machine.",
)


def run(
    data: Path | None,
    *,
    steps: int = STEPS,
    student_steps: int = STUDENT_STEPS,
    terms: int | None = None,
    precision: str = "fp32",
    work: Path | None = None,
    tell: Tell = lambda _: None,
) -> Result:
    """Run the study on the judgements under ``data``.

    Args:
        data: Folder of real data.
        steps: Optimiser steps of the teacher.
        student_steps: Optimiser steps of each student.
        terms: Search terms kept, drawn by hash; None keeps all.
        precision: Of the teacher's training, fp32 or bf16.
        work: Folder that keeps each encoder, so that a run that was cut goes on; None keeps nothing.
        tell: Called with a line of progress.

    Raises:
        MissingDataError: No folder was given, or it holds no judgements.
    """
    if data is None:
        raise MissingDataError("the study home-depot-student reads the folder home_depot_search; name its parent")
    judgements = load("home-depot", data).judgements
    assert judgements is not None
    judgements = some_terms(judgements, terms)
    fold = fold_of(judgements)
    lesson = judgements[np.isin(fold, TAUGHT)].reset_index(drop=True)
    test = judgements[fold == SCORED].reset_index(drop=True)
    settings = {**SETTINGS, "max_steps": steps, "precision": precision}
    with kept_in(work) as kept:
        folders = {"teacher": kept / f"teacher-{EncoderConfig(**settings).fingerprint()[:12]}-{len(lesson)}"}
        _train(EncoderConfig(**settings), lesson, folders["teacher"], "teacher", tell)
        for layers in LAYERS:
            name = f"student_{layers}_layers"
            student = {**SETTINGS, "base": str(folders["teacher"] / MODEL), "method": "none"}
            config = EncoderConfig(**student, student_layers=layers, student_steps=student_steps)
            folders[name] = folders["teacher"].with_name(f"{folders['teacher'].name}-{layers}-{student_steps}")
            _train(config, lesson, folders[name], name, tell)
        scores = {}
        for name, folder in folders.items():
            scores[name] = cosines(load_encoder(folder), test)
            tell(f"{name} has scored {len(test)} pairs")
        times = _milliseconds(folders)
    command = f"python -m benchmarks.studies.home_depot_student --data DIR --steps {steps}"
    command += f" --student-steps {student_steps}"
    command += f" --precision {precision}" if precision != "fp32" else ""
    command += f" --terms {terms}" if terms else ""
    said = f"{lesson[schema.QUERY].nunique()} terms taught, {test[schema.QUERY].nunique()} scored."
    served = ", ".join(f"{name} {describe_encoder(folder).serving}" for name, folder in folders.items())
    rows = (*_quality(test, scores), *_speed(times))
    return Result("home-depot-student", command, rows, (said, f"Served: {served}.", *NOTES))


def _train(config: EncoderConfig, lesson: pd.DataFrame, folder: Path, name: str, tell: Tell) -> None:
    def told(now: Progress) -> None:
        if now.step % 25 == 0 or now.step == 5:
            tell(f"{name}: step {now.step}/{now.steps}, loss {now.losses['loss']:.4f}, {now.seconds_left:.0f} s left")

    if not folder.is_dir():
        train_encoder(config, lesson, None, folder, progress=told)


def _quality(test: pd.DataFrame, scores: dict[str, Floats]) -> list[Row]:
    """Each measure of each encoder, and what each student loses to the teacher on the same terms."""
    term = test[schema.QUERY].to_numpy(dtype=str)
    grade = test[schema.RELEVANCE].to_numpy(dtype=np.float64)
    half = np.array([splits.unit_hash(one, "half") < 0.5 for one in term])
    codes = np.unique(term, return_inverse=True)[1]
    count = np.bincount(codes).astype(np.float64)
    rng = np.random.default_rng(SEED)
    rows: list[Row] = []
    drawn = rng.integers(0, len(count), (DRAWS, len(count)))
    squared = {name: np.bincount(codes, weights=_errors(score, grade, half) ** 2) for name, score in scores.items()}
    roots = {name: np.sqrt(sums[drawn].sum(1) / count[drawn].sum(1)) for name, sums in squared.items()}
    points = {name: float(np.sqrt(sums.sum() / count.sum())) for name, sums in squared.items()}
    rows.extend(_rows("rmse", points, roots, -1.0))
    for measure, by_term in (
        ("ndcg10", {name: ndcg_by_query(term, grade, score) for name, score in scores.items()}),
        ("mrr", {name: reciprocal_rank_by_query(term, grade >= GOOD, score) for name, score in scores.items()}),
    ):
        size = len(by_term["teacher"])
        drawn = rng.integers(0, size, (DRAWS, size))
        means = {name: values[drawn].mean(1) for name, values in by_term.items()}
        rows.extend(_rows(measure, {name: float(values.mean()) for name, values in by_term.items()}, means, 1.0))
    return rows


def _errors(score: Floats, grade: Floats, half: NDArray[np.bool_]) -> Floats:
    """Errors of grades on the raters' scale, each half calibrated on the other."""
    out = np.zeros(len(score))
    for test in (half, ~half):
        out[test] = RATING * (calibrated(score, grade, test) - grade[test])
    return out


def _rows(measure: str, points: dict[str, float], draws: dict[str, Floats], sign: float) -> list[Row]:
    rows = []
    for name, point in points.items():
        low, high = np.quantile(draws[name], [0.025, 0.975])
        rows.append(Row(f"{measure}_{name}", point, float(low), float(high)))
    for name in [name for name in points if name != "teacher"]:
        lost = sign * (draws["teacher"] - draws[name])
        low, high = np.quantile(lost, [0.025, 0.975])
        rows.append(
            Row(f"{measure}_lost_by_{name}", sign * (points["teacher"] - points[name]), float(low), float(high))
        )
    return rows


def _milliseconds(folders: dict[str, Path]) -> dict[str, Floats]:
    """Milliseconds of each call (turns,) of each encoder's whole graph, the encoders in turn."""
    graphs = {name: load_encoder(folder) for name, folder in folders.items()}
    ids = [[1] * TOKENS]
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(TURNS):
        for name, graph in graphs.items():
            assert isinstance(graph, OnnxEncoder)
            begun = time.perf_counter()
            graph.encode_ids(ids)
            times[name].append(1e3 * (time.perf_counter() - begun))
    return {name: np.array(found[10:]) for name, found in times.items()}


def _speed(times: dict[str, Floats]) -> list[Row]:
    rows = [Row(f"{name}_12tokens_p50", float(np.median(values)), unit="ms") for name, values in times.items()]
    whole = float(np.median(times["teacher"]))
    return [
        *rows,
        *(
            Row(f"speedup_{name}", whole / float(np.median(values)))
            for name, values in times.items()
            if name != "teacher"
        ),
    ]


def main() -> None:
    """Run the study from the command line, with progress."""
    parser = argparse.ArgumentParser(description=run.__doc__.splitlines()[0] if run.__doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of real data")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps of the teacher")
    parser.add_argument("--student-steps", type=int, default=STUDENT_STEPS, help="optimiser steps of each student")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the teacher's training")
    parser.add_argument("--work", type=Path, help="folder that keeps each encoder")
    parser.add_argument("--terms", type=int, help="search terms kept; all when absent")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = vars(parser.parse_args())
    console, begun, file = Console(width=160), time.monotonic(), given.pop("json")

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - begun:6.0f} s  {line}")

    result = run(**given, tell=tell)
    result.show(console)
    if file is not None:
        result.save(file)


if __name__ == "__main__":
    main()
