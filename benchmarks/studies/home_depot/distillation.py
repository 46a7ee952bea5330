"""What smaller students of the tuned encoder lose on real search (Home Depot), and how much faster they are.

An encoder is tuned on three folds of search terms, its students learn its embeddings on the same texts, and all are
scored on the terms of another fold, as they would serve. No re-ranker and no index take part.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from benchmarks.studies.home_depot.baselines import predict_by_score
from benchmarks.studies.home_depot.fold_encoders import SETTINGS, fold_of, progress_of, working_folder
from benchmarks.studies.home_depot.ranking import some_terms
from benchmarks.studies.home_depot.term_measures import measures
from fairtag.base import schema
from fairtag.data import load, splits
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import MODEL, describe_encoder, load_encoder
from fairtag.encoder.onnx import OnnxEncoder
from fairtag.encoder.training import train_encoder
from fairtag.training.search import cosines

Floats = NDArray[np.float64]
log = logging.getLogger(__name__)

STEPS, STUDENT_STEPS = 400, 500
LAYERS = (3, 2)  # of MiniLM's six
TRAINING_FOLDS, TEST_FOLD = (0, 1, 2), 4
TURNS, TOKENS = 200, 12  # calls of each encoder, in turn; length of a query
NOTES = (
    "Neither teacher nor students have seen the scored terms. RMSE: on the raters' scale of 1 to 3, relevance "
    "predicted from the cosine by isotonic regression on the other half of the scored terms. nDCG@10: relevance as "
    "gain. MRR: first product rated 2.67 or more. Intervals: 95 % bootstrap over terms; losses are paired by term.",
    "Each encoder is scored and timed by the export that would serve. Times: median of a query of 12 tokens on one "
    "thread; the encoders take turns, so that their ratio holds on a busy machine too.",
)


def run(
    data: Path,
    *,
    steps: int = STEPS,
    student_steps: int = STUDENT_STEPS,
    terms: int | None = None,
    precision: str = "fp32",
    work: Path | None = None,
) -> Result:
    """Run the study on the judgements under ``data``.

    Args:
        data: Folder of the real data sets.
        steps: Training steps of the teacher.
        student_steps: Training steps of each student.
        terms: Search terms kept, drawn by hash; None keeps all.
        precision: Precision of the teacher's training, fp32 or bf16.
        work: Folder that keeps each encoder, so that an interrupted run continues; None keeps nothing.

    Raises:
        MissingDataError: ``data`` holds no judgements.
    """
    judgements = load("home-depot", data).judgements
    assert judgements is not None
    judgements = some_terms(judgements, terms)
    fold = fold_of(judgements)
    lesson = judgements[np.isin(fold, TRAINING_FOLDS)].reset_index(drop=True)
    test = judgements[fold == TEST_FOLD].reset_index(drop=True)
    teacher = EncoderConfig.from_json(SETTINGS).override(
        {"schedule": {"max_steps": steps}, "hardware": {"precision": precision}}
    )
    with working_folder(work) as kept:
        folders = {"teacher": kept / f"teacher-{teacher.fingerprint()[:12]}-{len(lesson)}"}
        _train(teacher, lesson, folders["teacher"], "teacher")
        for layers in LAYERS:
            name = f"student_{layers}_layers"
            config = EncoderConfig.from_json(SETTINGS).override(
                {
                    "base": {"name": str(folders["teacher"] / MODEL)},
                    "tuning": {"method": "none"},
                    "student": {"layers": layers, "steps": student_steps},
                }
            )
            folders[name] = folders["teacher"].with_name(f"{folders['teacher'].name}-{layers}-{student_steps}")
            _train(config, lesson, folders[name], name)
        scores = {}
        for name, folder in folders.items():
            scores[name] = cosines(load_encoder(folder), test)
            log.info("%s scored %d pairs", name, len(test))
        times = _milliseconds(folders)
    counts = f"{lesson[schema.QUERY].nunique()} training terms, {test[schema.QUERY].nunique()} scored terms."
    serving = ", ".join(f"{name} {describe_encoder(folder).serving}" for name, folder in folders.items())
    rows = (*_quality(test, scores), *_speed(times))
    return Result(rows, (counts, f"Exports that would serve: {serving}.", *NOTES))


def _train(config: EncoderConfig, lesson: pd.DataFrame, folder: Path, name: str) -> None:
    if not folder.is_dir():
        train_encoder(config, lesson, None, folder, progress=progress_of(name))


def _quality(test: pd.DataFrame, scores: dict[str, Floats]) -> list[Row]:
    """Every measure of each encoder, and what each student loses to the teacher on the same terms."""
    term = test[schema.QUERY].to_numpy(dtype=str)
    grade = test[schema.RELEVANCE].to_numpy(dtype=np.float64)
    half = np.array([splits.unit_hash(one, "half") < 0.5 for one in term])
    grades = {name: _grades(score, grade, half) for name, score in scores.items()}
    rows: list[Row] = []
    for measure in measures(term, grade, grades, scores):
        rows += [measure.row(f"{measure.name}_{name}", name) for name in scores]
        students = [name for name in scores if name != "teacher"]
        rows += [measure.gain(f"{measure.name}_lost_by_{name}", "teacher", name) for name in students]
    return rows


def _grades(score: Floats, grade: Floats, half: NDArray[np.bool_]) -> Floats:
    """Relevance predicted by isotonic regression, each half of the terms calibrated on the other."""
    out = np.zeros(len(score))
    for test in (half, ~half):
        out[test] = predict_by_score(score, grade, test)
    return out


def _milliseconds(folders: dict[str, Path]) -> dict[str, Floats]:
    """Milliseconds of each call (turns,) of each encoder; the encoders take turns."""
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
