"""What fine-tuning tells while it runs and after it ran."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Where training stands, for a progress bar.

    Args:
        step: Steps done.
        steps: Steps planned.
        losses: Of the step just done, by name.
        tokens_per_second: Since this attempt began.
        seconds_left: Estimate at that rate.
        evaluation: Scores, where they were just taken.
        stage: What is trained: empty for the encoder that ships, else such as ``student`` or ``fold 1 of 5``.
    """

    step: int
    steps: int
    losses: dict[str, float]
    tokens_per_second: float
    seconds_left: float
    evaluation: dict[str, float] | None = None
    stage: str = ""


@dataclass(frozen=True)
class TrainingReport:
    """What a run did; saved beside the weights as ``training_report.json``.

    Args:
        base: The encoder it started from.
        steps: Optimiser steps done.
        planned_steps: Steps planned.
        seconds: Time in the loop, over all attempts.
        tokens: Tokens trained on.
        tokens_per_second: Their rate.
        device: Where it ran.
        precision: fp32 or bf16.
        processes: Processes of the group.
        trained_parameters: Parameters that were trained.
        peak_memory_bytes: Of the GPU; 0 on a CPU.
        losses: One row a logged step: step, rate, loss and its parts.
        evaluations: One row a score: step, ndcg10, cosine_rmse, relevance_rmse, price_rmsle, where rows are held out.
        best_step: Step whose weights are kept.
        stopped_early: Whether patience ran out.
        data: Rows read, dropped and merged.
        exports: Each export with fidelity, speed and verdict.
        serving: ``fp32``, ``int8`` or ``torch``.
        distillation: The student that ships beside its teacher, in quality and speed; None where there is none.
        cross_validation: Held-out scores by fold, their mean and spread; None without ``folds``.
    """

    base: str
    steps: int
    planned_steps: int
    seconds: float
    tokens: int
    tokens_per_second: float
    device: str
    precision: str
    processes: int
    trained_parameters: int
    peak_memory_bytes: int
    losses: list[dict[str, float]]
    evaluations: list[dict[str, float]]
    best_step: int
    stopped_early: bool
    data: dict[str, int]
    exports: list[dict[str, Any]]
    serving: str
    distillation: dict[str, Any] | None = None
    cross_validation: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)
