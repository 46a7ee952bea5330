"""Fine-tune an encoder with one function, on one CPU, one GPU or a group of processes.

>>> train_encoder(preset("standard"), judgements, items, Path("encoder"))    # doctest: +SKIP

The caller starts the process group, where there is one (torchrun's entry point). Every process then calls
:func:`train_encoder` with the same arguments, and process 0 writes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from fairtag.base.errors import ConfigError
from fairtag.base.files import canonical_json, directory_atomic, sha256_file, sha256_text, write_json
from fairtag.encoder import distributed
from fairtag.encoder.base_model import PROMPTS, prefixes_of, published_modules, published_prompts
from fairtag.encoder.checkpoint import trainable
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.cross_validation import cross_validate
from fairtag.encoder.distillation import Distillation, distil
from fairtag.encoder.encoder import (
    DESCRIPTION,
    HEADS,
    MODEL,
    REPORT,
    ROLES,
    SCHEMA,
    TOKENIZER,
    Prefixes,
    RoleText,
    describe_encoder,
)
from fairtag.encoder.export import GRAPHS, Export, choose_export, export_encoder
from fairtag.encoder.loop import Loop, Monotonic, Progress, merged
from fairtag.encoder.losses import Losses
from fairtag.encoder.model import Encoder, Heads, load_base, pad_id, quiet, tokenise
from fairtag.encoder.out_of_fold import write_out_of_fold
from fairtag.encoder.training_data import encoder_data
from fairtag.encoder.validation import evaluate, validation_pairs

MIN_ROOM = 8  # least number of tokens that must be left for a text after its prefix


@dataclass(frozen=True)
class TrainingReport:
    """What a run did; saved beside the weights as ``training_report.json``.

    Args:
        base: The encoder it started from.
        steps: Optimiser steps done.
        planned_steps: Steps planned.
        seconds: Time in the loop, over all attempts of a resumed run.
        tokens: Tokens trained on.
        tokens_per_second: Tokens over seconds.
        device: Where it ran.
        precision: fp32 or bf16.
        processes: Processes of the group.
        trained_parameters: Parameters that were trained.
        peak_memory_bytes: Peak memory of the GPU; 0 on a CPU.
        losses: One row for each logged step: step, rate, loss and its parts.
        evaluations: One row for each scoring: step, ndcg10, cosine_rmse, relevance_rmse, price_rmsle, each
            where rows are held out.
        best_step: Step whose weights are kept.
        stopped_early: Whether patience ran out.
        data: Rows read, dropped and merged.
        exports: Each export with its fidelity, its speed, and whether it may serve.
        serving: ``fp32``, ``int8`` or ``torch``.
        distillation: Student and teacher compared in quality and speed; None without a student.
        cross_validation: Held-out scores by fold, their mean and spread; None without ``folds``.
    """

    base: str
    steps: int
    planned_steps: int
    seconds: float
    tokens: int
    tokens_per_second: float
    device: str
    precision: str
    processes: int
    trained_parameters: int
    peak_memory_bytes: int
    losses: list[dict[str, float]]
    evaluations: list[dict[str, float]]
    best_step: int
    stopped_early: bool
    data: dict[str, int]
    exports: list[dict[str, Any]]
    serving: str
    distillation: dict[str, Any] | None = None
    cross_validation: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


def train_encoder(
    config: EncoderConfig,
    judgements: pd.DataFrame | None,
    items: pd.DataFrame | None,
    out: Path,
    *,
    impressions: pd.DataFrame | None = None,
    texts: Sequence[RoleText] = (),
    progress: Callable[[Progress], None] | None = None,
    cache: Path | None = None,
    clock: Monotonic = time.perf_counter,
) -> TrainingReport:
    """Fine-tune an encoder, export it, and write an encoder folder. A killed run resumes from its checkpoint.

    On a CPU the weights are the same for the same inputs, seed and number of threads, interrupted or not.

    Args:
        config: Settings.
        judgements: Graded pairs with the judged text; without them, clicks and purchases stand in.
        items: Latest catalogue.
        out: Encoder folder, replaced as a whole at the end. Checkpoints are kept beside it until then.
        impressions: Items shown, for the click head.
        texts: Queries and titles like those that will be embedded, with their roles. Nothing is learnt from them: where
            the tables hold no text, exports are compared with torch on these, and without either torch serves.
        progress: Called after each step.
        cache: Folder for tokenised texts; beside ``out`` by default.
        clock: Monotonic seconds.

    Raises:
        ConfigError: The base cannot be loaded, or the device is absent.
        DataError: There is nothing to learn from.
        NonFiniteLoss: The loss became NaN or infinite.
    """
    work = out.with_name(f".{out.name}.training")
    torch.manual_seed(config.seed)
    model, tokenizer = load_base(config.base.name, config.base.pooling)
    limit = min(config.base.max_length, _positions(model))
    prefixes = prefixes_of(config.base.name, query=config.base.query_prefix, item=config.base.item_prefix)
    _leave_room(tokenizer, prefixes, limit)
    tokenising = canonical_json([tokenizer.backend_tokenizer.to_str(), limit, prefixes.query, prefixes.item])
    data = encoder_data(
        judgements,
        items,
        impressions,
        config.override({"validation": {"holdout_share": 0.0}}) if config.validation.folds else config,
        lambda texts: tokenise(tokenizer, texts, limit, prefixes),
        tokenizer_fingerprint=sha256_text(tokenising),
        cache=cache or work,
    )
    cross_validation: dict[str, Any] | None = None
    out_of_fold: NDArray[np.float64] | None = None
    if config.validation.folds:
        fresh = partial(_fresh, config)
        found, out_of_fold = cross_validate(config, data, fresh, pad_id(tokenizer), work, progress, clock)
        cross_validation = found.as_json()
        torch.manual_seed(config.seed)  # the folds before it do not change the encoder that ships
    loop = Loop(config, model, data, pad_id(tokenizer), work, progress, clock)
    loop.run()
    report = replace(_report(loop), cross_validation=cross_validation)
    loop.gather(partial(_fresh, config))
    if distributed.rank() == 0:
        model, distillation = _shipping_encoder(config, loop, progress, clock)
        report = replace(report, distillation=distillation.as_json() if distillation else None)
        report = _write(config, loop, model, tokenizer, limit, prefixes, texts, out, clock, report, out_of_fold)
        shutil.rmtree(work, ignore_errors=True)
    distributed.barrier()
    return report


def _report(loop: Loop) -> TrainingReport:
    """What the loop did, before the export."""
    on_gpu, state = loop.device.startswith("cuda"), loop.state
    return TrainingReport(
        base=loop.config.base.name,
        steps=state.step,
        planned_steps=loop.steps,
        seconds=state.seconds,
        tokens=state.tokens,
        tokens_per_second=state.tokens / state.seconds if state.seconds else 0.0,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        precision=loop.precision,
        processes=distributed.size(),
        trained_parameters=sum(value.numel() for value in trainable(loop.losses).values()),
        peak_memory_bytes=torch.cuda.max_memory_allocated() if on_gpu else 0,
        losses=state.losses,
        evaluations=state.evaluations,
        best_step=state.best_step,
        stopped_early=state.stopped_early,
        data=loop.data.counts,
        exports=[],
        serving="torch",
    )


def _fresh(config: EncoderConfig) -> Encoder:
    return load_base(config.base.name, config.base.pooling)[0]


def _shipping_encoder(
    config: EncoderConfig, loop: Loop, progress: Callable[[Progress], None] | None, clock: Monotonic
) -> tuple[Encoder, Distillation | None]:
    """The encoder that ships, on the CPU: the tuned one, or its student with a comparison of both."""
    whole = merged(loop.losses.encoder)
    tuned = Encoder(whole.backbone, whole.pooling).eval()  # without torch.compile's hook
    if not config.student.layers:
        return tuned.cpu(), None

    def score(model: Encoder) -> dict[str, float]:
        losses = Losses(model, loop.losses.heads, config.objective, loop.losses.price_scale)
        return evaluate(losses, loop.data, config, loop.pad_token_id)

    return distil(tuned, loop.data, config, loop.pad_token_id, score, clock, progress)


def _write(
    config: EncoderConfig,
    loop: Loop,
    model: Encoder,
    tokenizer: Any,
    limit: int,
    prefixes: Prefixes,
    texts: Sequence[RoleText],
    out: Path,
    clock: Monotonic,
    report: TrainingReport,
    out_of_fold: NDArray[np.float64] | None,
) -> TrainingReport:
    """Write the encoder folder: weights, heads, exports, description, report."""
    with directory_atomic(out) as folder:
        with quiet():
            cast(Any, model.backbone).save_pretrained(folder / MODEL)
            tokenizer.save_pretrained(folder / MODEL)
        tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        for name, document in {
            PROMPTS: published_prompts(prefixes),
            **published_modules(model.pooling, model.dimension),
        }.items():
            write_json(folder / MODEL / name, document)
        _save_heads(loop.losses.heads, folder / HEADS)
        if out_of_fold is not None:
            write_out_of_fold(folder, loop.data, out_of_fold)
        description = {
            "schema": SCHEMA,
            "base": config.base.name,
            "dimension": model.dimension,
            "max_length": limit,
            "pooling": model.pooling,
            "query_prefix": prefixes.query,
            "item_prefix": prefixes.item,
            "serving": "torch",
            "pad_token_id": loop.pad_token_id,
            "fingerprint": _weights_fingerprint(folder / MODEL),
            "config": config.as_json(),
            "price_scale": list(loop.losses.price_scale),
        }
        write_json(folder / DESCRIPTION, description)
        exports: list[Export] = []
        if config.export != "none":
            graphs = GRAPHS if config.export == "auto" else (config.export,)
            held = loop.data.held_out if len(loop.data.held_out) else loop.data.train
            pairs = validation_pairs(replace(loop.data, held_out=held), config)  # exports are compared, not training
            given_ids = tokenise(tokenizer, texts, limit, prefixes)
            tokens = loop.data.tokens or [np.asarray(ids, dtype=np.int64) for ids in given_ids]
            untuned = loop.state.evaluations[0].get("ndcg10")  # before the first step; absent where nothing is held out
            exports = export_encoder(model, folder, describe_encoder(folder), tokens, pairs, clock, graphs, untuned)
        report = replace(report, exports=[export.as_json() for export in exports], serving=choose_export(exports))
        # Times go into the report only, which no digest covers.
        untimed = [export.untimed() for export in exports]
        write_json(folder / DESCRIPTION, {**description, "serving": report.serving, "exports": untimed})
        write_json(folder / REPORT, report.as_json())
        _let_all_read(folder)
    return report


def _leave_room(tokenizer: Any, prefixes: Prefixes, limit: int) -> None:
    """Refuse a prefix that leaves little or nothing of a text to be read."""
    for role in ROLES:
        if prefix := prefixes.before(role):
            taken = len(tokenizer(prefix)["input_ids"])
            if taken + MIN_ROOM > limit:
                raise ConfigError(
                    f"encoder.base.max_length is {limit} tokens and the {role} prefix {prefix!r} takes {taken}; "
                    f"raise it to at least {taken + MIN_ROOM}, or set a shorter encoder.base.{role}_prefix"
                )


def _save_heads(heads: Heads, file: Path) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in heads.state_dict().items()}, file)


def _let_all_read(folder: Path) -> None:
    """Let every user read: safetensors writes files for their owner only, and serving runs as another user."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)


def _weights_fingerprint(folder: Path) -> str:
    """Hex SHA-256 over weights and tokenizer: encoders that embed alike share it."""
    files = sorted(file for file in folder.iterdir() if file.suffix == ".safetensors" or file.name == "tokenizer.json")
    return sha256_text("".join(f"{file.name}:{sha256_file(file)}" for file in files))


def _positions(model: Encoder) -> int:
    """Tokens the encoder has positions for; RoBERTa's family (XLM-R) starts counting after the padding position."""
    backbone: Any = model.backbone
    configured = getattr(backbone.config, "max_position_embeddings", None)
    tables = [part for name, part in backbone.named_modules() if name.endswith("position_embeddings")]
    unused = max((part.padding_idx + 1 for part in tables if getattr(part, "padding_idx", None) is not None), default=0)
    return int(configured) - unused if configured else 1 << 30
