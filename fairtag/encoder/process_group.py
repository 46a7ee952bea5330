"""The processes that train together, as torch.distributed knows them; alone where there is no group."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed

from fairtag.base.errors import ConfigError


def active() -> bool:
    """Whether a process group was started."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Number of this process, 0 for the one that writes."""
    return distributed.get_rank() if active() else 0


def size() -> int:
    """Processes of the group."""
    return distributed.get_world_size() if active() else 1


def shared(values: dict[str, float]) -> dict[str, float]:
    """The first process's values, in every process."""
    if size() == 1:
        return values
    box: list[Any] = [values]
    distributed.broadcast_object_list(box, src=0)
    return cast(dict[str, float], box[0])


def all_hold(flag: Tensor) -> bool:
    """Whether a 0/1 flag is 1 in every process."""
    if size() > 1:
        distributed.all_reduce(flag, distributed.ReduceOp.MIN)
    return bool(flag.item())


def barrier() -> None:
    """Wait for the others."""
    if size() > 1:
        distributed.barrier()


def device(wanted: str) -> str:
    """The device of this process: ``auto`` takes CUDA where there is one, one card a process.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError("encoder.hardware.device is 'cuda' and torch finds no CUDA device here; use 'auto' or 'cpu'")
    card = f"cuda:{rank() % torch.cuda.device_count()}"
    torch.cuda.set_device(card)
    return card
