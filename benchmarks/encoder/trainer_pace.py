"""Speed of our encoder training beside sentence-transformers' Trainer, on any device.

Both train the same random weights on the same pairs of a simulated shop, with the same batch size and precision, in one
process, taking turns.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks.result import Result, Row
from fairtag.base import schema
from fairtag.base.text import item_texts, normalise
from fairtag.encoder.base_model import resolve_base
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.loop import Progress
from fairtag.encoder.model import quiet
from fairtag.encoder.training import train_encoder
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import simulate_shop

SHOP = ShopSize(items=20_000, users=500, impressions=8_000, wishes=4_000, judgements=4_000)
WARM = 5  # steps that are not timed: in them kernels are chosen and memory is allocated
NEEDED = ("sentence_transformers", "datasets", "accelerate")  # of the Trainer
# Dense bf16 operations a second, from NVIDIA's data sheets, by a part of the card's name; without sparsity.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12}


@dataclass(frozen=True)
class Size:
    """A BERT model: layers, width, heads and inner width."""

    name: str
    layers: int
    width: int
    heads: int
    inner: int

    def flops(self, tokens: int, length: float) -> float:
        """Matrix operations of training on some tokens in texts of a mean length: one pass forward, two backward."""
        weights = self.layers * (4 * self.width**2 + 2 * self.width * self.inner)
        return tokens * 3 * (2 * weights + 4 * self.layers * length * self.width)


MINILM = Size("minilm", 6, 384, 12, 1_536)


@dataclass(frozen=True)
class Plan:
    """What is trained, and how often.

    Args:
        device: ``cuda`` or ``cpu``.
        sizes: Encoders.
        batch: Pairs in a batch.
        steps: Steps, including the warm-up.
        max_length: Tokens read of a text.
        accumulations: Micro-batches a step; the first is 1.
        precision: ``bf16`` or ``fp32``.
        rounds: Turns that each trainer takes; medians are reported.
    """

    device: str
    sizes: tuple[Size, ...]
    batch: int
    steps: int
    max_length: int
    accumulations: tuple[int, ...]
    precision: str
    rounds: int


class PeerMissing(Exception):
    """A package of sentence-transformers' Trainer is not installed."""


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step after the warm-up, and bytes of memory at the peak (0 on a CPU)."""

    seconds: float
    memory: int


def compare(plan: Plan) -> Result:
    """Train each size of a plan with both trainers, in turn."""
    pairs = _pairs(plan.batch * plan.steps * max(plan.accumulations))
    where = _card() if plan.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    notes = [
        f"{where}; torch {torch.__version__}, {plan.precision}, batches of {plan.batch} pairs, AdamW; medians of "
        f"{plan.rounds} turns."
    ]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in plan.sizes:
            base = _random_bert(size, Path(scratch) / size.name)
            rows.extend(_size_rows(plan, size, base, pairs, Path(scratch), notes))
    return Result(tuple(rows), tuple(dict.fromkeys(notes)))


def _size_rows(plan: Plan, size: Size, base: Path, pairs: pd.DataFrame, work: Path, notes: list[str]) -> Iterator[Row]:
    first = pairs.head(plan.batch * plan.steps)
    tokens, length = _tokens(base, first, plan)
    ours: list[StepCost] = []
    theirs: list[StepCost] = []
    for turn in range(plan.rounds):
        ours.append(train_ours(plan, base, pairs, work / f"{size.name}-1-{turn}", 1))
        try:
            theirs.append(train_peer(plan, base, first))
        except PeerMissing as error:
            notes.append(str(error))
    single = _median(ours)
    rate = tokens / plan.steps / single.seconds
    yield Row(f"{size.name}_tokens", rate, unit="tokens/s")
    yield Row(f"{size.name}_pairs", plan.batch / single.seconds, unit="pairs/s")
    if plan.device == "cuda":
        peak = next((value for part, value in PEAKS.items() if part in _card()), None)
        if peak is None:
            notes.append(f"The peak speed of {_card()} is unknown here, so no share of it is given.")
        else:
            yield Row(f"{size.name}_share_of_peak", size.flops(round(rate), length) / peak, unit="share of dense bf16")
    if theirs:
        peer = _median(theirs)
        yield Row(f"{size.name}_tokens_sentence_transformers", tokens / plan.steps / peer.seconds, unit="tokens/s")
        ratio = median(their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True))
        yield Row(f"{size.name}_over_sentence_transformers", ratio, reference="above 1")
        yield from _memory(f"{size.name}_memory_sentence_transformers", peer.memory)
    yield from _memory(f"{size.name}_memory", single.memory)
    for accumulation in plan.accumulations[1:]:
        found = train_ours(plan, base, pairs, work / f"{size.name}-{accumulation}", accumulation)
        yield Row(f"{size.name}_rate_at_accumulation_{accumulation}", accumulation * single.seconds / found.seconds)
        if single.memory:
            yield Row(f"{size.name}_memory_at_accumulation_{accumulation}", found.memory / single.memory)


def _memory(name: str, found: int) -> Iterator[Row]:
    if found:
        yield Row(name, found / 1e9, unit="GB at its peak")


def _median(turns: list[StepCost]) -> StepCost:
    return StepCost(median(turn.seconds for turn in turns), max(turn.memory for turn in turns))


def train_ours(plan: Plan, base: Path, pairs: pd.DataFrame, out: Path, accumulation: int) -> StepCost:
    """Train with our trainer and in-batch negatives only, as the Trainer does."""
    config = EncoderConfig.from_json(
        {
            "base": {"name": str(base), "max_length": plan.max_length},
            "batch": {"queries": plan.batch, "rows_per_query": 1, "accumulation": accumulation},
            "objective": {"contrastive_weight": 1.0, "graded_weight": 0.0, "price_weight": 0.0, "click_weight": 0.0},
            "optimiser": {"learning_rate": 2e-5},
            "schedule": {"max_steps": plan.steps, "checkpoint_every": 0},
            "validation": {"holdout_share": 0.0},
            "hardware": {"precision": plan.precision, "device": plan.device},
            "export": "none",
        }
    )
    _free_memory(plan)
    rows = pairs.head(plan.batch * plan.steps * accumulation)
    clock = _Clock(plan)
    report = train_encoder(config, rows, None, out, progress=clock.tick)
    return StepCost(clock.seconds_a_step(), report.peak_memory_bytes)


def train_peer(plan: Plan, base: Path, pairs: pd.DataFrame) -> StepCost:
    """Train with sentence-transformers' Trainer: the same loss and scale, AdamW at the same rate, its own batch order.

    Raises:
        PeerMissing: One of its packages is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise PeerMissing(
            f"sentence-transformers' Trainer did not run: {', '.join(missing)} is not installed; install "
            "sentence-transformers[train]."
        )
    datasets: Any = importlib.import_module("datasets")  # only the Trainer needs it
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    marks: list[float] = []

    class Marks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            if state.global_step in (WARM, plan.steps):
                if plan.device == "cuda":
                    torch.cuda.synchronize()
                marks.append(time.perf_counter())

    _free_memory(plan)
    with warnings.catch_warnings(), quiet(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        model = SentenceTransformer(str(base), device=plan.device)
        model.max_seq_length = plan.max_length
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=plan.batch,
            max_steps=plan.steps,
            learning_rate=2e-5,
            bf16=plan.precision == "bf16",
            use_cpu=plan.device == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        data = datasets.Dataset.from_dict({"anchor": list(pairs[schema.QUERY]), "positive": list(pairs[schema.TITLE])})
        loss: Any = MultipleNegativesRankingLoss(model, scale=20.0)
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=loss, callbacks=[Marks()]
        )
        trainer.train()
    memory = torch.cuda.max_memory_allocated() if plan.device == "cuda" else 0
    return StepCost((marks[1] - marks[0]) / (plan.steps - WARM), memory)


class _Clock:
    """Times the steps after the warm-up; the device finishes its queue before each reading."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.begun, self.ended = plan, 0.0, 0.0

    def tick(self, now: Progress) -> None:
        """Note the end of a step."""
        if now.step == WARM:
            self.begun = self._now()
        elif now.step == now.steps:
            self.ended = self._now()

    def seconds_a_step(self) -> float:
        """Mean seconds of a timed step."""
        return (self.ended - self.begun) / (self.plan.steps - WARM)

    def _now(self) -> float:
        if self.plan.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _free_memory(plan: Plan) -> None:
    if plan.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _random_bert(size: Size, folder: Path) -> Path:
    """A BERT of random weights with MiniLM's tokenizer; it trains as fast as one with real weights."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_base("minilm"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
    )
    with quiet():
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def _pairs(count: int) -> pd.DataFrame:
    """Distinct pairs of a query and an item that is relevant to it."""
    market = simulate_shop(SHOP if count > 1_000 else ShopSize(items=300, users=60, impressions=480), seed=0)
    items = item_texts(market.tables.latest_items())
    assert market.tables.judgements is not None
    queries = [normalise(query) for query in market.tables.judgements[schema.QUERY].unique()]
    rows = [(queries[place % len(queries)], f"{items[place % len(items)]} {place}") for place in range(count)]
    frame = pd.DataFrame(rows, columns=[schema.QUERY, schema.TITLE])
    frame[schema.QUERY] += [
        f" {place}" for place in range(count)
    ]  # distinct: a query with several items would not be one pair
    frame[schema.ITEM_ID], frame[schema.RELEVANCE] = frame.index.astype(str), 1.0
    return frame


def _tokens(base: Path, pairs: pd.DataFrame, plan: Plan) -> tuple[int, float]:
    """Tokens of all texts without padding, and their mean per text."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [*pairs[schema.QUERY], *pairs[schema.TITLE]]
    lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=plan.max_length)["input_ids"]]
    return sum(lengths), sum(lengths) / len(lengths)


def _card() -> str:
    return torch.cuda.get_device_name()
