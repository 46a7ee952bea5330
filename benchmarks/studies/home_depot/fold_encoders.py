"""The encoders of the Home Depot study: each is trained on two folds of search terms and scores the other three.

Two encoders serve five folds: a fold is scored by the one trained neither on it nor on the folds of its re-ranker.
Encoders and scores are kept in the working folder, so that an interrupted run continues.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.files import sha256_text, write_atomic
from fairtag.base.settings import layered
from fairtag.data import splits
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import RoleText, TextEncoder, describe_encoder, load_encoder
from fairtag.encoder.export import FILES
from fairtag.encoder.loop import Progress
from fairtag.encoder.onnx import OnnxEncoder
from fairtag.encoder.training import train_encoder
from fairtag.training.search import cosines

Floats = NDArray[np.float64]
log = logging.getLogger(__name__)

FOLDS = 5
TRAINED_ON = ((0, 1), (2, 3))  # training folds of each encoder
SCORED_BY = {0: 1, 1: 1, 2: 0, 3: 0, 4: 0}  # fold -> the encoder that has seen none of its terms
SEED = 0
PROGRESS_STEPS = 25  # steps between two lines about a training
SETTINGS: Mapping[str, Any] = {
    "base": {"max_length": 32},
    "batch": {"rows_per_query": 8},
    "objective": {"contrastive_weight": 0.1, "order_weight": 0.1, "price_weight": 0.0, "click_weight": 0.0},
    "optimiser": {"learning_rate": 5e-5},
    "schedule": {"epochs": 10, "checkpoint_every": 50},  # training ends earlier, by its steps
    "validation": {"holdout_share": 0.0},
    "seed": SEED,
}


@dataclass(frozen=True)
class EncoderScores:
    """Cosines of term and title for some rows of the judgements.

    Args:
        rows: Row numbers (n,).
        serving: The export that would serve.
        by_export: Cosines of each export (n,).
    """

    rows: NDArray[np.int64]
    serving: str
    by_export: dict[str, Floats]

    @property
    def cosine(self) -> Floats:
        """Cosines of the export that would serve (n,)."""
        return self.by_export[self.serving]


def fold_of(judgements: pd.DataFrame) -> NDArray[np.int64]:
    """The fold of each row, by the hash of its search term."""
    place = np.array([splits.unit_hash(term, "fold") for term in judgements[schema.QUERY]])
    return (place * FOLDS).astype(np.int64)


def score_untuned(judgements: pd.DataFrame, work: Path) -> EncoderScores:
    """Score every row with the published encoder."""
    changes = {"tuning": {"method": "none"}, "export": "fp32"}
    return _score("untuned", judgements, np.arange(len(judgements)), changes, None, work)


def score_tuned(judgements: pd.DataFrame, number: int, steps: int, precision: str, work: Path) -> EncoderScores:
    """Train an encoder on its two folds and score every row of the other three."""
    training = np.isin(fold_of(judgements), TRAINED_ON[number])
    changes = layered(SETTINGS, {"schedule": {"max_steps": steps}, "hardware": {"precision": precision}})
    lesson = judgements[training].reset_index(drop=True)
    return _score(f"encoder{number}", judgements, np.flatnonzero(~training), changes, lesson, work)


def _score(
    name: str,
    judgements: pd.DataFrame,
    rows: NDArray[np.int64],
    settings: Mapping[str, Any],
    lesson: pd.DataFrame | None,
    work: Path,
) -> EncoderScores:
    """Read kept scores; otherwise train, score and keep."""
    config = EncoderConfig.from_json(layered({"base": {"max_length": 32}}, settings))
    key = sha256_text(config.fingerprint() + judgements.to_csv())[:12]
    file = work / f"{name}-{key}-scores.npz"
    if not file.is_file():
        folder = work / f"{name}-{key}"
        if not folder.is_dir():
            texts: list[RoleText] = [("query", text) for text in judgements[schema.QUERY]]
            texts += [("item", text) for text in judgements[schema.TITLE]]
            given = texts if lesson is None else ()
            train_encoder(config, lesson, None, folder, texts=given, progress=progress_of(name))
        scores = {name: cosines(one, judgements.iloc[rows]) for name, one in _exports(folder).items()}
        serving = describe_encoder(folder).serving
        arrays: dict[str, Any] = {**scores, "rows": rows, "serving": np.array(serving)}
        write_atomic(file, lambda path: np.savez(path, **arrays))
        log.info("%s scored %d pairs by %s; %s would serve", name, len(rows), ", ".join(scores), serving)
    with np.load(file, allow_pickle=False) as kept:
        by_export = {name: kept[name] for name in kept.files if name not in ("rows", "serving")}
        return EncoderScores(kept["rows"], str(kept["serving"]), by_export)


def progress_of(name: str) -> Callable[[Progress], None]:
    """Log a training's progress: its fifth step, to show how long it will take, and every 25th."""

    def report(now: Progress) -> None:
        if now.step % PROGRESS_STEPS == 0 or now.step == 5:
            loss = now.losses["loss"]
            log.info("%s: step %d/%d, loss %.4f, %.0f s left", name, now.step, now.steps, loss, now.seconds_left)

    return report


def _exports(folder: Path) -> dict[str, TextEncoder]:
    """The export that would serve, and the other ONNX exports."""
    description = describe_encoder(folder)
    there = {name: file for name, file in FILES.items() if (folder / file).is_file()}
    graphs: dict[str, TextEncoder] = {name: OnnxEncoder(folder, description, file=file) for name, file in there.items()}
    return {**graphs, description.serving: load_encoder(folder)}


def digest(judgements: pd.DataFrame, scores: EncoderScores) -> str:
    """A short digest of the judgements and an encoder's scores."""
    parts = [f"{name} {cosine.tobytes().hex()}" for name, cosine in sorted(scores.by_export.items())]
    return sha256_text("".join([judgements.to_csv(), scores.serving, *parts]))[:12]


@contextmanager
def working_folder(work: Path | None) -> Iterator[Path]:
    """The folder that keeps encoders and scores; without one, a temporary folder that is removed at the end."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="home-depot-") as scratch:
        yield Path(scratch)
