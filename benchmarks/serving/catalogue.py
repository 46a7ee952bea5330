"""A model folder with a catalogue of any size for the serving benchmarks: a small fitted shop, repeated.

Each copy of an item gets an embedding a little off the original, so that a search looks through as many distinct
vectors as in a real catalogue of that size. Texts and fitted parameters are those of the small shop::

    model_folder = enlarge_catalogue(small_shop(work / "shop"), work / "large", items=100_000)
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.files import directory_atomic, load_arrays, save_arrays
from fairtag.base.tables import read_tables, write_tables
from fairtag.base.text import item_texts
from fairtag.data.point_in_time import training_set
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import load_encoder
from fairtag.encoder.training import train_encoder
from fairtag.model.decision import GateResult, keep_decision, make_decision
from fairtag.model.manifest import read_manifest, write_manifest
from fairtag.model.pricing_model import CATALOGUE, DEMAND, EMBEDDINGS, ENCODER, ESTIMATES, SEARCH
from fairtag.search.dense_index import choose_index, evenly_spaced
from fairtag.search.retrieval import TEXTS, WORDS
from fairtag.search.text_table import TextTable, starts_of
from fairtag.search.word_index import WordIndex
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import simulate_shop
from fairtag.training.model import Lineage, fit_model_folder

SIZE = ShopSize(items=1_000, users=2_000, impressions=40_000, wishes=1_000, judgements=2_000)
NOISE = 0.02  # spread of a copy around its item, per dimension of a unit vector of 384


def small_shop(folder: Path, size: ShopSize = SIZE, seed: int = 0) -> Path:
    """Tables, untuned MiniLM and model folder of a small simulated shop; made once in a folder.

    Returns:
        The model folder.
    """
    model_folder = folder / "model_folder"
    if model_folder.is_dir():
        return model_folder
    tables = simulate_shop(size, seed=seed).tables
    write_tables(tables, folder / "tables")
    config = EncoderConfig.from_json({"base": {"max_length": 32}, "schedule": {"max_steps": 0}})
    train_encoder(config, tables.judgements, tables.latest_items(), folder / "encoder")
    lineage = Lineage(tables.fingerprint(), "benchmark", "1970-01-01T00:00:00+00:00")
    fit_model_folder(tables, training_set(tables), folder / "encoder", model_folder, lineage=lineage, seed=seed)
    return _accept(model_folder)


def customer_queries(folder: Path) -> list[str]:
    """The distinct queries of the customers of :func:`small_shop`; some of them choose its index."""
    judgements = read_tables(folder / "tables").judgements
    return [] if judgements is None else sorted(set(judgements[schema.QUERY]))


def enlarge_catalogue(small: Path, out: Path, items: int, seed: int = 0) -> Path:
    """A copy of the model folder of :func:`small_shop` whose catalogue is repeated up to a number of items.

    Its index is chosen by its recall on the customers' queries, as in any shop.
    """
    if out.is_dir():
        return out
    rng = np.random.default_rng(seed)
    catalogue = pd.read_parquet(small / CATALOGUE)
    rows = np.arange(items) % len(catalogue)
    turn = np.arange(items) // len(catalogue)
    with directory_atomic(out) as folder:
        shutil.copytree(small, folder, dirs_exist_ok=True)
        larger = catalogue.iloc[rows].reset_index(drop=True)
        ids = larger[schema.ITEM_ID] + [f"-{n:04d}" for n in turn]
        order = np.argsort(ids.to_numpy(dtype=str), kind="stable")
        larger.assign(**{schema.ITEM_ID: ids}).iloc[order].to_parquet(folder / CATALOGUE, index=False)
        _repeat_embeddings(folder, rows[order], turn[order] > 0, rng)
        for name in (DEMAND, ESTIMATES):
            _repeat_arrays(folder, name, rows[order], len(catalogue))
        _repeat_search(folder / SEARCH, rows[order], larger.iloc[order])
        asked = evenly_spaced(customer_queries(small.parent))
        embeddings = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        choose_index(embeddings, load_encoder(small / ENCODER).encode(asked, "query")).save(folder / SEARCH)
        facts = {k: v for k, v in read_manifest(small).items() if k not in ("files", "digest", "version", "schema")}
        write_manifest(folder, {**facts, "items": items})
    return _accept(out)


def _accept(model_folder: Path) -> Path:
    """Enclose the decision that an endpoint asks for: this model is measured, and nothing is sold at its prices."""
    manifest = read_manifest(model_folder)
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    gate = GateResult(
        "benchmark", None, "made to measure speed", "not applicable", note="its prices were not evaluated"
    )
    decision = make_decision(challenger=challenger, champion=None, data_fingerprint="", gates=[gate], metrics={})
    keep_decision(decision, model_folder)
    return model_folder


def _repeat_embeddings(folder: Path, rows: np.ndarray[Any, Any], moved: np.ndarray[Any, Any], rng: Any) -> None:
    small = np.load(folder / EMBEDDINGS, allow_pickle=False)
    larger = np.lib.format.open_memmap(folder / "larger.npy", "w+", dtype=np.float32, shape=(len(rows), small.shape[1]))
    for start in range(0, len(rows), 50_000):
        part = slice(start, start + 50_000)
        block = small[rows[part]]
        block = block + moved[part, None] * rng.normal(scale=NOISE, size=block.shape).astype(np.float32)
        larger[part] = block / np.linalg.norm(block, axis=1, keepdims=True)
    larger.flush()
    del larger
    (folder / "larger.npy").replace(folder / EMBEDDINGS)


def _repeat_search(folder: Path, rows: np.ndarray[Any, Any], catalogue: pd.DataFrame) -> None:
    """Index the words of every row and repeat the hashes of its title."""
    table = TextTable.load(folder / TEXTS)
    chosen = table.take(rows)
    TextTable(chosen.hashes, starts_of(chosen.sizes), np.asarray(table.facts[rows])).save(folder / TEXTS)
    WordIndex.build(item_texts(catalogue)).save(folder / WORDS)


def _repeat_arrays(folder: Path, name: str, rows: np.ndarray[Any, Any], items: int) -> None:
    """Repeat every array that has one entry per item."""
    arrays, metadata = load_arrays(folder, name)
    larger = {key: value[rows] if value.ndim and value.shape[0] == items else value for key, value in arrays.items()}
    save_arrays(folder, name, larger, metadata)
