"""How fast encoders of two sizes are fine-tuned on one NVIDIA GPU; see :mod:`benchmarks.encoder_pace`.

On a machine without CUDA the full run refuses; ``--quick`` goes through every line with a tiny encoder on the CPU.
"""

from __future__ import annotations

import torch

from benchmarks.encoder_pace import MINILM, Plan, Size, measured
from benchmarks.result import Result
from fairtag.base.errors import UnavailableError

NAME = "encoder-gpu"
FULL = Plan(
    NAME,
    quick=False,
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
    NAME,
    quick=True,
    device="cpu",
    sizes=(Size("tiny", 2, 32, 2, 64),),
    batch=4,
    steps=8,
    max_length=16,
    accumulations=(1, 2),
    precision="fp32",
    rounds=1,
)


def run() -> Result:
    """MiniLM and BERT-base sizes on one GPU.

    Raises:
        UnavailableError: There is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise UnavailableError(
            "encoder-gpu needs one NVIDIA GPU with bf16 and 24 GB, a driver, and torch built for CUDA; torch finds no "
            "device here. Try the same lines on a CPU with --quick"
        )
    return measured(FULL)


def quick() -> Result:
    """A tiny encoder on the CPU: its figures say that everything runs, and nothing of speed."""
    return measured(TINY)
