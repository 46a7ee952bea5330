"""Training in several processes: the process group, and weights sharded across it (FSDP2).

With sharding, each layer is gathered when it is computed and sharded again afterwards (Zhao et al., "PyTorch FSDP",
VLDB 2023). The heads are a few vectors: every process holds them whole, and their gradients are averaged here.

A process on its own has no group; every function then works as in a group of one.
"""

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
    """Number of this process; process 0 writes the files."""
    return distributed.get_rank() if active() else 0


def size() -> int:
    """Number of processes in the group."""
    return distributed.get_world_size() if active() else 1


def broadcast(values: dict[str, float]) -> dict[str, float]:
    """The values of process 0, in every process."""
    if size() == 1:
        return values
    box: list[Any] = [values]
    distributed.broadcast_object_list(box, src=0)
    return cast(dict[str, float], box[0])


def all_true(flag: Tensor) -> bool:
    """Whether a 0/1 flag is 1 in every process."""
    if size() > 1:
        distributed.all_reduce(flag, distributed.ReduceOp.MIN)
    return bool(flag.item())


def barrier() -> None:
    """Wait until every process is here."""
    if size() > 1:
        distributed.barrier()


def select_device(wanted: str) -> str:
    """The device of this process: ``auto`` takes CUDA where there is a card, one card for each process.

    Raises:
        ConfigError: CUDA is wanted and there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError("encoder.hardware.device is 'cuda' and torch finds no CUDA device; use 'auto' or 'cpu'")
    card = f"cuda:{rank() % torch.cuda.device_count()}"
    torch.cuda.set_device(card)
    return card


def shard(encoder: Encoder, device: str) -> Encoder:
    """Shard an encoder's weights across the group, in place: each layer by itself, then the rest."""
    mesh = init_device_mesh(device.split(":", maxsplit=1)[0], (size(),))
    for layer in _layers(encoder.backbone):
        fully_shard(layer, mesh=mesh)
    fully_shard(encoder, mesh=mesh, reshard_after_forward=True)
    return encoder


def _layers(backbone: nn.Module) -> list[nn.Module]:
    """The transformer's layers; empty where they are not in one list, and the backbone is then sharded as a whole."""
    depth = getattr(cast(Any, backbone).config, "num_hidden_layers", None)
    lists = [part for part in backbone.modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    return [layer for part in lists for layer in part]


def sync_gradients(encoder: nn.Module, *, wanted: bool) -> None:
    """Choose whether the next backward pass sums gradients across the group, or each process keeps its own."""
    assert isinstance(encoder, FSDPModule)
    encoder.set_requires_gradient_sync(wanted)


def average_gradients(values: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the group; a process without the gradient counts as 0."""
    for value in values:
        if value.requires_grad:
            value.grad = torch.zeros_like(value) if value.grad is None else value.grad
            distributed.all_reduce(value.grad)
            value.grad /= size()


def clip_gradients(values: Sequence[nn.Parameter], max_norm: float) -> None:
    """Scale gradients down to a norm of at most ``max_norm``, taken over sharded and whole gradients together."""
    parts: list[list[Tensor]] = [
        [value for value in values if isinstance(value, DTensor) is sharded] for sharded in (True, False)
    ]
    norms = [get_total_norm([value.grad for value in part if value.grad is not None]) for part in parts if part]
    norm = torch.stack([whole(value) for value in norms]).norm()
    for part in parts:
        clip_grads_with_norm_(part, max_norm, norm)


def whole(value: Tensor) -> Tensor:
    """A tensor with its shards gathered; every process of the group must call this for a sharded one."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, sharded as another one is."""
    if not isinstance(other, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
