"""A smaller encoder out of a tuned one: some of its layers, taught to embed as all of them do.

Knows no label and no export. Sanh et al. 2019 (DistilBERT) start a student from its teacher's layers too; here it
learns the embedding alone, so the teacher's heads fit the student as they are.
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
from fairtag.encoder.loop import linear_rate
from fairtag.encoder.model import Encoder, embed, quiet
from fairtag.encoder.onnx import pad
from fairtag.encoder.training_data import EncoderData, Ints
from fairtag.encoder.training_report import Progress

BATCH = 64
_BUCKET = 20  # batches sorted by length together
_STREAM = 5  # its own random stream of the seed
_CLIP = 1.0  # gradient norm above which gradients are scaled down
TIMED_TOKENS, TIMED_RUNS = 12, 30  # a query's length; enough calls for a median


@dataclass(frozen=True)
class Standing:
    """How one of the two does.

    Args:
        scores: On held-out queries and prices, with the teacher's heads; empty where none are held out.
        milliseconds: Median time of a query of 12 tokens in torch on one CPU thread.
        parameters: Its weights.
    """

    scores: dict[str, float]
    milliseconds: float
    parameters: int


@dataclass(frozen=True)
class Distillation:
    """What became of a student.

    Args:
        layers: Layers of the teacher that it kept, from 0.
        steps: Optimiser steps.
        losses: Squared distance to the teacher's embeddings at the first and at the last step.
        mean_cosine: To the teacher's embeddings of texts that are held out; of all texts where none are.
        seconds: Time it took to teach.
        teacher: The tuned encoder.
        student: What ships.
    """

    layers: list[int]
    steps: int
    losses: tuple[float, float]
    mean_cosine: float
    seconds: float
    teacher: Standing
    student: Standing

    def as_json(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return asdict(self)


def kept_layers(layers: int, wanted: int) -> list[int]:
    """The numbers of ``wanted`` of ``layers`` layers, evenly spread, the first and the last among them.

    Raises:
        ConfigError: There are not more layers than are wanted.
    """
    if not 0 < wanted < layers:
        raise ConfigError(
            f"encoder.student.layers is {wanted} and the encoder has {layers} layers; a student keeps 1 to {layers - 1}"
        )
    return [int(row) for row in np.linspace(0, layers - 1, wanted).round()] if wanted > 1 else [layers - 1]


def student_of(teacher: Encoder, wanted: int) -> tuple[Encoder, list[int]]:
    """A copy of an encoder with ``wanted`` of its layers, and their numbers.

    Raises:
        ConfigError: It has too few layers, or they are not one list of modules.
    """
    backbone: Any = teacher.backbone
    depth = int(backbone.config.num_hidden_layers)
    kept = kept_layers(depth, wanted)
    lists = [name for name, part in backbone.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    if len(lists) != 1:
        raise ConfigError(f"encoder.student.layers: {type(backbone).__name__} has no single list of {depth} layers")
    config = copy.deepcopy(backbone.config)
    for name in ("layer_types", "mlp_layer_types"):  # some families say of each layer what it attends to
        if isinstance(getattr(config, name, None), list):
            setattr(config, name, [getattr(config, name)[row] for row in kept])
    config.num_hidden_layers = wanted
    with quiet():
        smaller: Any = cast(Any, AutoModel).from_config(config).to(next(backbone.parameters()).dtype)
    if getattr(smaller, "pooler", None) is not None:
        smaller.pooler = None  # as the teacher has none
    smaller.load_state_dict(_renumbered(backbone.state_dict(), f"{lists[0]}.", kept))
    return Encoder(smaller, teacher.pooling), kept


def _renumbered(state: dict[str, Tensor], prefix: str, kept: Sequence[int]) -> dict[str, Tensor]:
    """Weights of the kept layers under their new numbers, and all that is in no layer."""
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


def taught_texts(data: EncoderData) -> tuple[Ints, Ints]:
    """Rows of the texts that a student learns from, and of those that are only scored.

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
    unseen = np.setdiff1d(scored, learnt)
    return learnt, unseen if len(unseen) else learnt


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

    Dropout stays off, and nothing random is drawn but the order of the texts: the same student for the same inputs.

    Args:
        teacher: The tuned encoder, without adapters, on the device it runs on.
        data: Gives the texts; no label is read.
        config: ``student``, ``schedule.warmup_share`` and ``seed``.
        pad_token_id: Token that fills a batch.
        score: Held-out scores of an encoder under the teacher's heads.
        clock: Monotonic seconds.
        progress: Called after each step.

    Returns:
        The student on the CPU, and both compared.

    Raises:
        ConfigError: The encoder has too few layers.
        DataError: There is no text to learn from.
    """
    student, kept = student_of(teacher, config.student.layers)
    student.to(next(teacher.parameters()).device).eval()
    learnt, scored = taught_texts(data)
    begun = clock()
    first, last = _teach(student, teacher, data, learnt, config, pad_token_id, clock, progress)
    seconds = clock() - begun
    texts = [data.tokens[row] for row in scored]
    cosine = (embed(teacher, texts, pad_token_id, BATCH) * embed(student, texts, pad_token_id, BATCH)).sum(1)
    scores = [score(model) for model in (teacher, student)]
    one, other = (
        Standing(values, query_milliseconds(model.cpu(), clock), sum(part.numel() for part in model.parameters()))
        for values, model in zip(scores, (teacher, student), strict=True)
    )
    steps = config.student.steps
    return student, Distillation(kept, steps, (first, last), float(cosine.mean()), seconds, one, other)


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
    """Run the steps; the loss of the first and of the last."""
    device = next(student.parameters()).device
    batches = list(_batches(data, learnt, config))
    used = np.unique(np.concatenate(batches))  # each text is embedded once by the teacher, however often it comes
    targets = torch.from_numpy(embed(teacher, [data.tokens[row] for row in used], pad_token_id, BATCH))
    optimiser = torch.optim.AdamW(student.parameters(), lr=config.student.learning_rate, weight_decay=0.0, fused=True)
    losses, begun, tokens = [], clock(), 0
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
            rate = tokens / max(clock() - begun, 1e-9)
            left = (len(batches) - step - 1) * tokens / (step + 1) / max(rate, 1e-9)
            progress(Progress(step + 1, len(batches), {"loss": losses[-1]}, rate, left, stage="student"))
    return losses[0], losses[-1]


def _batches(data: EncoderData, learnt: Ints, config: EncoderConfig) -> Iterator[Ints]:
    """``student_steps`` batches of texts of like length, through endlessly repeated shuffles of all of them."""
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
    """Median milliseconds of a query of 12 tokens in torch, on one CPU thread."""
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
