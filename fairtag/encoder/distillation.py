"""Distillation: a student with some of a tuned encoder's layers learns to embed as the whole encoder does.

Sanh et al. 2019 (DistilBERT) also start a student from its teacher's layers. Here the student learns the embeddings
only, no labels, so the teacher's heads fit it unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel

from fairtag.base.errors import ConfigError, DataError
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.loop import Progress, linear_rate
from fairtag.encoder.model import Encoder, embed, quiet
from fairtag.encoder.onnx import pad
from fairtag.encoder.training_data import EncoderData, Ints

BATCH = 64
_BUCKET = 20  # batches sorted by length together
_STREAM = 5  # its own random stream of the seed
_CLIP = 1.0  # gradient norm above which gradients are scaled down
TIMED_TOKENS, TIMED_RUNS = 12, 30  # length of a typical query; enough calls for a stable median


@dataclass(frozen=True)
class Performance:
    """Quality and speed of one encoder.

    Args:
        scores: Scores of held-out queries and prices with the teacher's heads; empty where nothing is held out.
        milliseconds: Median time of a 12-token query in torch on one CPU thread.
        parameters: Number of weights.
    """

    scores: dict[str, float]
    milliseconds: float
    parameters: int


@dataclass(frozen=True)
class Distillation:
    """The result of a distillation.

    Args:
        layers: Numbers of the teacher's layers that the student kept, from 0.
        steps: Optimiser steps.
        losses: Mean squared distance to the teacher's embeddings at the first and the last step.
        mean_cosine: Mean cosine to the teacher's embeddings of held-out texts; of all texts where nothing is held out.
        seconds: Time of the training.
        teacher: The tuned encoder.
        student: The encoder that ships.
    """

    layers: list[int]
    steps: int
    losses: tuple[float, float]
    mean_cosine: float
    seconds: float
    teacher: Performance
    student: Performance

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return asdict(self)


def spread_layers(layers: int, wanted: int) -> list[int]:
    """Numbers of ``wanted`` out of ``layers`` layers, evenly spread, with the first and the last.

    >>> spread_layers(12, 3)
    [0, 6, 11]

    Raises:
        ConfigError: The encoder has too few layers.
    """
    if not 0 < wanted < layers:
        raise ConfigError(
            f"encoder.student.layers is {wanted} and the encoder has {layers} layers; a student keeps 1 to {layers - 1}"
        )
    return [int(row) for row in np.linspace(0, layers - 1, wanted).round()] if wanted > 1 else [layers - 1]


def make_student(teacher: Encoder, wanted: int) -> tuple[Encoder, list[int]]:
    """A copy of an encoder with ``wanted`` of its layers, and the numbers of these layers.

    Raises:
        ConfigError: The encoder has too few layers, or they are not in one list of modules.
    """
    backbone: Any = teacher.backbone
    depth = int(backbone.config.num_hidden_layers)
    kept = spread_layers(depth, wanted)
    lists = [name for name, part in backbone.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    if len(lists) != 1:
        raise ConfigError(
            f"encoder.student.layers: {type(backbone).__name__} does not keep its {depth} layers in one list; "
            f"set it to 0, or choose another base"
        )
    config = copy.deepcopy(backbone.config)
    for name in ("layer_types", "mlp_layer_types"):  # some families configure each layer's attention
        if isinstance(getattr(config, name, None), list):
            setattr(config, name, [getattr(config, name)[row] for row in kept])
    config.num_hidden_layers = wanted
    with quiet():
        smaller: Any = cast(Any, AutoModel).from_config(config).to(next(backbone.parameters()).dtype)
    if getattr(smaller, "pooler", None) is not None:
        smaller.pooler = None  # the teacher has none
    smaller.load_state_dict(_renumbered(backbone.state_dict(), f"{lists[0]}.", kept))
    return Encoder(smaller, teacher.pooling), kept


def _renumbered(state: dict[str, Tensor], prefix: str, kept: Sequence[int]) -> dict[str, Tensor]:
    """Weights of the kept layers under their new numbers, and all weights outside the layers."""
    place = {str(old): new for new, old in enumerate(kept)}
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.startswith(prefix):
            out[name] = value
            continue
        number, _, rest = name.removeprefix(prefix).partition(".")
        if number in place:
            out[f"{prefix}{place[number]}.{rest}"] = value
    return out


def student_texts(data: EncoderData) -> tuple[Ints, Ints]:
    """Rows of the texts that a student learns from, and of the texts it is scored on.

    Raises:
        DataError: There is no text to learn from.
    """
    learnt = np.unique(np.concatenate([*_rows(data.train), *_rows(data.clicks), data.prices.item]))
    scored = np.unique(np.concatenate([*_rows(data.held_out), data.held_out_prices.item]))
    if not len(learnt):
        raise DataError(
            "encoder.student.layers: a student learns from the texts of queries and items, and there are none; "
            "give judgements, items or impressions"
        )
    held_out = np.setdiff1d(scored, learnt)
    return learnt, held_out if len(held_out) else learnt


def _rows(pairs: Any) -> list[Ints]:
    return [pairs.query, pairs.item]


def distil(
    teacher: Encoder,
    data: EncoderData,
    config: EncoderConfig,
    pad_token_id: int,
    score: Callable[[Encoder], dict[str, float]],
    clock: Callable[[], float],
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Encoder, Distillation]:
    """Teach a student the teacher's embeddings: ``mean |s(x) - t(x)|^2``, which for unit rows is ``2 - 2 cos``.

    Dropout is off and only the order of the texts is random, from the seed: the same inputs give the same student.

    Args:
        teacher: The tuned encoder without adapters, on its device.
        data: The texts; no label is read.
        config: ``student``, ``schedule.warmup_share`` and ``seed``.
        pad_token_id: Token that fills a batch.
        score: Gives the held-out scores of an encoder with the teacher's heads.
        clock: Monotonic seconds.
        progress: Called after each step.

    Returns:
        The student on the CPU, and a comparison of both.

    Raises:
        ConfigError: The encoder has too few layers.
        DataError: There is no text to learn from.
    """
    student, kept = make_student(teacher, config.student.layers)
    student.to(next(teacher.parameters()).device).eval()
    learnt, scored = student_texts(data)
    started = clock()
    first, last = _teach(student, teacher, data, learnt, config, pad_token_id, clock, progress)
    seconds = clock() - started
    texts = [data.tokens[row] for row in scored]
    cosine = (embed(teacher, texts, pad_token_id, BATCH) * embed(student, texts, pad_token_id, BATCH)).sum(1)
    scores = [score(model) for model in (teacher, student)]
    of_teacher, of_student = (
        Performance(values, query_milliseconds(model.cpu(), clock), sum(part.numel() for part in model.parameters()))
        for values, model in zip(scores, (teacher, student), strict=True)
    )
    steps = config.student.steps
    return student, Distillation(kept, steps, (first, last), float(cosine.mean()), seconds, of_teacher, of_student)


def _teach(
    student: Encoder,
    teacher: Encoder,
    data: EncoderData,
    learnt: Ints,
    config: EncoderConfig,
    pad_token_id: int,
    clock: Callable[[], float],
    progress: Callable[[Progress], None] | None,
) -> tuple[float, float]:
    """Run the steps; returns the first and the last loss."""
    device = next(student.parameters()).device
    batches = list(_batches(data, learnt, config))
    used = np.unique(np.concatenate(batches))  # the teacher embeds each text once, however often it is used
    targets = torch.from_numpy(embed(teacher, [data.tokens[row] for row in used], pad_token_id, BATCH))
    optimiser = torch.optim.AdamW(student.parameters(), lr=config.student.learning_rate, weight_decay=0.0, fused=True)
    losses, started, tokens = [], clock(), 0
    for step, rows in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = config.student.learning_rate * linear_rate(step, len(batches), config.schedule.warmup_share)
        ids, mask = (
            torch.from_numpy(part).to(device) for part in pad([data.tokens[row] for row in rows], pad_token_id)
        )
        wanted = targets[np.searchsorted(used, rows)].to(device)
        loss = (student(ids, mask) - wanted).square().sum(1).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), _CLIP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        tokens += int(mask.sum())
        if progress is not None:
            rate = tokens / max(clock() - started, 1e-9)
            left = (len(batches) - step - 1) * tokens / (step + 1) / max(rate, 1e-9)
            progress(Progress(step + 1, len(batches), {"loss": losses[-1]}, rate, left, stage="student"))
    return losses[0], losses[-1]


def _batches(data: EncoderData, learnt: Ints, config: EncoderConfig) -> Iterator[Ints]:
    """``student.steps`` batches of texts of similar length, from an endless sequence of shuffles."""
    length = np.array([len(data.tokens[row]) for row in learnt])
    done = cycle = 0
    while done < config.student.steps:
        rng = np.random.default_rng([config.seed, _STREAM, cycle])
        order = rng.permutation(len(learnt))
        cycle += 1
        batches: list[Ints] = []
        for start in range(0, len(order), BATCH * _BUCKET):
            bucket = order[start : start + BATCH * _BUCKET]
            bucket = bucket[np.argsort(length[bucket], kind="stable")]
            batches.extend(learnt[bucket[first : first + BATCH]] for first in range(0, len(bucket), BATCH))
        for place in rng.permutation(len(batches))[: config.student.steps - done]:
            done += 1
            yield batches[place]


def query_milliseconds(model: Encoder, clock: Callable[[], float]) -> float:
    """Median milliseconds of a 12-token query in torch on one CPU thread."""
    ids, mask = torch.ones(1, TIMED_TOKENS, dtype=torch.int64), torch.ones(1, TIMED_TOKENS, dtype=torch.int64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    try:
        with torch.inference_mode():
            for _ in range(TIMED_RUNS + 1):
                begun = clock()
                cast(nn.Module, model.eval())(ids, mask)
                times.append(clock() - begun)
    finally:
        torch.set_num_threads(threads)
    return float(np.median(times[1:]) * 1e3)
