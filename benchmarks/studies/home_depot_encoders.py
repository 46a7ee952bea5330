"""The encoders of the Home Depot study: each taught on two folds of search terms, and what it says of the other three.

Knows no baseline and no re-ranking. Two encoders serve five folds: a fold is scored by the one that was taught on
neither it nor the folds its re-ranker is fitted on. What an encoder says is kept, so that a run that was cut goes on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.studies.home_depot_command import Tell, told
from fairtag.base import schema
from fairtag.base.files import sha256_text, write_atomic
from fairtag.base.settings import layered
from fairtag.data import splits
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import TextEncoder, load_encoder
from fairtag.encoder.export import FILES
from fairtag.encoder.folder import describe_encoder
from fairtag.encoder.onnx import OnnxEncoder
from fairtag.encoder.prefixes import RoleText
from fairtag.encoder.training import train_encoder
from fairtag.training.search import cosines

Floats = NDArray[np.float64]

FOLDS = 5
TAUGHT = ((0, 1), (2, 3))  # folds that teach each encoder
SCORED = {0: 1, 1: 1, 2: 0, 3: 0, 4: 0}  # fold -> the encoder that has seen none of its terms
SEED = 0
SETTINGS: Mapping[str, Any] = {
    "base": {"max_length": 32},
    "batch": {"rows_per_query": 8},
    "objective": {"contrastive_weight": 0.1, "order_weight": 0.1, "price_weight": 0.0, "click_weight": 0.0},
    "optimiser": {"learning_rate": 5e-5},
    "schedule": {"epochs": 10, "checkpoint_every": 50},  # the steps end it first
    "validation": {"holdout_share": 0.0},
    "seed": SEED,
}


@dataclass(frozen=True)
class Said:
    """What an encoder says of some rows of the judgements.

    Args:
        rows: Their row numbers (n,).
        serving: The export that passed the gate and serves.
        by_export: For each export the cosine of the term's and the title's embedding (n,).
    """

    rows: NDArray[np.int64]
    serving: str
    by_export: dict[str, Floats]

    @property
    def cosine(self) -> Floats:
        """As it is served (n,)."""
        return self.by_export[self.serving]


def fold_of(judgements: pd.DataFrame) -> NDArray[np.int64]:
    """The fold of each row, by the hash of its search term."""
    place = np.array([splits.unit_hash(term, "fold") for term in judgements[schema.QUERY]])
    return (place * FOLDS).astype(np.int64)


def untuned(judgements: pd.DataFrame, work: Path, tell: Tell) -> Said:
    """The published encoder's cosine of every row."""
    return _said(
        "untuned",
        judgements,
        np.arange(len(judgements)),
        {"tuning": {"method": "none"}, "export": "fp32"},
        None,
        work,
        tell,
    )


def tuned(judgements: pd.DataFrame, number: int, steps: int, precision: str, work: Path, tell: Tell) -> Said:
    """Teach an encoder its two folds; the cosine of every row of the other three."""
    taught = np.isin(fold_of(judgements), TAUGHT[number])
    changes = layered(SETTINGS, {"schedule": {"max_steps": steps}, "hardware": {"precision": precision}})
    lesson = judgements[taught].reset_index(drop=True)
    return _said(f"encoder{number}", judgements, np.flatnonzero(~taught), changes, lesson, work, tell)


def _said(
    name: str,
    judgements: pd.DataFrame,
    rows: NDArray[np.int64],
    settings: Mapping[str, Any],
    lesson: pd.DataFrame | None,
    work: Path,
    tell: Tell,
) -> Said:
    """Read what was kept, or train, score and keep."""
    config = EncoderConfig.from_json(layered({"base": {"max_length": 32}}, settings))
    key = sha256_text(config.fingerprint() + judgements.to_csv())[:12]
    file = work / f"{name}-{key}-said.npz"
    if not file.is_file():
        folder = work / f"{name}-{key}"
        if not folder.is_dir():
            texts: list[RoleText] = [("query", text) for text in judgements[schema.QUERY]]
            texts += [("item", text) for text in judgements[schema.TITLE]]
            given = texts if lesson is None else ()
            train_encoder(config, lesson, None, folder, texts=given, progress=told(name, tell))
        said = {name: cosines(one, judgements.iloc[rows]) for name, one in _exports(folder).items()}
        serving = describe_encoder(folder).serving
        arrays: dict[str, Any] = {**said, "rows": rows, "serving": np.array(serving)}
        write_atomic(file, lambda path: np.savez(path, **arrays))
        tell(f"{name} has scored {len(rows)} pairs by {', '.join(said)}; {serving} serves")
    with np.load(file, allow_pickle=False) as kept:
        by_export = {name: kept[name] for name in kept.files if name not in ("rows", "serving")}
        return Said(kept["rows"], str(kept["serving"]), by_export)


def _exports(folder: Path) -> dict[str, TextEncoder]:
    """The export that serves, and the ONNX graphs beside it."""
    description = describe_encoder(folder)
    there = {name: file for name, file in FILES.items() if (folder / file).is_file()}
    graphs: dict[str, TextEncoder] = {name: OnnxEncoder(folder, description, file=file) for name, file in there.items()}
    return {**graphs, description.serving: load_encoder(folder)}


def digest(judgements: pd.DataFrame, said: Said) -> str:
    """Names the rows and what an encoder said of them."""
    parts = [f"{name} {cosine.tobytes().hex()}" for name, cosine in sorted(said.by_export.items())]
    return sha256_text("".join([judgements.to_csv(), said.serving, *parts]))[:12]


@contextmanager
def kept_in(work: Path | None) -> Iterator[Path]:
    """The folder that keeps what was computed; a temporary one, removed at the end, when none is named."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="home-depot-") as scratch:
        yield Path(scratch)
