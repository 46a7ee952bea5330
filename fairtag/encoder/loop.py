"""The training loop: steps, held-out scores, checkpoints. On a CPU the same seed gives the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fairtag.base.errors import NonFiniteLoss
from fairtag.base.files import canonical_json, sha256_text
from fairtag.encoder import distributed
from fairtag.encoder.batches import BatchPlan
from fairtag.encoder.checkpoint import RunState, restore_parameters, resume_checkpoint, save_checkpoint, trainable
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.losses import Losses, tensors
from fairtag.encoder.model import Encoder, Heads, quiet
from fairtag.encoder.training_data import EncoderData
from fairtag.encoder.validation import evaluate

LOG_ROWS = 200  # about how many points of a loss curve are kept

Monotonic = Callable[[], float]


@dataclass(frozen=True)
class Progress:
    """How far training is, for a progress bar.

    Args:
        step: Steps done.
        steps: Steps planned.
        losses: Losses of the step just done, by name.
        tokens_per_second: Rate since this attempt began.
        seconds_left: Estimate at that rate.
        evaluation: Held-out scores, where they were just taken.
        stage: What is being trained: empty for the encoder that ships, otherwise ``student`` or ``fold 1 of 5``.
    """

    step: int
    steps: int
    losses: dict[str, float]
    tokens_per_second: float
    seconds_left: float
    evaluation: dict[str, float] | None = None
    stage: str = ""


class Loop:
    """One training run: the model, its optimiser, its batches and its state.

    Args:
        config: Settings.
        model: The encoder to fine-tune.
        data: What it learns from.
        pad_token_id: Token that fills a batch.
        work: Folder of checkpoints.
        progress: Called after each step.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: EncoderConfig,
        model: Encoder,
        data: EncoderData,
        pad_token_id: int,
        work: Path,
        progress: Callable[[Progress], None] | None,
        clock: Monotonic,
    ) -> None:
        self.config, self.data, self.pad_token_id, self.work = config, data, pad_token_id, work
        self.progress, self.clock = progress, clock
        self.device = distributed.select_device(config.hardware.device)
        self.precision = _precision(config, self.device)
        self.losses = Losses(
            _adapt(model, config), Heads(model.dimension, data.tasks), config.objective, _price_scale(data)
        ).to(self.device)
        self.sharded = config.hardware.sharding == "full" and distributed.size() > 1
        if self.sharded:
            distributed.shard(self.losses.encoder, self.device)
        self.optimiser = torch.optim.AdamW(_parameter_groups(self.losses, config), fused=True)
        self.plan = BatchPlan(data, config, config.batch.accumulation * distributed.size())
        self.steps = 0 if config.tuning.method == "none" else self.plan.steps
        self.state, self.best = RunState(), {n: p.detach().clone() for n, p in trainable(self.losses).items()}
        self.fingerprint = sha256_text(
            canonical_json([config.as_json(), data.fingerprint, distributed.size(), _digest(data)])
        )
        self.module = self._wrapped()

    def _wrapped(self) -> nn.Module:
        if self.config.hardware.compile:
            self.losses.encoder.compile(dynamic=True)
        if distributed.size() == 1 or self.steps == 0 or self.sharded:
            return self.losses
        return DistributedDataParallel(self.losses, device_ids=None if self.device == "cpu" else [self.device])

    def run(self, *, best: bool = True) -> None:
        """Train until the planned steps are done or patience runs out.

        Args:
            best: Restore the weights with the best held-out score at the end; otherwise the last weights stay.
        """
        resumed = resume_checkpoint(self.work, self.fingerprint, self.losses, self.optimiser)
        if resumed is not None:
            self.state, self.best = resumed
        start, state = (self.clock(), self.state.tokens), self.state
        if state.step == 0 and not state.evaluations:
            self._evaluate()
        while state.step < self.steps and not state.stopped_early:
            started = self.clock()
            values = self._step(state.step)
            state.step += 1
            evaluation = self._evaluate() if self._due(self.config.validation.every) else None
            state.seconds += self.clock() - started
            self._log(values)
            if self._due(self.config.schedule.checkpoint_every) or state.stopped_early:
                self._checkpoint()
            self._report_progress(values, start, evaluation)
        if self.steps and best:
            restore_parameters(self.losses, {name: value.to(self.device) for name, value in self.best.items()})

    def gather(self, fresh: Callable[[], Encoder]) -> None:
        """Gather sharded weights in every process; ``fresh`` makes the encoder that receives them."""
        if not self.sharded:
            return
        state = {name: distributed.whole(value).cpu() for name, value in self.losses.state_dict().items()}
        heads, scale = Heads(self.losses.encoder.dimension, self.data.tasks), self.losses.price_scale
        self.losses = Losses(_adapt(fresh(), self.config), heads, self.config.objective, scale)
        self.losses.load_state_dict(state)

    def _due(self, every: int) -> bool:
        return self.state.step == self.steps or (every > 0 and self.state.step % every == 0)

    def _step(self, step: int) -> dict[str, float]:
        self.module.train()
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = parameters["peak"] * self._rate(step)
        totals: dict[str, float] = {}
        for turn in range(self.config.batch.accumulation):
            micro = turn * distributed.size() + distributed.rank()
            # Dropout depends on the micro-batch only: it is the same after a resume and for any number of processes.
            torch.manual_seed(self.config.seed * 1_000_003 + step * self.plan.micro_batches + micro)
            batch = tensors(
                self.plan.batch(step, micro),
                self.data.tokens,
                self.pad_token_id,
                self.config.batch.augment,
                self.device,
            )
            with self._gradient_sync(turn), self._autocast():
                parts = self.module(batch)
                (parts["loss"] / self.config.batch.accumulation).backward()
            self.state.tokens += batch.token_count * distributed.size()
            for name, value in parts.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / self.config.batch.accumulation
        self._check(step, totals)
        self._clip()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return totals

    def _clip(self) -> None:
        values = list(trainable(self.losses).values())
        if not self.sharded:
            nn.utils.clip_grad_norm_(values, self.config.optimiser.clip_norm)
            return
        distributed.average_gradients(self.losses.heads.parameters())
        distributed.clip_gradients(values, self.config.optimiser.clip_norm)

    def _check(self, step: int, totals: dict[str, float]) -> None:
        finite = torch.tensor(float(all(math.isfinite(value) for value in totals.values())), device=self.device)
        if not distributed.all_true(finite):
            shown = ", ".join(f"{name} {value:.4g}" for name, value in totals.items())
            raise NonFiniteLoss(
                f"the encoder's loss is {totals['loss']} at step {step + 1} of {self.steps} ({shown}); lower "
                f"encoder.optimiser.learning_rate ({self.config.optimiser.learning_rate:g}) or set "
                f"encoder.hardware.precision to 'fp32', and check grades and prices for outliers"
            )

    def _rate(self, step: int) -> float:
        return linear_rate(step, self.steps, self.config.schedule.warmup_share)

    def _gradient_sync(self, turn: int) -> AbstractContextManager[Any]:
        """Exchange gradients between processes once a step, on its last micro-batch."""
        last = turn == self.config.batch.accumulation - 1
        if self.sharded:
            distributed.sync_gradients(self.losses.encoder, wanted=last)
        if isinstance(self.module, DistributedDataParallel) and not last:
            return cast(AbstractContextManager[Any], self.module.no_sync())
        return nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16)

    def _evaluate(self) -> dict[str, float]:
        """Score the held-out rows, keep the best weights, count patience; every process reaches the same result."""
        # A sharded encoder embeds only with every process taking part.
        takes_part = distributed.rank() == 0 or self.sharded
        scores = evaluate(self.losses, self.data, self.config, self.pad_token_id) if takes_part else {}
        row = {"step": float(self.state.step), **distributed.broadcast(scores)}
        before = [_merit(other) for other in self.state.evaluations]
        self.state.evaluations.append(row)
        if not before or _merit(row) > max(before):
            self.state.best_step, self.state.stale = self.state.step, 0
            self.best = {name: value.detach().clone() for name, value in trainable(self.losses).items()}
        else:
            self.state.stale += 1
        self.state.stopped_early = 0 < self.config.validation.patience <= self.state.stale
        return row

    def _log(self, values: dict[str, float]) -> None:
        if self.state.step % max(1, self.steps // LOG_ROWS) == 0 or self.state.step == self.steps:
            self.state.losses.append(
                {"step": float(self.state.step), "rate": self._rate(self.state.step - 1), **values}
            )

    def _checkpoint(self) -> None:
        if self.config.schedule.checkpoint_every:
            save_checkpoint(self.work, self.fingerprint, self.state, self.losses, self.optimiser, self.best)

    def _report_progress(
        self, values: dict[str, float], start: tuple[float, int], evaluation: dict[str, float] | None
    ) -> None:
        if self.progress is None or distributed.rank():
            return
        elapsed = max(self.clock() - start[0], 1e-9)
        rate = (self.state.tokens - start[1]) / elapsed
        per_token = self.state.tokens / max(self.state.step, 1)
        left = (self.steps - self.state.step) * per_token / max(rate, 1e-9)
        self.progress(Progress(self.state.step, self.steps, values, rate, left, evaluation))


def linear_rate(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak rate at a step: a linear rise, then a linear fall to 0."""
    rise = max(1, round(warmup_share * steps))
    if step < rise:
        return (step + 1) / rise
    return (steps - step) / max(1, steps - rise)


def _merit(row: dict[str, float]) -> tuple[float, ...]:
    """What early stopping maximises: the fit of cosine to grade on held-out queries, then of prices, then the step.

    nDCG is not used: among a page's relevant items the raters' noise decides the order, and so the score.
    """
    return -row.get("cosine_rmse", 0.0), -row.get("price_rmsle", 0.0), row["step"]


def _adapt(model: Encoder, config: EncoderConfig) -> Encoder:
    """Freeze what is not trained; add adapters for LoRA."""
    if config.hardware.gradient_checkpointing:
        cast(Any, model.backbone).activation_checkpointing_enable({"use_reentrant": False})
    if config.tuning.method == "full":
        return model
    model.requires_grad_(requires_grad=False)
    if config.tuning.method == "lora":
        from peft import LoraConfig, get_peft_model

        adapters = LoraConfig(
            r=config.tuning.lora_rank, lora_alpha=config.tuning.lora_alpha, target_modules="all-linear"
        )
        with quiet():
            model.backbone = get_peft_model(cast(Any, model.backbone), adapters)
    return model


def merged(model: Encoder) -> Encoder:
    """The encoder with its adapters merged into its weights, so that serving needs no adapter library."""
    backbone: Any = model.backbone
    if hasattr(backbone, "merge_and_unload"):
        model.backbone = backbone.merge_and_unload()
    return model


def _parameter_groups(losses: Losses, config: EncoderConfig) -> list[dict[str, Any]]:
    """Parameters of encoder and heads with their rates; only matrices decay."""
    groups: list[dict[str, Any]] = []
    for part, rate in (
        (losses.encoder, config.optimiser.learning_rate),
        (losses.heads, config.optimiser.head_learning_rate),
    ):
        values = [value for value in part.parameters() if value.requires_grad]
        for decay, chosen in (
            (config.optimiser.weight_decay, [value for value in values if value.ndim > 1]),
            (0.0, [value for value in values if value.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": decay})
    return groups or [{"params": [nn.Parameter(torch.zeros(1))], "lr": 0.0, "peak": 0.0}]


def _price_scale(data: EncoderData) -> tuple[float, float]:
    if not len(data.prices):
        return 0.0, 1.0
    return float(data.prices.log_price.mean()), max(float(data.prices.log_price.std()), 1e-3)


def _precision(config: EncoderConfig, device: str) -> str:
    if config.hardware.precision != "auto":
        return config.hardware.precision
    return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "fp32"


def _digest(data: EncoderData) -> str:
    """Hex SHA-256 over every array, so that a checkpoint of other rows is never resumed."""
    parts = (data.train, data.held_out, data.prices, data.held_out_prices, data.clicks, data.hard_negatives)
    arrays = [array for part in parts for array in vars(part).values()]
    return sha256_text("".join(sha256_text(np.ascontiguousarray(array).tobytes().hex()) for array in arrays))
