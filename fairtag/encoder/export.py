"""Export an encoder from torch to ONNX in fp32 and int8; an export may serve only if it ranks as the original does.

The graph includes pooling and normalisation, so serving needs a tokenizer and ONNX Runtime only.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fairtag.encoder.encoder import ONNX_FP32, ONNX_INT8, EncoderDescription
from fairtag.encoder.model import Encoder, embed
from fairtag.encoder.onnx import EMBEDDING, INPUT_IDS, MASK, OnnxEncoder, batches_by_length
from fairtag.encoder.training_data import Pairs
from fairtag.search.ranking_metrics import ndcg_by_query

MIN_COSINE = 0.99  # mean cosine to the torch embeddings
MAX_NDCG_LOSS = 0.005  # nDCG@10 that may be lost on held-out queries
MAX_GAIN_LOST = 0.5  # share of fine-tuning's gain in nDCG@10 that may be lost: where it gained 0.004, 0.005 is too much
SURE = 1.64  # standard errors above 0 at which a loss on a few hundred queries is not chance (one-sided, 95 %)
TIMED_TOKENS, TIMED_RUNS = 12, 30  # length of a typical query; enough calls for a stable median
GRAPHS = ("fp32", "int8")
FILES = {"fp32": ONNX_FP32, "int8": ONNX_INT8}
MAX_TEXTS = 400  # texts compared where there are no judged pairs
NO_TEXT = "there is no text to compare it on; give judgements, items, impressions or texts"

# What torch's exporter and ONNX Runtime's quantiser raise for a model whose operators they lack. They also raise the
# wide RuntimeError: the reason is recorded with its type, and no further export is tried.
_REFUSALS = (torch.onnx.errors.OnnxExporterError, NotImplementedError, RuntimeError, ValueError)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Export:
    """One way to serve the encoder, with its measurements.

    Args:
        name: ``torch``, ``fp32`` or ``int8``.
        mean_cosine: Mean cosine to the torch embeddings of the same texts; None where it was not compared.
        ndcg10: nDCG@10 on held-out queries; None where no query has differing grades.
        milliseconds: Median time of a 12-token query on one thread of this machine.
        bytes: Size of the weights.
        accepted: Whether it may serve.
        reason: Why it may not serve; empty if it may.
    """

    name: str
    mean_cosine: float | None
    ndcg10: float | None
    milliseconds: float | None
    bytes: int
    accepted: bool
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The export as a JSON object."""
        return asdict(self)

    def untimed(self) -> dict[str, Any]:
        """The export without its time: two builds of the same inputs give the same object."""
        return {name: value for name, value in asdict(self).items() if name != "milliseconds"}


def export_encoder(
    model: Encoder,
    folder: Path,
    description: EncoderDescription,
    tokens: Sequence[Ints],
    judged: Pairs,
    clock: Callable[[], float],
    names: Sequence[str] = GRAPHS,
    untuned: float | None = None,
) -> list[Export]:
    """Write the ONNX graphs of an encoder into its folder and compare each with torch.

    Only real texts can be compared: in int8, MiniLM's embeddings of four padding tokens had a cosine of 0.78 to torch,
    those of real texts 0.992. Without any text nothing is exported, and torch serves.

    Args:
        model: The encoder, on the CPU.
        folder: Encoder folder that already holds the tokenizer.
        description: Its description, before an export is chosen.
        tokens: Token ids of the texts that ``judged`` points to; without judged pairs up to 400 are compared.
        judged: Held-out pairs for nDCG.
        clock: Monotonic seconds, for the latencies.
        names: Graphs to write, ``fp32`` first: ``int8`` is made from it.
        untuned: nDCG@10 of the base encoder on ``judged``, where these pairs are held out; None limits the loss by
            its size only.

    Returns:
        The exports in the order tried; ``torch`` alone if the model cannot be exported.
    """
    rows = _comparison_rows(tokens, judged)
    if not len(rows):
        original = Export("torch", 1.0, None, None, _parameter_bytes(model), accepted=True)
        return [original, *(Export(name, None, None, None, 0, accepted=False, reason=NO_TEXT) for name in names)]
    texts = [tokens[row] for row in rows]
    reference = embed(model, texts, description.pad_token_id, 64)
    score = _scorer(judged, rows)
    torch_ndcg = score(reference)
    exports = [Export("torch", 1.0, _mean(torch_ndcg), None, _parameter_bytes(model), accepted=True)]
    gained = float(torch_ndcg.mean()) - untuned if torch_ndcg is not None and untuned is not None else None
    steps: dict[str, Callable[[], None]] = {
        "fp32": lambda: _export_fp32(model, folder / ONNX_FP32),
        "int8": lambda: quantise(folder / ONNX_FP32, folder / ONNX_INT8),
    }
    for name in names:
        file = FILES[name]
        try:
            steps[name]()
        except _REFUSALS as error:  # torch serves then; a failed export must not throw away a day of training
            refused = f"cannot be exported: {type(error).__name__}: {str(error)[:200]}"
            return [*exports, Export(name, None, None, None, 0, accepted=False, reason=refused)]
        encoder = OnnxEncoder(folder, description, file=file, threads=1)
        exported = _embed_onnx(encoder, texts)
        cosine, ndcg = float((reference * exported).sum(1).mean()), score(exported)
        lost = torch_ndcg - ndcg if torch_ndcg is not None and ndcg is not None else None
        reason = _refusal(cosine, lost, gained)
        size, milliseconds = (folder / file).stat().st_size, measure_latency(encoder, clock)
        exports.append(Export(name, cosine, _mean(ndcg), milliseconds, size, accepted=not reason, reason=reason))
    return exports


def choose_export(exports: Sequence[Export]) -> str:
    """The smallest export that passed; ``torch`` where none passed.

    The choice is by size, not by time. Fewer bytes were faster on every processor we measured, the training machine is
    not the serving machine, and a choice by the clock would make the model folder irreproducible. The report shows the
    measured times, and the setting ``export: fp32`` excludes int8.
    """
    passed = [export for export in exports if export.accepted and export.name != "torch"]
    return min(passed, key=lambda export: export.bytes).name if passed else "torch"


def _comparison_rows(tokens: Sequence[Ints], judged: Pairs) -> Ints:
    """Rows of the texts to compare on: those of judged pairs, or an even sample of all."""
    if len(judged):
        return np.unique(np.concatenate([judged.query, judged.item]))
    return np.unique(np.linspace(0, len(tokens) - 1, min(len(tokens), MAX_TEXTS)).astype(np.int64))


def _export_fp32(model: Encoder, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    model.eval()
    ids = torch.ones(2, 8, dtype=torch.int64)
    mask = torch.ones(2, 8, dtype=torch.int64)
    mask[1, 5:] = 0
    batch, length = torch.export.Dim("batch", min=1, max=65_536), torch.export.Dim("length", min=2, max=8192)
    shapes = {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}}
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it reports every absent optional library
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter uses deprecated names of its own
            torch.onnx.export(
                model,
                (ids, mask),
                str(file),
                input_names=[INPUT_IDS, MASK],
                output_names=[EMBEDDING],
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)


def quantise(source: Path, target: Path, *, reduce_range: bool = True) -> None:
    """Quantise to int8: weights by output channel, activations with a dynamic scale.

    Only 7 bits of the range are used, because products of 8 bits overflow on a CPU without VNNI, and the model folder
    may be served on another machine. That costs little: mean cosine 0.992 instead of 0.993 on 600 queries and titles of
    3 to 65 tokens, the same at every length. One scale for each tensor instead of each channel gave 0.87.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a preparation that the exporter has done
    try:
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
    finally:
        root.setLevel(level)


def _refusal(cosine: float, lost: NDArray[np.float64] | None, gained: float | None) -> str:
    """Why an export may not serve, empty when it may.

    Args:
        cosine: Mean cosine to torch's embeddings.
        lost: nDCG@10 lost on each held-out query; None where there is none.
        gained: Mean nDCG@10 that fine-tuning gained on these queries; None where it was not measured.
    """
    if not cosine >= MIN_COSINE:
        return f"mean cosine {cosine:.4f} is below {MIN_COSINE}"
    if lost is None or not lost.size:
        return ""
    mean, error = float(lost.mean()), float(lost.std(ddof=min(1, lost.size - 1)) / np.sqrt(lost.size))
    if mean > MAX_NDCG_LOSS:
        return f"nDCG@10 falls by {mean:.4f}, more than {MAX_NDCG_LOSS}"
    if gained is not None and gained > 0 and mean > max(MAX_GAIN_LOST * gained, SURE * error):
        return f"nDCG@10 falls by {mean:.4f}, more than {MAX_GAIN_LOST:.0%} of the {gained:.4f} that fine-tuning gained"
    return ""


def measure_latency(
    encoder: OnnxEncoder, clock: Callable[[], float], tokens: int = TIMED_TOKENS, runs: int = TIMED_RUNS
) -> float:
    """Median milliseconds to embed one text of ``tokens`` tokens."""
    ids = [[1] * tokens]
    encoder.encode_ids(ids)
    times = []
    for _ in range(runs):
        started = clock()
        encoder.encode_ids(ids)
        times.append(clock() - started)
    return float(np.median(times) * 1e3)


def _embed_onnx(encoder: OnnxEncoder, texts: Sequence[Ints]) -> NDArray[np.float32]:
    rows = np.zeros((len(texts), encoder.dimension), dtype=np.float32)
    for batch in batches_by_length([len(ids) for ids in texts], 64):
        rows[batch] = encoder.encode_ids([texts[row].tolist() for row in batch])
    return rows


def _scorer(judged: Pairs, rows: Ints) -> Callable[[NDArray[np.float32]], NDArray[np.float64] | None]:
    """A function from embeddings to the nDCG@10 of each query with differing grades; to None without judged pairs."""

    def score(vectors: NDArray[np.float32]) -> NDArray[np.float64] | None:
        if not len(judged):
            return None
        query, item = np.searchsorted(rows, judged.query), np.searchsorted(rows, judged.item)
        return ndcg_by_query(judged.query, judged.relevance, (vectors[query] * vectors[item]).sum(1))

    return score


def _mean(values: NDArray[np.float64] | None) -> float | None:
    return float(values.mean()) if values is not None else None


def _parameter_bytes(model: Encoder) -> int:
    return sum(value.numel() * value.element_size() for value in model.parameters())
