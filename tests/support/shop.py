"""A simulated shop and the model folder fitted on it, with a tiny random encoder: real parts, made once.

They take seconds to build, and whole packages of tests use them.
"""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd

    from fairtag.simulator.simulation import SimulatedShop


@pytest.fixture(scope="session")
def empty_registry(made_once: Callable[..., Path]) -> Callable[[Path], Path]:
    """Puts an empty model registry into a folder: MLflow creates its tables once (2 s), and each test has a copy."""

    def make(folder: Path) -> None:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()

    def copy(folder: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a session fixture stands outside the tests' own exceptions
            made = made_once("registry", make)
        folder.mkdir(parents=True)
        shutil.copy(made / "mlflow.db", folder)
        return folder

    return copy


def _tiny_bert(folder: Path, words: Iterable[str], *, layers: int, positions: int) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: row for row, word in enumerate([*specials, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    BertModel(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert() -> Callable[..., Path]:
    """Writes a random BERT of 32 dimensions and its word-piece tokenizer into a folder."""
    return _tiny_bert


PREFIXES = {"query_prefix": "query ", "item_prefix": "passage "}


@pytest.fixture(scope="session")
def market(made_once: Callable[..., Path]) -> SimulatedShop:
    """A small simulated shop with its truth, drawn once."""

    def make(folder: Path) -> None:
        from fairtag.simulator.simulation import ShopSize, simulate_shop

        size = ShopSize(items=240, users=300, impressions=36_000, page_size=12, wishes=200, judgements=1_500)
        (folder / "shop.pickle").write_bytes(pickle.dumps(simulate_shop(size, seed=4)))

    loaded: SimulatedShop = pickle.loads((made_once("simulated-shop", make) / "shop.pickle").read_bytes())
    return loaded


@pytest.fixture(scope="session")
def joined(market: SimulatedShop) -> pd.DataFrame:
    """The training set of the simulated shop."""
    from fairtag.data.point_in_time import training_set

    return training_set(market.tables)


@pytest.fixture(scope="session")
def tiny_encoder(market: SimulatedShop, made_once: Callable[..., Path]) -> Path:
    """An encoder folder around a random BERT that knows the shop's words, trained and exported once."""

    def make(folder: Path) -> None:
        import torch

        from fairtag.base import schema
        from fairtag.base.text import item_texts, tokens
        from fairtag.encoder.config import EncoderConfig
        from fairtag.encoder.training import train_encoder

        torch.set_num_threads(1)
        items, judgements = market.tables.latest_items(), market.tables.judgements
        assert judgements is not None
        texts = [*item_texts(items), *judgements[schema.QUERY].unique(), *PREFIXES.values()]
        base = _tiny_bert(
            folder / "base", sorted({word for text in texts for word in tokens(text)}), layers=1, positions=40
        )
        config = EncoderConfig.from_json(
            {
                "base": {"name": str(base), "max_length": 32, **PREFIXES},
                "schedule": {"max_steps": 0, "checkpoint_every": 0},
            }
        )
        train_encoder(config, judgements, items, folder / "encoder")

    return made_once("tiny-encoder", make) / "encoder"


def accept(model_folder: Path) -> None:
    """Enclose an accepted decision, which evaluation would make of gates and held-out data."""
    from fairtag.model.decision import GateResult, keep_decision, make_decision
    from fairtag.model.manifest import read_manifest

    manifest = read_manifest(model_folder)
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    gate = GateResult("relevance", 0.9, "made by a test", "pass")
    decision = make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=[gate], metrics={})
    keep_decision(decision, model_folder)


@pytest.fixture(scope="session")
def accepted() -> Callable[[Path], None]:
    """Encloses an accepted decision in a model folder."""
    return accept


@pytest.fixture(scope="session")
def model_folder(
    market: SimulatedShop, joined: pd.DataFrame, tiny_encoder: Path, made_once: Callable[..., Path]
) -> Path:
    """The model folder of the simulated shop, fitted once."""

    def make(folder: Path) -> None:
        from fairtag.training.model import Lineage, fit_model_folder

        lineage = Lineage(market.tables.fingerprint(), "test", "2026-01-01T00:00:00+00:00", "synthetic")
        fit_model_folder(market.tables, joined, tiny_encoder, folder / "model_folder", lineage=lineage)
        accept(folder / "model_folder")

    return made_once("fitted", make) / "model_folder"
