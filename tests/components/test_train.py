"""The training step as Kubeflow runs it: what it logs and prints of folds and a student, what it does not do twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.settings import layered
from fairtag.base.tables import Tables, write_tables

QUICK = {"schedule": {"max_steps": 3}, "validation": {"holdout_share": 0.25}, "export": "none"}
COLOURS = ("blue", "red", "green", "white", "black", "grey", "brown", "pink")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random BERT of two layers and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    words = ["[PAD]", "[UNK]", "tile", *COLOURS, *(str(number) for number in range(40))]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast  # its functions carry no types
    fast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def tables(make_shop: Callable[..., dict[str, pd.DataFrame]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose judgements ask for tiles in eight colours and two sizes."""
    frames: dict[str, Any] = {**make_shop()}
    rows = [
        (f"{colour} tile {size}", f"{asked}-{colour}-{size}", f"{asked} tile {size}", float(asked == colour))
        for colour in COLOURS
        for size in (1, 2, 3)
        for asked in COLOURS
    ]
    columns = [schema.QUERY, schema.ITEM_ID, schema.TITLE, schema.RELEVANCE]
    frames["judgements"] = pd.DataFrame(rows, columns=columns)
    return write_tables(Tables(**frames), tmp_path_factory.mktemp("shop") / "tables")


def _train(tables: Path, out: Path, settings: dict[str, Any], **more: str) -> dict[str, float]:
    from components.train import train

    logged: dict[str, float] = {}
    train.python_func(
        tables=SimpleNamespace(path=str(tables)),
        encoder=SimpleNamespace(path=str(out)),
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        preset="demo",
        settings=json.dumps(layered(QUICK, settings)),
        **more,
    )
    return logged


@pytest.mark.slow
def test_a_student_is_logged_and_printed_beside_its_teacher(
    base: str, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = _train(tables, tmp_path / "e", {"base": base, "student": {"layers": 1, "steps": 3}})
    for who in ("teacher", "student"):
        assert {f"{who}_ndcg10", f"{who}_relevance_rmse", f"{who}_milliseconds"} <= logged.keys()
    printed = capsys.readouterr().out
    assert "train: student, step 3/3" in printed
    assert "train: student 0.0 M weights" in printed
    assert f"ndcg10 {logged['student_ndcg10']:.4f}" in printed


@pytest.mark.slow
def test_folds_are_logged_and_printed_with_their_spread_and_a_second_run_takes_them_from_the_checkpoints(
    base: str, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"base": base, "validation": {"folds": 2}, "batch": {"mined_negatives": 1}}
    first = _train(tables, tmp_path / "a", settings, checkpoints=str(tmp_path / "kept"))
    assert {"folds_ndcg10", "folds_ndcg10_deviation", "folds_price_rmsle"} <= first.keys()
    printed = capsys.readouterr().out
    assert "train: fold 2 of 2, step" in printed
    assert f"train: 2 folds, ndcg10 {first['folds_ndcg10']:.4f} (deviation" in printed
    assert _train(tables, tmp_path / "b", settings, checkpoints=str(tmp_path / "kept")) == first
    assert "step 1/" not in capsys.readouterr().out
