"""How fast an encoder of MiniLM's size is fine-tuned on the CPU; see :mod:`benchmarks.encoder_pace`."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from benchmarks.encoder_pace import MINILM, Plan, measured
from benchmarks.result import Result

FULL = Plan(
    "encoder-training",
    quick=False,
    device="cpu",
    sizes=(MINILM,),
    batch=32,
    steps=25,
    max_length=64,
    accumulations=(1, 4),
    precision="fp32",
    rounds=5,
)


def run() -> Result:
    """MiniLM's size on all cores; some minutes."""
    return _on_all_cores(FULL)


def quick() -> Result:
    """The same, few steps and one round."""
    return _on_all_cores(replace(FULL, quick=True, steps=8, accumulations=(1,), rounds=1))


def _on_all_cores(plan: Plan) -> Result:
    torch.set_num_threads(os.cpu_count() or 1)  # what a training run takes; benchmarks get one thread otherwise
    return measured(plan)
