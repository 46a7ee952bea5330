"""Study: what does a smaller student of the tuned encoder lose on real search, and what does it gain in speed?

Knows the Home Depot terms and titles, no re-ranker and no index. An encoder is tuned on three folds of search terms,
students of it learn its embeddings on the same texts, and all are scored on terms of a fourth as they would be served.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from benchmarks.studies import home_depot_command as command_line
from benchmarks.studies.home_depot import some_terms
from benchmarks.studies.home_depot_baselines import calibrated
from benchmarks.studies.home_depot_command import Tell, told
from benchmarks.studies.home_depot_encoders import SETTINGS, fold_of, kept_in
from benchmarks.studies.home_depot_measures import measures
from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.data import load, splits
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import load_encoder
from fairtag.encoder.folder import MODEL, describe_encoder
from fairtag.encoder.onnx import OnnxEncoder
from fairtag.encoder.training import train_encoder
from fairtag.training.search import cosines

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
    teacher = EncoderConfig.from_json(SETTINGS).override(
        {"schedule": {"max_steps": steps}, "hardware": {"precision": precision}}
    )
    with kept_in(work) as kept:
        folders = {"teacher": kept / f"teacher-{teacher.fingerprint()[:12]}-{len(lesson)}"}
        _train(teacher, lesson, folders["teacher"], "teacher", tell)
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
            _train(config, lesson, folders[name], name, tell)
        scores = {}
        for name, folder in folders.items():
            scores[name] = cosines(load_encoder(folder), test)
            tell(f"{name} has scored {len(test)} pairs")
        times = _milliseconds(folders)
    module = "benchmarks.studies.home_depot_student"
    command = command_line.command(module, precision, terms, steps=steps, student_steps=student_steps)
    said = f"{lesson[schema.QUERY].nunique()} terms taught, {test[schema.QUERY].nunique()} scored."
    served = ", ".join(f"{name} {describe_encoder(folder).serving}" for name, folder in folders.items())
    rows = (*_quality(test, scores), *_speed(times))
    return Result("home-depot-student", command, rows, (said, f"Served: {served}.", *NOTES))


def _train(config: EncoderConfig, lesson: pd.DataFrame, folder: Path, name: str, tell: Tell) -> None:
    if not folder.is_dir():
        train_encoder(config, lesson, None, folder, progress=told(name, tell))


def _quality(test: pd.DataFrame, scores: dict[str, Floats]) -> list[Row]:
    """Each measure of each encoder, and what each student loses to the teacher on the same terms."""
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
    """Grades by isotonic regression, each half calibrated on the other."""
    out = np.zeros(len(score))
    for test in (half, ~half):
        out[test] = calibrated(score, grade, test)
    return out


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
    parser = command_line.options(run, STEPS)
    parser.add_argument("--student-steps", type=int, default=STUDENT_STEPS, help="optimiser steps of each student")
    command_line.main(run, parser)


if __name__ == "__main__":
    main()
