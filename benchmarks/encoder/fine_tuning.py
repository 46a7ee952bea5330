"""Speed of fine-tuning encoders on a CPU and on one NVIDIA GPU: what each run trains; see :mod:`.trainer_pace`."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from benchmarks.encoder.trainer_pace import MINILM, Plan, Size, compare
from benchmarks.result import Result

ON_CPU = Plan(
    device="cpu",
    sizes=(MINILM,),
    batch=32,
    steps=25,
    max_length=64,
    accumulations=(1, 4),
    precision="fp32",
    rounds=5,
)
ON_GPU = Plan(
    device="cuda",
    sizes=(MINILM, Size("bert_base", 12, 768, 12, 3_072)),
    batch=128,
    steps=60,
    max_length=128,
    accumulations=(1, 2, 4, 8),
    precision="bf16",
    rounds=3,
)
TINY = Plan(
    device="cpu",
    sizes=(Size("tiny", 2, 32, 2, 64),),
    batch=4,
    steps=8,
    max_length=16,
    accumulations=(1, 2),
    precision="fp32",
    rounds=1,
)


def run_on_cpu() -> Result:
    """Train an encoder of MiniLM's size on all cores."""
    return _on_all_cores(ON_CPU)


def run_briefly_on_cpu() -> Result:
    """Train the same encoder for a few steps and one round."""
    return _on_all_cores(replace(ON_CPU, steps=8, accumulations=(1,), rounds=1))


def run_on_gpu() -> Result:
    """Train encoders of MiniLM's and BERT-base's size on one GPU."""
    return compare(ON_GPU)


def run_tiny() -> Result:
    """Train a tiny encoder on the CPU: shows that every line runs and says nothing about speed."""
    return compare(TINY)


def _on_all_cores(plan: Plan) -> Result:
    torch.set_num_threads(os.cpu_count() or 1)  # as a training run does; other benchmarks get one thread
    return compare(plan)
