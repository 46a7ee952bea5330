"""The frozen settings of fine-tuning an encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fairtag.base.errors import ConfigError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.encoder.folder import MINILM, POOLINGS, Pooling


@dataclass(frozen=True)
class EncoderConfig:
    """How an encoder is fine-tuned. Every field has a default that trains on one laptop.

    Args:
        base: ``minilm``, a directory, or a hub id of any Hugging Face encoder.
        max_length: Tokens read of a text, the words before it among them.
        pooling: ``mean`` (BERT, MiniLM, E5), ``cls`` (BGE) or ``last`` (decoder-type embedders); None takes what the
            base names in its folder, or its family was taught with.
        query_prefix: Words put before each query; None takes what the base names in its folder, or its family (E5,
            BGE, Qwen) was taught with.
        item_prefix: Words put before each item's text; None likewise.
        method: ``full``, ``lora`` (adapters of all linear layers, merged into the weights that ship) or ``none``.
        lora_rank: Rank of the adapters.
        lora_alpha: Scale of the adapters over the rank.
        epochs: Passes over the judged pairs.
        max_steps: Cap on optimiser steps, None for none; 0 exports the base as it is.
        batch_queries: Queries in one micro-batch.
        rows_per_query: Judged items of a query that share its micro-batch; the irrelevant ones are hard negatives.
        mined_negatives: Further hard negatives a query: its best items by BM25 that nobody judged relevant. They join
            its micro-batch, and cost an item's time each. 0 is off: in a shop of many alike some of them are relevant.
        batch_items: Items whose log price is learnt in a micro-batch.
        batch_clicks: Impressions whose click and purchase are learnt in a micro-batch.
        accumulation: Micro-batches of one optimiser step (split over the processes of a group).
        learning_rate: Peak rate of the encoder or its adapters.
        head_learning_rate: Peak rate of the heads.
        weight_decay: AdamW decay of matrices; biases and norms are not decayed.
        warmup_share: Share of the steps over which the rate rises; then it falls linearly to 0.
        clip_norm: Gradient norm above which gradients are scaled down.
        temperature: Of the contrastive softmax.
        positive_relevance: Relevance from which an item is a positive of its query.
        negative_relevance: Relevance up to which an item is a hard negative of its query; between, it is neither.
        contrastive_weight: Weight of the contrastive loss.
        graded_weight: Weight of the squared error of the graded relevance.
        order_weight: Weight of the pairwise loss of the order of a query's judged items.
        price_weight: Weight of the squared error of the standardised log price.
        click_weight: Weight of the cross-entropy of click and purchase; impressions are needed.
        balance_classes: Weigh rare grades, clicks and purchases up to equal total weight.
        augment: Share of the words of a query dropped at random in training; 0 is off.
        gradient_checkpointing: Recompute activations in the backward pass to save memory.
        precision: ``auto`` takes bf16 on a GPU that has it, fp32 otherwise; or ``fp32``, ``bf16``. On a CPU bf16 keeps
            a kernel for each shape of batch, about a gigabyte; ``ONEDNN_PRIMITIVE_CACHE_CAPACITY=64`` halves it.
        compile: Whether to run torch.compile on the encoder.
        sharding: ``none`` gives each process of a group the whole encoder (DDP); ``full`` cuts its weights, gradients
            and moments over them (FSDP2), for an encoder that one device cannot hold. One process has all either way.
        device: ``auto`` takes CUDA where there is one; or ``cpu``, ``cuda``.
        evaluate_every: Steps between scores on held-out queries; 0 scores at the start and the end alone.
        patience: Scores without a better one after which training stops; 0 never stops.
        holdout_share: Share of queries and of items held out of training for these scores, by hash.
        folds: Cross-validation: encoders trained and scored on folds of the queries and items before the one that
            ships, which is then trained on all of them (``holdout_share`` is not used). What each says of its own fold
            is kept for the re-ranker, which is fitted on all of it. 0 is off; else 2 or more.
        evaluation_queries: Most held-out queries scored.
        checkpoint_every: Steps between checkpoints; 0 writes none.
        student_layers: Layers that a smaller student keeps of the tuned encoder; the student ships. 0 ships the encoder
            itself. The report compares both in quality and speed; with ``folds``, which leave no row to score a
            student on, in cosine and speed.
        student_steps: Steps of 64 texts in which the student learns the tuned encoder's embeddings.
        student_learning_rate: Peak rate of the student.
        export: ``auto`` exports to ONNX, whole and in eight bits; the smallest that passes the fidelity gate serves;
            ``fp32`` leaves eight bits out; ``none`` leaves torch to serve.
        seed: Of the order of batches, new heads, dropout and augmentation.
    """

    base: str = MINILM
    max_length: int = 64
    pooling: Pooling | None = None
    query_prefix: str | None = None
    item_prefix: str | None = None
    method: Literal["full", "lora", "none"] = "full"
    lora_rank: int = 16
    lora_alpha: int = 32
    epochs: int = 1
    max_steps: int | None = None
    batch_queries: int = 16
    rows_per_query: int = 4
    mined_negatives: int = 0
    batch_items: int = 16
    batch_clicks: int = 16
    accumulation: int = 1
    learning_rate: float = 3e-5
    head_learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    clip_norm: float = 1.0
    temperature: float = 0.05
    positive_relevance: float = 0.6
    negative_relevance: float = 0.35
    contrastive_weight: float = 0.5
    graded_weight: float = 1.0
    order_weight: float = 0.0
    price_weight: float = 0.2
    click_weight: float = 0.2
    balance_classes: bool = False
    augment: float = 0.0
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    sharding: Literal["none", "full"] = "none"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    evaluate_every: int = 0
    patience: int = 0
    holdout_share: float = 0.1
    folds: int = 0
    evaluation_queries: int = 300
    checkpoint_every: int = 200
    student_layers: int = 0
    student_steps: int = 500
    student_learning_rate: float = 1e-4
    export: Literal["auto", "fp32", "none"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (holds, rule) in _RULES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ConfigError(f"encoder.{name} is {value!r}; it must be {rule}")
        if self.folds == 1:
            raise ConfigError("encoder.folds is 1; it must be 0, which is off, or at least 2")
        if self.negative_relevance >= self.positive_relevance:
            raise ConfigError(
                f"encoder.negative_relevance is {self.negative_relevance}; it must be below "
                f"positive_relevance, {self.positive_relevance}"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Read settings from JSON or YAML.

        Raises:
            ConfigError: A name is unknown or a value is out of its range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if "prefix" in values:
            raise ConfigError(
                "encoder.prefix was one for queries and items alike; give encoder.query_prefix and encoder.item_prefix"
            )
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"encoder.{unknown[0]} is not a setting; there are {', '.join(sorted(known))}")
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """All settings as a JSON object."""
        return dataclasses.asdict(self)

    def fingerprint(self) -> str:
        """Hex SHA-256 of the settings."""
        return sha256_text(canonical_json(self.as_json()))


def preset(name: str, **changes: Any) -> EncoderConfig:
    """A named configuration: ``demo`` (about a minute on two cores), ``standard``, ``gpu``.

    Raises:
        ConfigError: There is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"encoder preset {name!r} is unknown; there are {', '.join(PRESETS)}")
    return EncoderConfig.from_mapping({**PRESETS[name], **changes})


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "max_length": 32,
        "max_steps": 50,
        "batch_queries": 8,
        "batch_items": 8,
        "batch_clicks": 4,
        "learning_rate": 1.5e-4,
        "holdout_share": 0.05,
        "checkpoint_every": 25,
    },
    "standard": {"max_length": 64, "epochs": 2, "evaluate_every": 200, "patience": 3},
    "gpu": {
        "max_length": 128,
        "epochs": 3,
        "batch_queries": 64,
        "batch_items": 64,
        "batch_clicks": 64,
        "learning_rate": 5e-5,
        "evaluate_every": 200,
        "patience": 3,
    },
}


def _one_of(*values: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in values), f"one of {', '.join(values)}"


def _text() -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, str)), "a text, empty for none, or null for what the base wants"


def _whole(minimum: int) -> tuple[Callable[[Any], bool], str]:
    return (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= minimum
    ), f"a whole number of at least {minimum}"


def _share(below: float = 1.0) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, int | float) and 0 <= value <= below), f"within [0, {below:g}]"


def _positive() -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, int | float) and 0 < value < float("inf")), "above 0"


def _weight() -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, int | float) and 0 <= value < float("inf")), "0 or more"


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_length": (lambda value: isinstance(value, int) and 4 <= value <= 8192, "a whole number within [4, 8192]"),
    "pooling": _one_of(*POOLINGS),
    **{name: _text() for name in ("query_prefix", "item_prefix")},
    "method": _one_of("full", "lora", "none"),
    "precision": _one_of("auto", "fp32", "bf16"),
    "sharding": _one_of("none", "full"),
    "device": _one_of("auto", "cpu", "cuda"),
    "export": _one_of("auto", "fp32", "none"),
    **{
        name: _whole(1)
        for name in ("lora_rank", "lora_alpha", "epochs", "batch_queries", "rows_per_query", "accumulation")
    },
    **{name: _whole(1) for name in ("batch_items", "batch_clicks", "evaluation_queries", "student_steps")},
    **{name: _whole(0) for name in ("max_steps", "evaluate_every", "patience", "checkpoint_every", "seed")},
    **{name: _whole(0) for name in ("student_layers", "folds", "mined_negatives")},
    **{name: _share() for name in ("warmup_share", "positive_relevance", "negative_relevance")},
    **{name: _share(0.5) for name in ("augment", "holdout_share")},
    **{name: _positive() for name in ("learning_rate", "head_learning_rate", "clip_norm", "temperature")},
    **{name: _positive() for name in ("student_learning_rate",)},
    **{name: _weight() for name in ("weight_decay", "contrastive_weight", "graded_weight", "order_weight")},
    **{name: _weight() for name in ("price_weight", "click_weight")},
}
