"""Checkpoints from which a killed run resumes: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fairtag.base.files import directory_atomic, read_json, write_json
from fairtag.encoder import distributed
from fairtag.encoder.distributed import shard_like, whole

STATE = "state.json"
TENSORS = "tensors.safetensors"


@dataclass
class RunState:
    """The state of a run, apart from its tensors.

    Args:
        step: Optimiser steps done.
        tokens: Tokens trained on.
        seconds: Time spent training, over all attempts.
        losses: One row for each logged step.
        evaluations: One row for each scoring of the held-out rows.
        best_step: Step of the best score.
        stale: Scores since the best one.
        stopped_early: Whether patience ran out.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    stale: int = 0
    stopped_early: bool = False


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by name."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def save_checkpoint(
    folder: Path,
    run: str,
    state: RunState,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
) -> Path:
    """Write ``step-N``, then delete the older ones; a kill at any moment leaves a complete checkpoint.

    Every process of a group must call this, as sharded tensors are gathered; process 0 writes.

    Args:
        folder: Folder of this run's checkpoints.
        run: Fingerprint of settings and data; a checkpoint of another run is never resumed.
        state: State of the run.
        module: Its trained parameters are saved.
        optimiser: Its moments are saved.
        best: Parameters with the best score so far.
    """
    tensors = {f"model/{name}": value.detach() for name, value in trainable(module).items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for name, parameter in trainable(module).items():
        for moment, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser/{moment}/{name}"] = value
    path = folder / f"step-{state.step:08d}"
    tensors = {name: whole(value) for name, value in tensors.items()}
    if distributed.rank():
        return path
    with directory_atomic(path) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary / TENSORS)
        write_json(temporary / STATE, {"run": run, **asdict(state)})
    for older in _checkpoints(folder):
        if older != path:
            shutil.rmtree(older, ignore_errors=True)
    return path


def resume_checkpoint(
    folder: Path, run: str, module: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[RunState, dict[str, Tensor]] | None:
    """Restore the newest checkpoint of this run; None where there is none.

    Returns:
        The state, and the parameters with the best score.
    """
    for path in reversed(_checkpoints(folder)):
        document = read_json(path / STATE)
        if document.pop("run") == run:
            tensors = load_file(path / TENSORS)
            _restore(tensors, module, optimiser)
            return RunState(**document), _part(tensors, "best/")
    return None


def restore_parameters(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy saved values into the trained parameters."""
    with torch.no_grad():
        for name, parameter in trainable(module).items():
            parameter.copy_(shard_like(values[name], parameter))


def _restore(tensors: dict[str, Tensor], module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    restore_parameters(module, _part(tensors, "model/"))
    moments = _part(tensors, "optimiser/")
    names = {id(parameter): name for name, parameter in trainable(module).items()}
    saved: dict[int, dict[str, Tensor]] = {}
    ordered = [parameter for part in optimiser.param_groups for parameter in part["params"]]
    for place, parameter in enumerate(ordered):
        suffix = "/" + names[id(parameter)]
        values = {
            key.removesuffix(suffix): shard_like(value, parameter) if value.shape == parameter.shape else value
            for key, value in moments.items()
            if key.endswith(suffix)
        }
        if values:
            saved[place] = values
    document: dict[str, Any] = optimiser.state_dict()
    optimiser.load_state_dict({**document, "state": saved})


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / STATE).is_file())
