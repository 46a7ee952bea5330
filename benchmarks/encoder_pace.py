"""How fast encoders are fine-tuned beside sentence-transformers' own Trainer, whatever the device.

Both train the same random weights on the same pairs of a simulated shop, in batches of the same size and the same
precision, in one process, in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks.encoder_pace_peer import PeerAbsent, peer_seconds
from benchmarks.result import Result, Row
from fairtag.base import schema
from fairtag.base.text import item_texts, normalise
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.folder import resolve_base
from fairtag.encoder.model import quiet
from fairtag.encoder.training import train_encoder
from fairtag.encoder.training_report import Progress
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import simulate_shop

SHOP = ShopSize(items=20_000, users=500, impressions=8_000, wishes=4_000, judgements=4_000)
WARM = 5  # steps that are not timed: kernels are chosen and memory is taken in them
# Dense bf16 products a second, from NVIDIA's data sheets, by a part of the card's name; sparsity is not counted.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12}


@dataclass(frozen=True)
class Size:
    """A BERT: layers, width, heads and inner width."""

    name: str
    layers: int
    width: int
    heads: int
    inner: int

    def flops(self, tokens: int, length: float) -> float:
        """Of training on some tokens in texts of a mean length: forward and twice that backward, products alone."""
        weights = self.layers * (4 * self.width**2 + 2 * self.width * self.inner)
        return tokens * 3 * (2 * weights + 4 * self.layers * length * self.width)


MINILM = Size("minilm", 6, 384, 12, 1_536)


@dataclass(frozen=True)
class Plan:
    """What is run.

    Args:
        name: Of the benchmark.
        quick: Whether it is that benchmark's quick preset.
        device: ``cuda`` or ``cpu``.
        sizes: Encoders.
        batch: Pairs in a batch.
        steps: Steps, the warm ones included.
        max_length: Tokens read of a text.
        accumulations: Micro-batches of a step, of which the first is 1.
        precision: ``bf16`` or ``fp32``.
        rounds: Turns that ours and the peer take; medians are reported.
    """

    name: str
    quick: bool
    device: str
    sizes: tuple[Size, ...]
    batch: int
    steps: int
    max_length: int
    accumulations: tuple[int, ...]
    precision: str
    rounds: int


def measured(plan: Plan) -> Result:
    """The rows of a plan."""
    pairs = _pairs(plan.batch * plan.steps * max(plan.accumulations))
    where = _card() if plan.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    notes = [
        f"{where}; torch {torch.__version__}, {plan.precision}, batches of {plan.batch} pairs, AdamW; medians of "
        f"{plan.rounds} turns."
    ]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in plan.sizes:
            base = _random(size, Path(scratch) / size.name)
            rows.extend(_of_size(plan, size, base, pairs, Path(scratch), notes))
    command = f"python -m benchmarks {plan.name}" + (" --quick" if plan.quick else "")
    return Result(plan.name, command, tuple(rows), tuple(dict.fromkeys(notes)))


def _of_size(plan: Plan, size: Size, base: Path, pairs: pd.DataFrame, work: Path, notes: list[str]) -> Iterator[Row]:
    first = pairs.head(plan.batch * plan.steps)
    tokens, length = _tokens(base, first, plan)
    ours: list[Trained] = []
    theirs: list[Trained] = []
    for turn in range(plan.rounds):
        ours.append(_ours(plan, base, pairs, work / f"{size.name}-1-{turn}", 1))
        try:
            theirs.append(Trained(*peer_seconds(plan, base, first, WARM)))
        except PeerAbsent as error:
            notes.append(str(error))
    alone = _middle(ours)
    rate = tokens / plan.steps / alone.seconds
    yield Row(f"{size.name}_tokens", rate, unit="tokens/s")
    yield Row(f"{size.name}_pairs", plan.batch / alone.seconds, unit="pairs/s")
    if plan.device == "cuda":
        peak = next((value for part, value in PEAKS.items() if part in _card()), None)
        if peak is None:
            notes.append(f"The peak of {_card()} is not known here: no share of it is given.")
        else:
            yield Row(f"{size.name}_share_of_peak", size.flops(round(rate), length) / peak, unit="share of dense bf16")
    if theirs:
        peer = _middle(theirs)
        yield Row(f"{size.name}_tokens_sentence_transformers", tokens / plan.steps / peer.seconds, unit="tokens/s")
        ratio = median(their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True))
        yield Row(f"{size.name}_over_sentence_transformers", ratio, reference="above 1")
        yield from _memory(f"{size.name}_memory_sentence_transformers", peer.memory)
    yield from _memory(f"{size.name}_memory", alone.memory)
    for accumulation in plan.accumulations[1:]:
        found = _ours(plan, base, pairs, work / f"{size.name}-{accumulation}", accumulation)
        yield Row(f"{size.name}_rate_at_accumulation_{accumulation}", accumulation * alone.seconds / found.seconds)
        if alone.memory:
            yield Row(f"{size.name}_memory_at_accumulation_{accumulation}", found.memory / alone.memory)


def _memory(name: str, found: int) -> Iterator[Row]:
    if found:
        yield Row(name, found / 1e9, unit="GB at its peak")


@dataclass(frozen=True)
class Trained:
    """Seconds of a step after the warm ones, and bytes of memory at the peak; 0 on a CPU."""

    seconds: float
    memory: int


def _middle(turns: list[Trained]) -> Trained:
    return Trained(median(turn.seconds for turn in turns), max(turn.memory for turn in turns))


def _ours(plan: Plan, base: Path, pairs: pd.DataFrame, out: Path, accumulation: int) -> Trained:
    """Train with in-batch negatives alone, as the peer does."""
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
    _free(plan)
    rows = pairs.head(plan.batch * plan.steps * accumulation)
    clock = _Clock(plan)
    report = train_encoder(config, rows, None, out, progress=clock.tick)
    return Trained(clock.seconds_a_step(), report.peak_memory_bytes)


class _Clock:
    """Times the steps after the warm ones, the device's queue emptied at both ends."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.begun, self.ended = plan, 0.0, 0.0

    def tick(self, now: Progress) -> None:
        """A step is done."""
        if now.step == WARM:
            self.begun = self._now()
        elif now.step == now.steps:
            self.ended = self._now()

    def seconds_a_step(self) -> float:
        """Mean."""
        return (self.ended - self.begun) / (self.plan.steps - WARM)

    def _now(self) -> float:
        if self.plan.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _free(plan: Plan) -> None:
    if plan.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _random(size: Size, folder: Path) -> Path:
    """A BERT of random weights with MiniLM's tokenizer: where no weights can be had, they still cost the same time."""
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
    frame[schema.QUERY] += [f" {place}" for place in range(count)]  # or a query would bring several of its items
    frame[schema.ITEM_ID], frame[schema.RELEVANCE] = frame.index.astype(str), 1.0
    return frame


def _tokens(base: Path, pairs: pd.DataFrame, plan: Plan) -> tuple[int, float]:
    """Tokens of all texts, padding left out, and the mean of a text."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [*pairs[schema.QUERY], *pairs[schema.TITLE]]
    lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=plan.max_length)["input_ids"]]
    return sum(lengths), sum(lengths) / len(lengths)


def _card() -> str:
    return torch.cuda.get_device_name()
