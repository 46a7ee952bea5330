"""How an encoder is fine-tuned: one model of all settings, nested by concern.

>>> config = EncoderConfig.from_json('{"base": {"max_length": 32}, "tuning": {"method": "lora"}}')
>>> config.base.max_length, config.tuning.lora_rank
(32, 16)
>>> preset("demo", {"schedule": {"max_steps": 10}}).schedule.max_steps
10
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, field_validator, model_validator

from fairtag.base.errors import ConfigError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.base.settings import Field, Settings, layered, nested, parse
from fairtag.encoder.base_model import MINILM
from fairtag.encoder.encoder import EncoderDescription, Pooling

# Names the settings had when they were one flat list, each with its path now. Saved encoder folders still use them, and
# a person who writes one is told the new path.
FLAT_NAMES = {
    "base": "base.name",
    "max_length": "base.max_length",
    "pooling": "base.pooling",
    "query_prefix": "base.query_prefix",
    "item_prefix": "base.item_prefix",
    "method": "tuning.method",
    "lora_rank": "tuning.lora_rank",
    "lora_alpha": "tuning.lora_alpha",
    "batch_queries": "batch.queries",
    "rows_per_query": "batch.rows_per_query",
    "mined_negatives": "batch.mined_negatives",
    "batch_items": "batch.items",
    "batch_clicks": "batch.clicks",
    "accumulation": "batch.accumulation",
    "augment": "batch.augment",
    "temperature": "objective.temperature",
    "positive_relevance": "objective.positive_relevance",
    "negative_relevance": "objective.negative_relevance",
    "contrastive_weight": "objective.contrastive_weight",
    "graded_weight": "objective.graded_weight",
    "order_weight": "objective.order_weight",
    "price_weight": "objective.price_weight",
    "click_weight": "objective.click_weight",
    "balance_classes": "objective.balance_classes",
    "learning_rate": "optimiser.learning_rate",
    "head_learning_rate": "optimiser.head_learning_rate",
    "weight_decay": "optimiser.weight_decay",
    "clip_norm": "optimiser.clip_norm",
    "epochs": "schedule.epochs",
    "max_steps": "schedule.max_steps",
    "warmup_share": "schedule.warmup_share",
    "checkpoint_every": "schedule.checkpoint_every",
    "holdout_share": "validation.holdout_share",
    "evaluate_every": "validation.every",
    "evaluation_queries": "validation.queries",
    "patience": "validation.patience",
    "folds": "validation.folds",
    "device": "hardware.device",
    "precision": "hardware.precision",
    "compile": "hardware.compile",
    "gradient_checkpointing": "hardware.gradient_checkpointing",
    "sharding": "hardware.sharding",
    "student_layers": "student.layers",
    "student_steps": "student.steps",
    "student_learning_rate": "student.learning_rate",
}


class _Strict(Settings):
    """No value is converted: ``"3"`` is not 3, and true is not 1."""

    model_config = ConfigDict(strict=True)


class BaseEncoder(_Strict):
    """Which encoder is tuned, and how it reads a text."""

    name: str = MINILM
    """`minilm`, a directory, or the hub id of any Hugging Face encoder. `{"base": "ID"}` is short for
    `{"base": {"name": "ID"}}`."""
    max_length: int = Field(64, ge=4, le=8192)
    """Tokens read of a text, its prefix included."""
    pooling: Pooling | None = None
    """`mean` (BERT, MiniLM, E5), `cls` (BGE) or `last` (decoder-type embedders); null takes what the base's folder
    names, or what its family was trained with."""
    query_prefix: str | None = None
    """Text put before each query; null takes what the base's folder names, or what its family (E5, BGE, Qwen) was
    trained with."""
    item_prefix: str | None = None
    """Text put before each item; null likewise."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class Tuning(_Strict):
    """Which weights are trained."""

    method: Literal["full", "lora", "none"] = "full"
    """`full` trains all weights; `lora` trains adapters of all linear layers and merges them into the weights that
    ship; `none` ships the base as it is."""
    lora_rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    lora_alpha: int = Field(32, ge=1)
    """Scale of the adapters; they are multiplied by alpha / rank."""


class Batch(_Strict):
    """What one micro-batch holds."""

    queries: int = Field(16, ge=1)
    """Queries in one micro-batch."""
    rows_per_query: int = Field(4, ge=1)
    """Judged items of a query that share its micro-batch; the irrelevant ones are its hard negatives."""
    mined_negatives: int = Field(0, ge=0)
    """Extra hard negatives for each query: its best items by BM25 that nobody judged relevant. Each costs the time of
    one item. 0 is off: in a shop with many similar items, some of them are relevant."""
    items: int = Field(16, ge=1)
    """Items in one micro-batch from which the log price is learnt."""
    clicks: int = Field(16, ge=1)
    """Impressions in one micro-batch from which clicks and purchases are learnt."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches in one optimiser step, for each process of a group."""
    augment: float = Field(0.0, ge=0, le=0.5)
    """Share of a query's tokens dropped at random in training; 0 is off."""


class Objective(_Strict):
    """The losses and their weights."""

    temperature: float = Field(0.05, gt=0, allow_inf_nan=False)
    """Temperature of the contrastive softmax."""
    positive_relevance: float = Field(0.6, ge=0, le=1)
    """Relevance from which an item is a positive of its query."""
    negative_relevance: float = Field(0.35, ge=0, le=1)
    """Relevance up to which an item is a hard negative of its query; between the two it is neither."""
    contrastive_weight: float = Field(0.5, ge=0, allow_inf_nan=False)
    """Weight of the contrastive loss."""
    graded_weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Weight of the squared error of the graded relevance."""
    order_weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Weight of the pairwise loss on the order of a query's judged items."""
    price_weight: float = Field(0.2, ge=0, allow_inf_nan=False)
    """Weight of the squared error of the standardised log price."""
    click_weight: float = Field(0.2, ge=0, allow_inf_nan=False)
    """Weight of the cross-entropy of clicks and purchases; it needs impressions."""
    balance_classes: bool = False
    """Give rare grades, clicks and purchases the same total weight as common ones."""

    @model_validator(mode="after")
    def _negatives_below_positives(self) -> Self:
        if self.negative_relevance >= self.positive_relevance:
            raise ValueError(
                f"negative_relevance is {self.negative_relevance}; it must be below positive_relevance, "
                f"{self.positive_relevance}: lower the one or raise the other"
            )
        return self


class Optimiser(_Strict):
    """AdamW and its rates."""

    learning_rate: float = Field(3e-5, gt=0, allow_inf_nan=False)
    """Peak learning rate of the encoder or its adapters."""
    head_learning_rate: float = Field(2e-3, gt=0, allow_inf_nan=False)
    """Peak learning rate of the heads."""
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)
    """Weight decay of matrices; biases and norms do not decay."""
    clip_norm: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Gradient norm above which gradients are scaled down."""


class Schedule(_Strict):
    """How long training runs."""

    epochs: int = Field(1, ge=1)
    """Passes over the judged pairs."""
    max_steps: int | None = Field(None, ge=0)
    """Most optimiser steps; null sets no limit, 0 exports the base as it is."""
    warmup_share: float = Field(0.1, ge=0, le=1)
    """Share of the steps over which the learning rate rises; after them it falls linearly to 0."""
    checkpoint_every: int = Field(200, ge=0)
    """Steps between checkpoints; 0 writes none."""


class Validation(_Strict):
    """Scores on queries and items that training does not see."""

    holdout_share: float = Field(0.1, ge=0, le=0.5)
    """Share of queries and of items held out of training for the scores, chosen by hash."""
    every: int = Field(0, ge=0)
    """Steps between scores; 0 scores only before the first step and after the last."""
    queries: int = Field(300, ge=1)
    """Most held-out queries scored."""
    patience: int = Field(0, ge=0)
    """Scores in a row without an improvement after which training stops; 0 never stops early."""
    folds: int = Field(0, ge=0)
    """Cross-validation: this many encoders are trained and scored on folds of the queries and items first. The one
    that ships is then trained on all of them, and `holdout_share` is not used. The out-of-fold cosines are kept: the
    re-ranker is fitted on them. 0 is off; otherwise 2 or more."""

    @field_validator("folds")
    @classmethod
    def _more_than_one(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("folds is 1; it must be 0, which turns cross-validation off, or at least 2")
        return folds


class Hardware(_Strict):
    """Where training runs, and what it saves there."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a card; or `cpu`, `cuda`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 on a GPU that supports it and fp32 otherwise; or `fp32`, `bf16`. On a CPU, bf16 keeps a kernel
    for each batch shape, about a gigabyte; `ONEDNN_PRIMITIVE_CACHE_CAPACITY=64` halves it."""
    compile: bool = False
    """Run `torch.compile` on the encoder."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    sharding: Literal["none", "full"] = "none"
    """`none` gives each process of a group the whole encoder (DDP); `full` shards weights, gradients and moments across
    them (FSDP2), for an encoder that does not fit one device. A single process ignores it."""


class Student(_Strict):
    """A smaller encoder distilled from the tuned one; it ships in the tuned one's place."""

    layers: int = Field(0, ge=0)
    """Layers the student keeps of the tuned encoder; 0 ships the tuned encoder itself. The report compares both in
    quality and speed; with `validation.folds` no row is held out, so it compares cosine and speed only."""
    steps: int = Field(500, ge=1)
    """Steps of 64 texts in which the student learns the tuned encoder's embeddings."""
    learning_rate: float = Field(1e-4, gt=0, allow_inf_nan=False)
    """Peak learning rate of the student."""


class EncoderConfig(_Strict):
    """How an encoder is fine-tuned. Every setting has a default that trains on one laptop.

    docs/encoder.md lists every setting; its table is generated from these models.
    """

    RENAMED: ClassVar[Mapping[str, str]] = FLAT_NAMES

    base: BaseEncoder = BaseEncoder()
    tuning: Tuning = Tuning()
    batch: Batch = Batch()
    objective: Objective = Objective()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    validation: Validation = Validation()
    hardware: Hardware = Hardware()
    student: Student = Student()
    export: Literal["auto", "fp32", "none"] = "auto"
    """`auto` exports to ONNX in fp32 and int8, and the smallest that passes the fidelity gate serves; `fp32` skips
    int8; `none` leaves torch to serve."""
    seed: int = Field(0, ge=0)
    """Seed of batch order, new heads, dropout and augmentation."""

    @model_validator(mode="before")
    @classmethod
    def _two_prefixes(cls, value: object) -> object:
        if isinstance(value, Mapping) and "prefix" in value:
            raise ValueError(
                "prefix was one text for queries and items alike; give base.query_prefix and base.item_prefix"
            )
        return value

    @classmethod
    def from_json(cls, settings: str | Mapping[str, Any]) -> EncoderConfig:
        """Read settings that differ from the defaults, as JSON text or a nested mapping.

        Raises:
            ConfigError: The text is not a JSON object, a name is unknown or has moved, or a value is out of range.
        """
        return parse(cls, settings, "encoder")

    @classmethod
    def from_folder(cls, description: EncoderDescription) -> EncoderConfig:
        """The settings an encoder folder was trained with; folders written before settings were nested are read too."""
        saved: dict[str, Any] = description.document["config"]
        if isinstance(saved.get("base"), Mapping):
            return cls.from_json(saved)
        settings: dict[str, Any] = {}
        for name, value in saved.items():
            both = ("base.query_prefix", "base.item_prefix")  # an even older folder had one prefix for both
            for path in both if name == "prefix" else (FLAT_NAMES.get(name, name),):
                settings = layered(settings, nested(path, value))
        return cls.from_json(settings)

    def override(self, changes: Mapping[str, Any]) -> EncoderConfig:
        """These settings with some changed, given as a nested mapping.

        Raises:
            ConfigError: A name is unknown or a value is out of range.
        """
        return EncoderConfig.from_json(layered(self.as_json(), _named_base(changes)))

    def as_json(self) -> dict[str, Any]:
        """All settings as a nested JSON object, which :meth:`from_json` reads back."""
        return self.model_dump()

    def fingerprint(self) -> str:
        """Hex SHA-256 of the settings."""
        return sha256_text(canonical_json(self.as_json()))


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "base": {"max_length": 32},
        "batch": {"queries": 8, "items": 8, "clicks": 4},
        "optimiser": {"learning_rate": 1.5e-4},
        "schedule": {"max_steps": 50, "checkpoint_every": 25},
        "validation": {"holdout_share": 0.05},
    },
    "standard": {"base": {"max_length": 64}, "schedule": {"epochs": 2}, "validation": {"every": 200, "patience": 3}},
    "gpu": {
        "base": {"max_length": 128},
        "batch": {"queries": 64, "items": 64, "clicks": 64},
        "optimiser": {"learning_rate": 5e-5},
        "schedule": {"epochs": 3},
        "validation": {"every": 200, "patience": 3},
    },
}


def preset(name: str, *changes: str | Mapping[str, Any]) -> EncoderConfig:
    """A named configuration with changes on top: ``demo`` (about a minute on two cores), ``standard`` or ``gpu``.

    Args:
        name: Name of the preset.
        changes: Settings that differ from it, as JSON text or nested mappings; a later one wins.

    Raises:
        ConfigError: There is no such preset, or a change is refused.
    """
    if name not in PRESETS:
        raise ConfigError(f"encoder preset {name!r} is unknown; it must be one of {', '.join(PRESETS)}")
    layers = [PRESETS[name]]
    for change in changes:
        EncoderConfig.from_json(change)  # refused on its own, so that the message speaks of what was written
        layers.append(json.loads(change) if isinstance(change, str) else dict(change))
    return EncoderConfig.from_json(layered(*map(_named_base, layers)))


def _named_base(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a base that is given by its name alone written out, so that layers can be merged."""
    base = settings.get("base")
    return {**settings, "base": {"name": base}} if isinstance(base, str) else dict(settings)
