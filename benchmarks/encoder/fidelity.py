"""How close an encoder's exports come to the PyTorch model, on the texts of the simulated shop."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from benchmarks.result import Row
from fairtag.base import schema
from fairtag.base.tables import Tables
from fairtag.base.text import item_texts
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import ONNX_FP32, ONNX_INT8, describe_encoder
from fairtag.encoder.export import quantise
from fairtag.encoder.model import TorchEncoder, embed, pad_id
from fairtag.encoder.onnx import OnnxEncoder
from fairtag.encoder.training import train_encoder
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import simulate_shop

SHOP = ShopSize(items=1_000, users=500, impressions=8_000, wishes=1_000, judgements=4_000)
TEXTS = 400  # of each side
CUTS = (0, 8, 16, 65)  # tokens: a short query, a title, a title with its description
FULL_RANGE = "onnx/full_range.onnx"


def export_rows(folder: Path, size: ShopSize = SHOP) -> list[Row]:
    """Export the untuned MiniLM into a folder, and compare each export with PyTorch.

    The loss in nDCG@10 is that of the simulated shop's judged queries, as in the export's own check. Cosines by length
    encode one text at a time, as most searches do. ``int8_full_range`` is the 8-bit export without ``reduce_range``.
    """
    tables = simulate_shop(size, seed=0).tables
    items = tables.latest_items()
    report = train_encoder(
        EncoderConfig.from_json({"tuning": {"method": "none"}, "validation": {"queries": 1_000}}),
        tables.judgements,
        items,
        folder,
    )
    rows = []
    for export in report.exports[1:]:
        name, lost = export["name"], report.exports[0]["ndcg10"] - export["ndcg10"]
        rows.append(Row(f"{name}_mean_cosine", export["mean_cosine"], None, None, "cosine to torch", "0.99 or more"))
        rows.append(Row(f"{name}_ndcg10_lost", lost, None, None, "nDCG@10", "0.005 or less"))
    return [*rows, *_by_length(folder, *_texts(tables))]


def _texts(tables: Tables) -> tuple[list[str], list[str]]:
    assert tables.judgements is not None
    queries = sorted(set(tables.judgements[schema.QUERY]))
    return queries[:TEXTS], item_texts(tables.latest_items())[:TEXTS]


def _by_length(folder: Path, queries: list[str], items: list[str]) -> list[Row]:
    whole = TorchEncoder.load(folder, threads=1)
    tokens = [*whole.tokenise(queries, "query"), *whole.tokenise(items, "item")]
    reference = embed(whole.model, tokens, pad_id(whole.tokenizer), 64)
    length = np.array([len(ids) for ids in tokens])
    quantise(folder / ONNX_FP32, folder / FULL_RANGE, reduce_range=False)
    rows = []
    for name, file in (("int8", ONNX_INT8), ("int8_full_range", FULL_RANGE)):
        graph = OnnxEncoder(folder, describe_encoder(folder), file=file)
        cosine = (np.concatenate([graph.encode_ids([ids]) for ids in tokens]) * reference).sum(1)
        for low, high in itertools.pairwise(CUTS):
            found = cosine[(length >= low) & (length < high)]
            if found.size:
                label = f"{name}_cosine_{max(low, 3)}_to_{high - 1}_tokens"
                rows.append(Row(label, float(found.mean()), float(found.min()), float(found.max()), "cosine to torch"))
    return rows
