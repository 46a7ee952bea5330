"""Exports: the same numbers as torch, refused where they are not, and served without torch."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from fairtag.base.errors import ConfigError, ModelFolderError, ModelFolderMissing
from fairtag.encoder import export as export_module
from fairtag.encoder.encoder import DESCRIPTION, ONNX_INT8, REPORT, TOKENIZER, describe_encoder, load_encoder
from fairtag.encoder.export import MAX_TEXTS, Export, _comparison_rows, _refusal, choose_export
from fairtag.encoder.model import TorchEncoder
from fairtag.encoder.onnx import OnnxEncoder, batches_by_length, pad
from fairtag.encoder.training import train_encoder
from fairtag.encoder.training_data import Pairs

TEXTS = ["red drill", "", "the new green chair with a mirror for my lamp", "\U0001f600", "电钻", "unknown words only"]


@pytest.fixture(scope="module")
def exported(config, judgements, items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "encoder"
    report = train_encoder(config(export="auto"), judgements, items, folder)
    return folder, report


@pytest.mark.slow
def test_the_fp32_graph_gives_torchs_rows_whatever_the_batch(exported):
    folder, _ = exported
    onnx = OnnxEncoder(folder, file="onnx/model.onnx")
    torch_rows = load_encoder(folder, backend="torch").encode(TEXTS, "item")
    np.testing.assert_allclose(onnx.encode(TEXTS, "item"), torch_rows, atol=1e-5)
    np.testing.assert_allclose(onnx.encode(TEXTS, "item", batch_size=1), torch_rows, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(torch_rows, axis=1), 1.0, atol=1e-5)
    assert onnx.encode([], "item").shape == (0, 32)


@pytest.mark.slow
def test_each_export_is_measured_and_the_choice_is_recorded(exported):
    folder, report = exported
    assert [export["name"] for export in report.exports] == ["torch", "fp32", "int8"]
    by_name = {export["name"]: export for export in report.exports}
    assert by_name["fp32"]["accepted"]
    assert by_name["fp32"]["mean_cosine"] > 0.9999
    assert by_name["int8"]["bytes"] < by_name["fp32"]["bytes"]
    document = json.loads((folder / DESCRIPTION).read_text())
    assert document["serving"] == report.serving != "torch"
    timed = [{**export, "milliseconds": None} for export in report.exports]
    assert [{**export, "milliseconds": None} for export in document["exports"]] == timed
    assert "milliseconds" not in (folder / DESCRIPTION).read_text()  # no two builds take the same time
    assert load_encoder(folder).dimension == 32


def lost(mean, deviation=0.0, queries=200):
    """nDCG lost on each query: half of them lose more than the mean, half less."""
    return mean + deviation * np.where(np.arange(queries) % 2, 1.0, -1.0)


def test_the_gate_refuses_a_graph_that_differs_or_ranks_worse():
    assert "cosine" in _refusal(0.989, lost(0.0), None)
    assert "cosine" in _refusal(float("nan"), lost(0.0), None)
    assert "nDCG" in _refusal(0.999, lost(0.01), None)
    assert _refusal(0.991, lost(0.004), None) == ""
    assert _refusal(0.991, None, None) == _refusal(0.991, lost(0.0, queries=0), 0.01) == ""


def test_the_gate_refuses_a_graph_that_gives_up_most_of_what_fine_tuning_gained():
    assert "fine-tuning gained" in _refusal(0.999, lost(0.003), 0.004)
    assert "fine-tuning gained" in _refusal(0.999, lost(0.003, deviation=0.02), 0.004)
    assert _refusal(0.999, lost(0.003, deviation=0.04), 0.004) == ""  # 0.003 +- 0.0028: chance may be all of it
    assert _refusal(0.999, lost(0.0019), 0.004) == ""
    assert _refusal(0.999, lost(0.004), -0.01) == ""  # what gained nothing has nothing to give up
    assert "0.005" in _refusal(0.999, lost(0.006), 0.1)


def test_the_smallest_accepted_export_is_chosen_whatever_its_time_and_torch_where_none_is():
    refused = Export("int8", 0.95, None, 1.0, 1, accepted=False, reason="cosine")
    large = Export("fp32", 1.0, None, 2.0, 4, accepted=True)
    whole = Export("torch", 1.0, None, None, 1, accepted=True)
    assert choose_export([whole, large, refused]) == "fp32"
    assert choose_export([whole, refused]) == choose_export([whole]) == choose_export([]) == "torch"
    for milliseconds in (0.1, 2.0, 9.0):  # no two builds take the same time, and all make the same model folder
        small = Export("int8", 1.0, None, milliseconds, 1, accepted=True)
        assert choose_export([whole, large, small]) == "int8"


@pytest.mark.slow
def test_export_fp32_leaves_eight_bits_out(config, judgements, items, tmp_path):
    report = train_encoder(config(export="fp32"), judgements, items, tmp_path / "e")
    assert [export["name"] for export in report.exports] == ["torch", "fp32"]
    assert report.serving == describe_encoder(tmp_path / "e").serving == "fp32"
    assert not (tmp_path / "e" / ONNX_INT8).exists()


@pytest.mark.slow
def test_a_model_that_cannot_be_exported_is_served_by_torch_and_says_why(exported, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError("no operator for this")

    monkeypatch.setattr(export_module, "quantise", refuse)
    folder, _ = exported
    shutil.copytree(folder, tmp_path / "e")
    model, description = TorchEncoder.load(folder).model, describe_encoder(folder)
    nothing = Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    tokens = [np.array([2, 5, 3])]
    ways = export_module.export_encoder(model, tmp_path / "e", description, tokens, nothing, time.perf_counter)
    assert [way.name for way in ways] == ["torch", "fp32", "int8"]
    assert ways[2].reason.endswith("no operator for this")
    assert choose_export(ways) == "fp32"  # what could be exported still serves
    monkeypatch.setattr(export_module, "_export_fp32", refuse)
    ways = export_module.export_encoder(model, tmp_path / "e", description, tokens, nothing, time.perf_counter)
    assert choose_export(ways) == "torch"


def test_without_a_text_to_compare_on_no_export_serves_and_the_report_says_why(config, tmp_path):
    report = train_encoder(config(tuning={"method": "none"}, export="auto"), None, None, tmp_path / "e")
    assert report.serving == "torch"
    assert [(way["name"], way["accepted"], way["mean_cosine"]) for way in report.exports[1:]] == [
        ("fp32", False, None),
        ("int8", False, None),
    ]
    assert all("no text" in way["reason"] for way in report.exports[1:])
    assert not (tmp_path / "e" / "onnx").exists()


@pytest.mark.slow
def test_texts_that_are_given_are_compared_on_and_not_learnt(config, tmp_path):
    report = train_encoder(
        config(tuning={"method": "none"}, export="auto"),
        None,
        None,
        tmp_path / "e",
        texts=[("item", text) for text in TEXTS],
    )
    assert report.serving != "torch"
    assert report.steps == 0
    assert all(way["mean_cosine"] > 0.9 for way in report.exports)


def test_texts_are_compared_from_the_first_to_the_last_when_there_are_more_than_enough():
    nothing = Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    rows = _comparison_rows([np.array([2, 3])] * 799, nothing)
    assert len(rows) == MAX_TEXTS
    assert rows[0] == 0
    assert rows[-1] == 798
    assert _comparison_rows([np.array([2, 3])] * 3, nothing).tolist() == [0, 1, 2]
    assert not len(_comparison_rows([], nothing))


@pytest.mark.slow
def test_the_same_inputs_make_the_same_encoder_folder(exported, config, judgements, items, tmp_path):
    folder, _ = exported
    train_encoder(config(export="auto"), judgements, items, tmp_path / "e")
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and file.name != REPORT]
    for file in files:
        assert (tmp_path / "e" / file).read_bytes() == (folder / file).read_bytes(), file


@pytest.mark.slow
def test_serving_needs_three_files_and_imports_neither_torch_nor_transformers(exported, tmp_path):
    folder, _ = exported
    for name in (DESCRIPTION, TOKENIZER, describe_encoder(folder).onnx_file):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    program = (
        "import sys, pathlib, json; from fairtag.encoder.encoder import load_encoder;"
        "rows = load_encoder(pathlib.Path(sys.argv[1]), backend='onnx').encode(['red drill'], 'query');"
        "print(json.dumps([sorted({'torch', 'transformers', 'peft'} & set(sys.modules)), rows.tolist()]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    modules, rows = json.loads(done.stdout)
    assert modules == []
    np.testing.assert_allclose(rows, load_encoder(folder).encode(["red drill"], "query"), atol=1e-6)


@pytest.mark.slow
def test_a_missing_file_another_schema_and_an_unknown_backend_are_refused(exported, tmp_path):
    folder, _ = exported
    (tmp_path / DESCRIPTION).write_text((folder / DESCRIPTION).read_text())
    with pytest.raises(ModelFolderMissing, match="missing"):
        load_encoder(tmp_path)
    with pytest.raises(ConfigError, match="tensorrt"):
        load_encoder(folder, backend="tensorrt")
    document = json.loads((folder / DESCRIPTION).read_text())
    (tmp_path / DESCRIPTION).write_text(json.dumps({**document, "serving": "torch"}))
    with pytest.raises(ConfigError, match="fidelity gate"):
        load_encoder(tmp_path, backend="onnx")
    (tmp_path / DESCRIPTION).write_text(json.dumps({**document, "schema": "other/2"}))
    with pytest.raises(ModelFolderError, match="train again"):
        describe_encoder(tmp_path)


def test_texts_are_batched_by_length_and_padded_with_the_mask_off():
    batches = list(batches_by_length([3, 9, 1, 9], 2))
    assert [batch.tolist() for batch in batches] == [[1, 3], [0, 2]]
    ids, mask = pad([[5, 6, 7], [8]], 1, multiple=4)
    assert ids.tolist() == [[5, 6, 7, 1], [8, 1, 1, 1]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


@pytest.mark.slow
def test_the_real_minilm_exports_within_the_gate_in_eight_bits_too_and_knows_a_drill(tmp_path, config):
    texts = ["power drill", "LED ceiling lamp, 12 W", "oak dining table for six", "garden hose 25 m", "lamp", "a"]
    settings = config(base={"name": "minilm", "max_length": 64}, tuning={"method": "none"}, export="auto")
    report = train_encoder(settings, None, None, tmp_path / "e", texts=[("item", text) for text in texts])
    by_name = {export["name"]: export for export in report.exports}
    assert by_name["fp32"]["mean_cosine"] > 0.9999
    assert by_name["int8"]["accepted"], by_name["int8"]["reason"]
    encoder = load_encoder(tmp_path / "e", backend="onnx")
    drill, cordless, fruit = encoder.encode(["power drill", "cordless 18 V drilling tool", "banana"], "query")
    assert drill @ cordless > drill @ fruit + 0.3
    whole = load_encoder(tmp_path / "e", backend="torch")
    small = OnnxEncoder(tmp_path / "e", file=ONNX_INT8).encode(texts, "item")
    assert (small * whole.encode(texts, "item")).sum(1).min() > 0.97
