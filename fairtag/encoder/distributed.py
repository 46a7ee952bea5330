"""Training in several processes: the process group, gradients across it, and weights sharded over it (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from fairtag.base.errors import ConfigError
from fairtag.encoder.model import Encoder


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


def shard(encoder: Encoder, device: str) -> Encoder:
    """Cut an encoder's weights over the group, in place: each layer on its own, then what lies outside the layers."""
    mesh = init_device_mesh(device.split(":", maxsplit=1)[0], (size(),))
    for layer in _layers(encoder.backbone):
        fully_shard(layer, mesh=mesh)
    fully_shard(encoder, mesh=mesh, reshard_after_forward=True)
    return encoder


def _layers(backbone: nn.Module) -> list[nn.Module]:
    """The transformer's layers; none where they are no list, and then it is cut as one."""
    depth = getattr(cast(Any, backbone).config, "num_hidden_layers", None)
    lists = [part for part in backbone.modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    return [layer for part in lists for layer in part]


def sync_gradients(encoder: nn.Module, *, wanted: bool) -> None:
    """Whether the next backward pass adds gradients up over the group; without it each process keeps its own."""
    assert isinstance(encoder, FSDPModule)
    encoder.set_requires_gradient_sync(wanted)


def average_gradients(values: Iterable[nn.Parameter]) -> None:
    """The mean of each gradient over the group, in every process; one that a process has not got counts as 0."""
    for value in values:
        if value.requires_grad:
            value.grad = torch.zeros_like(value) if value.grad is None else value.grad
            distributed.all_reduce(value.grad)
            value.grad /= size()


def clip(values: Sequence[nn.Parameter], most: float) -> None:
    """Scale gradients down to a norm of at most ``most``, taken over cut and whole ones together."""
    parts: list[list[Tensor]] = [
        [value for value in values if isinstance(value, DTensor) is cut] for cut in (True, False)
    ]
    norms = [get_total_norm([value.grad for value in part if value.grad is not None]) for part in parts if part]
    norm = torch.stack([whole(value) for value in norms]).norm()
    for part in parts:
        clip_grads_with_norm_(part, most, norm)


def whole(value: Tensor) -> Tensor:
    """A tensor as if nothing were cut; of a cut one every process must ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def cut_like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, cut as another one is."""
    if not isinstance(other, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
