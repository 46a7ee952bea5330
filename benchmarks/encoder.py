"""How fast the text encoder answers, by engine, threads and length, and how fast it is fine-tuned beside a peer.

The engines are timed in one process, one after the other, on the same token ids; the fidelity of each export to torch
stands beside its speed.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.encoder_fidelity import exported
from benchmarks.result import Result, Row
from pricing.encoder.folder import ONNX_FP32, ONNX_INT8, describe_encoder
from pricing.encoder.losses import TensorBatch, contrastive_loss
from pricing.encoder.model import Encoder, TorchEncoder
from pricing.encoder.onnx import OnnxEncoder

LENGTHS, THREADS = (12, 64), (1, 2)
LATENCY_CALLS, BATCH, BATCHES = 40, 32, 5
TRAIN_BATCH, TRAIN_TOKENS, TRAIN_STEPS, WARM = 16, 16, 8, 2
REFERENCE = {"torch": 17.0, "fp32": 6.0, "int8": 3.3}  # ms, 12 tokens, 1 thread: measured when the design was written

COMPILED = "compiled"

Ids = NDArray[np.int64]
Engine = Callable[[Ids], object]


def run() -> Result:
    """MiniLM in torch, compiled, on ONNX Runtime whole and in eight bits; then a training step beside a peer's."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "encoder"
        rows = exported(folder)
        notes = [
            f"{os.cpu_count()} cores; median of {LATENCY_CALLS} calls of one text; throughput in batches of {BATCH}.",
            "Fidelity on the simulated shop's queries and items; low and high of a length are its worst and best text.",
        ]
        for threads in THREADS:
            for name, engine in _engines(folder, threads, notes):
                rows.extend(_speed(name, engine, threads))
    rows.extend(_training_rows(notes))
    return Result("encoder", "python -m benchmarks encoder", tuple(rows), tuple(dict.fromkeys(notes)))


def _engines(folder: Path, threads: int, notes: list[str]) -> list[tuple[str, Engine]]:
    torch_encoder = TorchEncoder.load(folder, threads=threads)
    description = describe_encoder(folder)
    engines: list[tuple[str, Engine]] = [("torch", _torch_engine(torch_encoder.model))]
    # Every shape and number of threads is compiled anew, half a minute each: one text on one thread says enough.
    compiled = _compiled(torch_encoder.model, notes) if threads == 1 else None
    if compiled is not None:
        engines.append((COMPILED, compiled))
    for name, file in (("fp32", ONNX_FP32), ("int8", ONNX_INT8)):
        onnx = OnnxEncoder(folder, description, file=file, threads=threads)
        engines.append((name, lambda ids, onnx=onnx: onnx.encode_ids(ids.tolist())))  # type: ignore[misc]
    return engines


def _torch_engine(model: Any) -> Engine:
    def answer(ids: Ids) -> object:
        with torch.inference_mode():
            return model(torch.from_numpy(ids), torch.ones(ids.shape, dtype=torch.int64)).numpy()

    return answer


def _compiled(model: Encoder, notes: list[str]) -> Engine | None:
    """The model under torch.compile; None, with a note, where there is no compiler to build its kernels."""
    engine = _torch_engine(torch.compile(model, dynamic=False))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # inductor's advice on this machine's features
            engine(_ids(1, LENGTHS[0]))
    except Exception as error:  # whatever the compiler throws, the row is left out and the note says so
        notes.append(f"torch.compile left out: {type(error).__name__}.")
        return None
    return engine


def _speed(name: str, engine: Engine, threads: int) -> list[Row]:
    rows = []
    for length in LENGTHS:
        one, many = _ids(1, length), _ids(BATCH, length)
        times = np.array(_times(partial(engine, one), LATENCY_CALLS))
        low, high = np.quantile(times, [0.05, 0.95])
        reference = REFERENCE.get(name) if (length, threads) == (12, 1) else None
        label = f"{name}_{length}tokens_{threads}thread"
        rows.append(
            Row(f"{label}_p50", float(np.median(times)) * 1e3, float(low) * 1e3, float(high) * 1e3, "ms", reference)
        )
        if name == COMPILED:
            continue
        batch = float(np.median(_times(partial(engine, many), BATCHES)))
        rows.append(Row(f"{label}_throughput", BATCH / batch, None, None, "texts/s"))
    return rows


def _times(call: Callable[[], object], calls: int) -> list[float]:
    call()
    call()
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def _ids(batch: int, length: int) -> Ids:
    """Token ids of ordinary words of BERT's vocabulary, framed as a sentence."""
    ids = np.random.default_rng(0).integers(2000, 20_000, (batch, length))
    ids[:, 0], ids[:, -1] = 101, 102
    return ids


def _training_rows(notes: list[str]) -> list[Row]:
    """Pairs a second of one contrastive step, ours and sentence-transformers', on the same ids, rate and precision."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    query, item = _ids(TRAIN_BATCH, TRAIN_TOKENS), _ids(TRAIN_BATCH, TRAIN_TOKENS) + 1
    item[:, 0], item[:, -1] = 101, 102
    ours = TRAIN_BATCH / float(np.median(_times(_our_step(query, item), TRAIN_STEPS)))
    rows = [Row("train_ours", ours, None, None, "pairs/s")]
    theirs = _peer_step(query, item)
    if theirs is None:
        notes.append("sentence-transformers is not installed: the training step has no peer here.")
        return rows
    peer = TRAIN_BATCH / float(np.median(_times(theirs, TRAIN_STEPS)))
    notes.append(
        f"Training: {TRAIN_BATCH} pairs of 2 x {TRAIN_TOKENS} tokens, all weights, fp32, AdamW, in-batch negatives; "
        "the peer is sentence-transformers' model and MultipleNegativesRankingLoss in the same loop."
    )
    return [*rows, Row("train_sentence_transformers", peer, None, None, "pairs/s"), Row("train_ratio", ours / peer)]


def _our_step(query: Ids, item: Ids) -> Callable[[], object]:
    model = TorchEncoder.base("minilm").model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5)
    size = len(query)
    mask, place = torch.ones(query.shape, dtype=torch.int64), torch.arange(size)
    fields = {name: torch.zeros(0) for name in TensorBatch.__dataclass_fields__}
    fields |= {"pair_query": place, "pair_item": place, "relevance": torch.ones(size)}
    batch = TensorBatch(**{**fields, "negative": ~torch.eye(size, dtype=torch.bool)})

    def step() -> None:
        scores = model(torch.from_numpy(query), mask) @ model(torch.from_numpy(item), mask).T / 0.05
        contrastive_loss(scores, batch, 0.5).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def _peer_step(query: Ids, item: Ids) -> Callable[[], object] | None:
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    except ImportError:
        return None
    from pricing.encoder.folder import resolve_base

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SentenceTransformer(resolve_base("minilm"), device="cpu").train()
        loss: Any = MultipleNegativesRankingLoss(model, scale=20.0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5)
    mask = torch.ones(query.shape, dtype=torch.int64)

    def step() -> None:
        sides = [{"input_ids": torch.from_numpy(ids), "attention_mask": mask} for ids in (query, item)]
        loss(sides, torch.zeros(len(query))).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step
