"""Time to encode a text, by engine, number of threads and length.

The engines are timed in one process, one after the other, on the same token ids. Beside the speed of each export stands
how close it comes to PyTorch.
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

from benchmarks.encoder.fidelity import export_rows
from benchmarks.result import Result, Row
from fairtag.encoder.encoder import ONNX_FP32, ONNX_INT8, describe_encoder
from fairtag.encoder.model import Encoder, TorchEncoder
from fairtag.encoder.onnx import OnnxEncoder

LENGTHS, THREADS = (12, 64), (1, 2)
LATENCY_CALLS, BATCH, BATCHES = 40, 32, 5
REFERENCE = {"torch": 17.0, "fp32": 6.0, "int8": 3.3}  # ms, 12 tokens, 1 thread: measured before this encoder

COMPILED = "compiled"

Ids = NDArray[np.int64]
Engine = Callable[[Ids], object]


def run() -> Result:
    """Time MiniLM in PyTorch, compiled, and on ONNX Runtime in fp32 and in 8 bits."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "encoder"
        rows = export_rows(folder)
        notes = [
            f"{os.cpu_count()} cores. Times: median of {LATENCY_CALLS} calls with one text. Throughput: batches of "
            f"{BATCH} texts.",
            "Cosines on the simulated shop's queries and items; the interval of a length is its worst and best text.",
        ]
        for threads in THREADS:
            for name, engine in _engines(folder, threads, notes):
                rows.extend(_speed(name, engine, threads))
    return Result(tuple(rows), tuple(dict.fromkeys(notes)))


def _engines(folder: Path, threads: int, notes: list[str]) -> list[tuple[str, Engine]]:
    torch_encoder = TorchEncoder.load(folder, threads=threads)
    description = describe_encoder(folder)
    engines: list[tuple[str, Engine]] = [("torch", _torch_engine(torch_encoder.model))]
    # Each shape and number of threads is compiled anew, half a minute each: one text on one thread is enough.
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
    """The model under torch.compile; None, with a note, where no compiler can build its kernels."""
    engine = _torch_engine(torch.compile(model, dynamic=False))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # inductor's advice on this machine's features
            engine(_ids(1, LENGTHS[0]))
    except Exception as error:  # the compiler may raise anything; the note says that its row is missing
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
    """Token ids of ordinary words of BERT's vocabulary, between the start and the end token."""
    ids = np.random.default_rng(0).integers(2000, 20_000, (batch, length))
    ids[:, 0], ids[:, -1] = 101, 102
    return ids
