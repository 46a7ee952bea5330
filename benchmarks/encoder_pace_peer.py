"""sentence-transformers' own Trainer on the same pairs."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch

from fairtag.base import schema
from fairtag.encoder.model import quiet

NEEDED = ("sentence_transformers", "datasets", "accelerate")


class PeerAbsent(Exception):
    """The peer's packages are not installed."""


class Settings(Protocol):
    """What the peer is told."""

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``."""
        ...

    @property
    def batch(self) -> int:
        """Pairs in a batch."""
        ...

    @property
    def steps(self) -> int:
        """Steps, the warm ones included."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens read of a text."""
        ...

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        ...


def peer_seconds(plan: Settings, base: Path, pairs: pd.DataFrame, warm: int) -> tuple[float, int]:
    """Seconds of a step after the warm ones, and bytes of memory at the peak (0 on a CPU).

    MultipleNegativesRankingLoss of the same scale, AdamW at the same rate, batches in the trainer's own order.

    Raises:
        PeerAbsent: A package of it is missing.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise PeerAbsent(f"No peer: {', '.join(missing)} is not installed (sentence-transformers[train]).")
    datasets: Any = importlib.import_module("datasets")  # no dependency of ours
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    marks: list[float] = []

    class Marks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            if state.global_step in (warm, plan.steps):
                if plan.device == "cuda":
                    torch.cuda.synchronize()
                marks.append(time.perf_counter())

    if plan.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with warnings.catch_warnings(), quiet(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        model = SentenceTransformer(str(base), device=plan.device)
        model.max_seq_length = plan.max_length
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=plan.batch,
            max_steps=plan.steps,
            learning_rate=2e-5,
            bf16=plan.precision == "bf16",
            use_cpu=plan.device == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        data = datasets.Dataset.from_dict({"anchor": list(pairs[schema.QUERY]), "positive": list(pairs[schema.TITLE])})
        loss: Any = MultipleNegativesRankingLoss(model, scale=20.0)
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=loss, callbacks=[Marks()]
        )
        trainer.train()
    memory = torch.cuda.max_memory_allocated() if plan.device == "cuda" else 0
    return (marks[1] - marks[0]) / (plan.steps - warm), memory
