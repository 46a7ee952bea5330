"""Fine-tuning an encoder: one function for one CPU, one GPU or a group of processes.

A process group, where there is one, is started by whoever calls (torchrun's entry point); every process calls
:func:`train_encoder` with the same arguments and the first one writes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from fairtag.encoder import distributed as group
from fairtag.encoder.base_model import (
    PROMPTS,
    ROLES,
    Prefixes,
    RoleText,
    prefixes_of,
    published_modules,
    published_prompts,
)
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.cross_validation import cross_validate
from fairtag.encoder.distillation import Distillation, distil
from fairtag.encoder.export import GRAPHS, Export, choose, export_encoder
from fairtag.encoder.folder import DESCRIPTION, HEADS, MODEL, REPORT, SCHEMA, TOKENIZER, describe_encoder
from fairtag.encoder.loop import Loop, Monotonic, merged
from fairtag.encoder.losses import Losses
from fairtag.encoder.model import Encoder, Heads, load_base, pad_id, quiet, tokenise
from fairtag.encoder.out_of_fold import write_unseen
from fairtag.encoder.training_data import encoder_data
from fairtag.encoder.training_report import Progress, TrainingReport
from fairtag.encoder.validation import evaluate, scored_pairs

MIN_ROOM = 8  # tokens of a text that are read behind its prefix, at the least


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
    """Fine-tune an encoder, export it, and write an encoder folder; going on from a killed run's checkpoint.

    On a CPU the weights are the same for the same inputs, seed and number of threads, interrupted or not.

    Args:
        config: Settings.
        judgements: Graded pairs with the judged text; where absent, clicks and purchases stand in.
        items: Latest catalogue.
        out: Encoder folder, replaced whole at the end. Checkpoints lie beside it until then.
        impressions: Shown items, for the click head.
        texts: Queries and titles like those that will be embedded, with their roles. They are not learnt: where the
            tables hold none, exports are compared with torch on them, and without either torch serves.
        progress: Called after each step.
        cache: Folder for tokenised texts; beside ``out`` when absent.
        clock: Monotonic seconds.

    Raises:
        ConfigError: The base model cannot be had, or the device is not there.
        DataError: There is nothing to learn from.
        NonFiniteLoss: The loss became NaN or infinite.
    """
    work = out.with_name(f".{out.name}.training")
    torch.manual_seed(config.seed)
    model, tokenizer = load_base(config.base.name, config.base.pooling)
    limit = min(config.base.max_length, _positions(model))
    prefixes = prefixes_of(config.base.name, query=config.base.query_prefix, item=config.base.item_prefix)
    _leave_room(tokenizer, prefixes, limit)
    described = canonical_json([tokenizer.backend_tokenizer.to_str(), limit, prefixes.query, prefixes.item])
    data = encoder_data(
        judgements,
        items,
        impressions,
        config.override({"validation": {"holdout_share": 0.0}}) if config.validation.folds else config,
        lambda texts: tokenise(tokenizer, texts, limit, prefixes),
        tokenizer_fingerprint=sha256_text(described),
        cache=cache or work,
    )
    validated: dict[str, Any] | None = None
    unseen: NDArray[np.float64] | None = None
    if config.validation.folds:
        fresh = partial(_fresh, config)
        found, unseen = cross_validate(config, data, fresh, pad_id(tokenizer), work, progress, clock)
        validated = found.as_json()
        torch.manual_seed(config.seed)  # the encoder that ships is the same however many folds came before it
    loop = Loop(config, model, data, pad_id(tokenizer), work, progress, clock)
    loop.run()
    report = replace(loop.report(), cross_validation=validated)
    loop.gather(partial(_fresh, config))
    if group.rank() == 0:
        model, distilled = _shipped(config, loop, progress, clock)
        report = replace(report, distillation=distilled.as_json() if distilled else None)
        report = _write(config, loop, model, tokenizer, limit, prefixes, texts, out, clock, report, unseen)
        shutil.rmtree(work, ignore_errors=True)
    group.barrier()
    return report


def _fresh(config: EncoderConfig) -> Encoder:
    return load_base(config.base.name, config.base.pooling)[0]


def _shipped(
    config: EncoderConfig, loop: Loop, progress: Callable[[Progress], None] | None, clock: Monotonic
) -> tuple[Encoder, Distillation | None]:
    """The encoder that ships, on the CPU: the tuned one, or its student and how both compare."""
    whole = merged(loop.losses.encoder)
    tuned = Encoder(whole.backbone, whole.pooling).eval()  # without torch.compile's hook
    if not config.student.layers:
        return tuned.cpu(), None

    def score(model: Encoder) -> dict[str, float]:
        judge = Losses(model, loop.losses.heads, config.objective, loop.losses.price_scale)
        return evaluate(judge, loop.data, config, loop.pad_token_id)

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
    unseen: NDArray[np.float64] | None,
) -> TrainingReport:
    """Write the encoder folder whole: weights, heads, exports, description, report."""
    with directory_atomic(out) as folder:
        with quiet():
            cast(Any, model.backbone).save_pretrained(folder / MODEL)
            tokenizer.save_pretrained(folder / MODEL)
        tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        for name, said in {
            PROMPTS: published_prompts(prefixes),
            **published_modules(model.pooling, model.dimension),
        }.items():
            write_json(folder / MODEL / name, said)
        _save_heads(loop.losses.heads, folder / HEADS)
        if unseen is not None:
            write_unseen(folder, loop.data, unseen)
        document = {
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
        write_json(folder / DESCRIPTION, document)
        exports: list[Export] = []
        if config.export != "none":
            graphs = GRAPHS if config.export == "auto" else (config.export,)
            held = loop.data.held_out if len(loop.data.held_out) else loop.data.train
            judged = scored_pairs(replace(loop.data, held_out=held), config)  # the gate compares exports, not training
            given = tokenise(tokenizer, texts, limit, prefixes)
            tokens = loop.data.tokens or [np.asarray(ids, dtype=np.int64) for ids in given]
            untuned = loop.state.evaluations[0].get("ndcg10")  # before the first step; absent where none are held out
            exports = export_encoder(model, folder, describe_encoder(folder), tokens, judged, clock, graphs, untuned)
        report = replace(report, exports=[export.as_json() for export in exports], serving=choose(exports))
        # Times are in the report alone, which no digest covers.
        untimed = [export.untimed() for export in exports]
        write_json(folder / DESCRIPTION, {**document, "serving": report.serving, "exports": untimed})
        write_json(folder / REPORT, report.as_json())
        _readable(folder)
    return report


def _leave_room(tokenizer: Any, prefixes: Prefixes, limit: int) -> None:
    """Refuse a prefix behind which little or nothing of a text would be read."""
    for role in ROLES:
        if words := prefixes.before(role):
            taken = len(tokenizer(words)["input_ids"])
            if taken + MIN_ROOM > limit:
                raise ConfigError(
                    f"encoder.base.max_length is {limit} tokens and the {role} prefix {words!r} takes {taken} of them; "
                    f"raise it to at least {taken + MIN_ROOM}, or give a shorter encoder.base.{role}_prefix"
                )


def _save_heads(heads: Heads, file: Path) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in heads.state_dict().items()}, file)


def _readable(folder: Path) -> None:
    """Let every user read: safetensors writes for its owner alone, and serving runs as another."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)


def _weights_fingerprint(folder: Path) -> str:
    """Hex SHA-256 over the weights and the tokenizer: two encoders that embed alike have one."""
    files = sorted(file for file in folder.iterdir() if file.suffix == ".safetensors" or file.name == "tokenizer.json")
    return sha256_text("".join(f"{file.name}:{sha256_file(file)}" for file in files))


def _positions(model: Encoder) -> int:
    """Longest text the encoder has positions for; RoBERTa's family (XLM-R) counts from behind the padding's."""
    backbone: Any = model.backbone
    configured = getattr(backbone.config, "max_position_embeddings", None)
    tables = [part for name, part in backbone.named_modules() if name.endswith("position_embeddings")]
    unused = max((part.padding_idx + 1 for part in tables if getattr(part, "padding_idx", None) is not None), default=0)
    return int(configured) - unused if configured else 1 << 30
