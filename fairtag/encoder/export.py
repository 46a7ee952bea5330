"""From torch to ONNX, whole and in eight bits, each let through only if it ranks as the original does.

Knows no training; a graph pools and normalises itself, so that serving needs a tokenizer and a runtime alone.
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

from fairtag.encoder.folder import ONNX_FP32, ONNX_INT8, EncoderDescription
from fairtag.encoder.model import Encoder, embed
from fairtag.encoder.onnx import EMBEDDING, INPUT_IDS, MASK, OnnxEncoder, batches_by_length
from fairtag.encoder.training_data import Pairs
from fairtag.search.ranking_metrics import ndcg_by_query

MIN_COSINE = 0.99  # mean cosine to the torch embeddings
MAX_NDCG_LOSS = 0.005  # nDCG@10 given up on held-out queries
MAX_GAIN_LOST = 0.5  # share of the nDCG@10 that fine-tuning gained on them: where it gained .004, .005 would be all
# Standard errors above 0 at which a loss is no chance (one side, 95 %): it is asked on a few hundred queries.
SURE = 1.64
TIMED_TOKENS, TIMED_RUNS = 12, 30  # a query's length; enough calls for a median
GRAPHS = ("fp32", "int8")
FILES = {"fp32": ONNX_FP32, "int8": ONNX_INT8}
MOST_TEXTS = 400  # texts compared when there are no judged ones to say which
NO_TEXT = "no text to compare it on: give judgements, items, impressions or texts"

# What torch's exporter and ONNX Runtime's quantiser say of a model they have no operators for. RuntimeError is theirs
# too, and wide: the reason is recorded with its type, and no other export is tried over it.
_REFUSALS = (torch.onnx.errors.OnnxExporterError, NotImplementedError, RuntimeError, ValueError)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Export:
    """One way to serve the encoder, as it was measured.

    Args:
        name: ``torch``, ``fp32`` or ``int8``.
        mean_cosine: To the torch embeddings of the same texts, None where it was not compared.
        ndcg10: On held-out queries, None where none can show an order.
        milliseconds: Median time of a query of 12 tokens on one thread, here.
        bytes: Size of the weights.
        accepted: Whether it may serve.
        reason: Why not, empty when it may.
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
        """The same without its time: what two builds of the same inputs share."""
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
    """Write the ONNX graphs of an encoder into its folder and measure each against torch.

    Embeddings of padding say nothing of a text: in eight bits MiniLM's rows of four pads had a cosine of 0.78 to the
    whole ones and those of real texts 0.992. So where there is no text nothing is exported, and torch serves.

    Args:
        model: The encoder, on the CPU.
        folder: Encoder folder that already holds the tokenizer.
        description: Its description, without a choice yet.
        tokens: Token ids of the texts that ``judged`` points to; up to 400 are compared where nothing is judged.
        judged: Held-out pairs for nDCG.
        clock: Monotonic seconds, for the latencies.
        names: Graphs to write, ``fp32`` first: the other is made of it.
        untuned: nDCG@10 of the base encoder on ``judged``, where no pair of it was learnt; None judges a loss by its
            size alone.

    Returns:
        The exports in the order tried; ``torch`` alone when the model cannot be exported.
    """
    rows = _compared(tokens, judged)
    if not len(rows):
        original = Export("torch", 1.0, None, None, _parameter_bytes(model), accepted=True)
        return [original, *(Export(name, None, None, None, 0, accepted=False, reason=NO_TEXT) for name in names)]
    texts = [tokens[row] for row in rows]
    reference = embed(model, texts, description.pad_token_id, 64)
    score = _scorer(judged, rows)
    whole = score(reference)
    exports = [Export("torch", 1.0, _mean(whole), None, _parameter_bytes(model), accepted=True)]
    gained = float(whole.mean()) - untuned if whole is not None and untuned is not None else None
    steps: dict[str, Callable[[], None]] = {
        "fp32": lambda: _export_fp32(model, folder / ONNX_FP32),
        "int8": lambda: quantise(folder / ONNX_FP32, folder / ONNX_INT8),
    }
    for name in names:
        file = FILES[name]
        try:
            steps[name]()
        except _REFUSALS as error:  # torch serves then; a day of training is not thrown away for it
            refused = f"cannot be exported: {type(error).__name__}: {str(error)[:200]}"
            return [*exports, Export(name, None, None, None, 0, accepted=False, reason=refused)]
        encoder = OnnxEncoder(folder, description, file=file, threads=1)
        rows_out = _embed_onnx(encoder, texts)
        cosine, ndcg = float((reference * rows_out).sum(1).mean()), score(rows_out)
        reason = _refusal(cosine, whole - ndcg if whole is not None and ndcg is not None else None, gained)
        size, taken = (folder / file).stat().st_size, latency(encoder, clock)
        exports.append(Export(name, cosine, _mean(ndcg), taken, size, accepted=not reason, reason=reason))
    return exports


def choose(exports: Sequence[Export]) -> str:
    """The smallest export that passed; ``torch`` where none passed.

    No time takes part: fewer bytes are faster on every processor this was measured on, a machine that trains is not the
    one that serves, and a choice by the clock would make two model folders of the same inputs. What was slower all the
    same stands in the report, and ``export: fp32`` leaves eight bits out.
    """
    passed = [export for export in exports if export.accepted and export.name != "torch"]
    return min(passed, key=lambda export: export.bytes).name if passed else "torch"


def _compared(tokens: Sequence[Ints], judged: Pairs) -> Ints:
    """Rows of the texts to compare on: those judged, or some of all from the first to the last."""
    if len(judged):
        return np.unique(np.concatenate([judged.query, judged.item]))
    return np.unique(np.linspace(0, len(tokens) - 1, min(len(tokens), MOST_TEXTS)).astype(np.int64))


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
    exporter.setLevel(logging.ERROR)  # it announces each absent optional library
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter uses its own deprecated names
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
    """Eight-bit weights by output channel, activations scaled as they come.

    Seven bits of the range are used: on a CPU without VNNI the products of eight overflow, and the
    model folder may be served on another machine than this one. It costs little: mean cosine 0.992 against 0.993 on 600
    queries and titles of 3 to 65 tokens, alike at every length. Scales by tensor and not by channel gave 0.87.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a preparation that the exporter has done
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
        cosine: Mean, to torch's embeddings.
        lost: nDCG@10 lost on each held-out query, None where there is none.
        gained: Mean nDCG@10 that fine-tuning gained on them, None where that was not measured.
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


def latency(
    encoder: OnnxEncoder, clock: Callable[[], float], tokens: int = TIMED_TOKENS, runs: int = TIMED_RUNS
) -> float:
    """Median milliseconds of one text of ``tokens`` tokens."""
    ids = [[1] * tokens]
    encoder.encode_ids(ids)
    times = []
    for _ in range(runs):
        begun = clock()
        encoder.encode_ids(ids)
        times.append(clock() - begun)
    return float(np.median(times) * 1e3)


def _embed_onnx(encoder: OnnxEncoder, texts: Sequence[Ints]) -> NDArray[np.float32]:
    rows = np.zeros((len(texts), encoder.dimension), dtype=np.float32)
    for batch in batches_by_length([len(ids) for ids in texts], 64):
        rows[batch] = encoder.encode_ids([texts[row].tolist() for row in batch])
    return rows


def _scorer(judged: Pairs, rows: Ints) -> Callable[[NDArray[np.float32]], NDArray[np.float64] | None]:
    """What gives the nDCG@10 of each judged query that shows an order, None where nothing was judged."""

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
