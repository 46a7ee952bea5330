"""Fine-tuning: it learns, it repeats, it goes on after a kill, it stops where it must."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model, XLMRobertaConfig, XLMRobertaModel

from fairtag.base import schema
from fairtag.base.errors import ConfigError, ModelFolderMissing, NonFiniteLoss
from fairtag.encoder.encoder import HEADS, MODEL, REPORT, describe_encoder, load_encoder
from fairtag.encoder.model import TorchEncoder
from fairtag.encoder.training import train_encoder


def weights(folder):
    return {**load_file(folder / MODEL / "model.safetensors"), **load_file(folder / HEADS)}


def assert_equal_weights(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.slow
def test_training_beats_the_untuned_encoder_on_queries_and_prices_it_has_not_seen(
    config, judgements, items, impressions, tmp_path
):
    told = []
    settings = config(
        schedule={"max_steps": 150, "epochs": 50},
        validation={"every": 25},
        batch={"queries": 8},
        objective={"click_weight": 0.05},
    )
    report = train_encoder(settings, judgements, items, tmp_path / "e", impressions=impressions, progress=told.append)
    first, best = report.evaluations[0], min(report.evaluations, key=lambda row: row["cosine_rmse"])
    assert best["ndcg10"] > first["ndcg10"] + 0.03
    assert best["cosine_rmse"] < 0.9 * first["cosine_rmse"]
    assert best["relevance_rmse"] < 0.8 * first["relevance_rmse"]
    assert best["price_rmsle"] < first["price_rmsle"]
    assert [step.step for step in told] == list(range(1, 151))
    assert told[-1].seconds_left == 0.0
    assert told[20].tokens_per_second > 0
    assert {"loss", "contrastive", "graded", "price", "click"} <= told[0].losses.keys()
    saved = json.loads((tmp_path / "e" / REPORT).read_text())
    assert saved["best_step"] == report.best_step == int(best["step"])
    assert len(saved["losses"]) >= 30
    assert {name.split(".")[1] for name in load_file(tmp_path / "e" / HEADS)} == {"relevance", "price", "click"}
    encoder = load_encoder(tmp_path / "e", backend="auto")
    same, other = encoder.encode(["red drill", "blue lamp"], "item") @ encoder.encode(["a drill red"], "query")[0]
    assert same > other


def test_the_same_seed_gives_the_same_weights_and_another_does_not(config, judgements, items, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_encoder(config(schedule={"max_steps": 3}, seed=seed), judgements, items, tmp_path / name)
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.slow
def test_a_run_killed_in_the_middle_and_resumed_ends_with_the_same_weights(
    method, start_script, config, judgements, items, tmp_path
):
    settings = config(
        tuning={"method": method},
        schedule={"max_steps": 9, "checkpoint_every": 2},
        validation={"every": 3},
        batch={"augment": 0.2},
    )
    judgements.to_parquet(tmp_path / "j.parquet")
    items.to_parquet(tmp_path / "i.parquet")
    (tmp_path / "config.json").write_text(json.dumps(settings.as_json()))
    program = """
        import json, os, pathlib, signal, sys
        import pandas, torch
        from fairtag.encoder.config import EncoderConfig
        from fairtag.encoder.training import train_encoder
        torch.set_num_threads(1)
        folder = pathlib.Path(sys.argv[1])
        config = EncoderConfig.from_json((folder / "config.json").read_text())
        def kill(now):
            if now.step == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        judgements, items = pandas.read_parquet(folder / "j.parquet"), pandas.read_parquet(folder / "i.parquet")
        train_encoder(config, judgements, items, folder / "killed", progress=kill)
    """
    code, output = start_script(program, tmp_path).wait()
    assert code == -9, output
    assert not (tmp_path / "killed").exists()
    steps = []
    resumed = train_encoder(
        settings, judgements, items, tmp_path / "killed", progress=lambda now: steps.append(now.step)
    )
    assert steps == [5, 6, 7, 8, 9]  # the checkpoint of step 4 was the last whole one
    whole = train_encoder(settings, judgements, items, tmp_path / "whole")
    assert_equal_weights(tmp_path / "killed", tmp_path / "whole")
    assert resumed.losses == whole.losses
    assert resumed.evaluations == whole.evaluations
    assert list(tmp_path.glob(".*.training")) == []


def test_a_checkpoint_of_other_settings_or_data_is_not_resumed(config, judgements, items, tmp_path):
    def stop(now):
        if now.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(config(schedule={"checkpoint_every": 1}), judgements, items, tmp_path / "e", progress=stop)
    steps = []
    train_encoder(
        config(schedule={"checkpoint_every": 1}, seed=5),
        judgements,
        items,
        tmp_path / "e",
        progress=lambda now: steps.append(now.step),
    )
    assert steps[0] == 1


@pytest.mark.slow
def test_adapters_are_merged_so_that_what_ships_loads_without_them(
    start_script, config, judgements, items, tmp_path, tiny_base
):
    report = train_encoder(config(tuning={"method": "lora", "lora_rank": 2}), judgements, items, tmp_path / "e")
    assert report.trained_parameters < sum(value.size for value in weights(tmp_path / "e").values())
    names = weights(tmp_path / "e").keys()
    assert not [name for name in names if "lora" in name]
    program = (
        "import sys, pathlib; from fairtag.encoder.model import TorchEncoder; import torch; torch.set_num_threads(1);"
        "print(TorchEncoder.load(pathlib.Path(sys.argv[1])).encode(['red drill'], 'query').round(5).tolist());"
    )
    code, output = start_script(program, tmp_path / "e").wait()
    assert code == 0, output
    fresh = np.array(json.loads(output.splitlines()[-1]))
    base = TorchEncoder.base(str(tiny_base), max_length=12).encode(["red drill"], "query")
    assert np.abs(fresh - base).max() > 1e-3  # the adapters' change is in the weights


def test_patience_stops_early_and_the_best_weights_are_kept(config, judgements, items, tmp_path):
    settings = config(
        schedule={"max_steps": 40},
        validation={"every": 1, "patience": 2},
        optimiser={"learning_rate": 1e-9, "head_learning_rate": 1e-9},
    )
    report = train_encoder(settings, judgements, items, tmp_path / "e")
    assert report.stopped_early
    assert report.steps < 40


def test_a_loss_that_is_not_finite_stops_the_run_with_the_step_and_the_fix(config, judgements, items, tmp_path):
    with pytest.raises(NonFiniteLoss, match=r"step \d of 6.*lower encoder.optimiser.learning_rate"):
        train_encoder(
            config(optimiser={"learning_rate": 1e30, "head_learning_rate": 1e30}), judgements, items, tmp_path / "e"
        )
    assert not (tmp_path / "e").exists()


def test_bf16_and_recomputed_activations_train_too(config, judgements, items, tmp_path):
    plain = train_encoder(config(), judgements, items, tmp_path / "a")
    low = train_encoder(
        config(hardware={"precision": "bf16", "gradient_checkpointing": True}), judgements, items, tmp_path / "b"
    )
    assert low.precision == "bf16"
    assert low.losses[-1]["loss"] == pytest.approx(plain.losses[-1]["loss"], rel=0.1)


def test_recomputed_activations_change_memory_not_the_result(config, judgements, items, tmp_path):
    train_encoder(config(schedule={"max_steps": 3}), judgements, items, tmp_path / "a")
    train_encoder(
        config(schedule={"max_steps": 3}, hardware={"gradient_checkpointing": True}), judgements, items, tmp_path / "b"
    )
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, atol=1e-5, err_msg=name)


def test_method_none_ships_the_base_as_it_is(config, judgements, tmp_path, tiny_base):
    report = train_encoder(config(tuning={"method": "none"}), None, None, tmp_path / "e")
    assert report.steps == 0
    texts = ["red drill", "", "blue lamp for the chair"]
    np.testing.assert_allclose(
        load_encoder(tmp_path / "e", backend="torch").encode(texts, "item"),
        TorchEncoder.base(str(tiny_base), max_length=12).encode(texts, "item"),
        atol=1e-6,
    )


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_other_poolings_ignore_padding(pooling, config, tmp_path):
    train_encoder(config(tuning={"method": "none"}, base={"pooling": pooling}), None, None, tmp_path / "e")
    encoder = load_encoder(tmp_path / "e", backend="torch")
    together = encoder.encode(["red drill", "the new green chair with a mirror"], "query")
    np.testing.assert_allclose(together[0], encoder.encode(["red drill"], "query")[0], atol=1e-6)
    assert describe_encoder(tmp_path / "e").pooling == pooling


def test_a_model_that_is_nowhere_says_what_to_do(config, judgements, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"'minilm', which needs no network.*hf download nobody/nothing"):
        train_encoder(config(base={"name": "nobody/nothing"}), judgements, None, tmp_path / "e")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_read(config, judgements, tmp_path):
    with pytest.raises(ConfigError, match="CUDA"):
        train_encoder(config(hardware={"device": "cuda"}), judgements, None, tmp_path / "e")


def test_an_empty_folder_is_no_encoder(tmp_path):
    with pytest.raises(ModelFolderMissing, match="train_encoder"):
        load_encoder(tmp_path)


def test_judgements_of_one_row_do_not_break_the_loop(config, tmp_path):
    names = [schema.QUERY, schema.ITEM_ID, schema.TITLE, schema.RELEVANCE]
    one = pd.DataFrame([("drill", "1", "red drill", 1.0)], columns=names)
    report = train_encoder(
        config(schedule={"max_steps": 2}, validation={"holdout_share": 0.0}), one, None, tmp_path / "e"
    )
    assert report.steps in (1, 2)


def other_family(tiny_base, folder, make):
    """A tiny random encoder of another family under the tiny tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    torch.manual_seed(0)
    make(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.slow
def test_a_decoder_of_the_qwen_class_is_tuned_by_its_last_token_and_exported(
    method, config, judgements, items, tmp_path, tiny_base
):
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    base = other_family(
        tiny_base,
        tmp_path / "base",
        lambda size: Qwen3Model(Qwen3Config(vocab_size=size, num_key_value_heads=1, head_dim=16, **small)),
    )
    settings = config(
        base={"name": base, "pooling": "last"},
        tuning={"method": method, "lora_rank": 2},
        schedule={"max_steps": 3},
        export="auto",
    )
    report = train_encoder(settings, judgements, items, tmp_path / "e")
    assert report.serving != "torch"
    encoder = load_encoder(tmp_path / "e", backend="torch")
    together = encoder.encode(["red drill", "a premium red drill for my lamp"], "query", batch_size=2)
    np.testing.assert_allclose(
        together[0], encoder.encode(["red drill"], "query")[0], atol=1e-6
    )  # padding is not the last token


def test_an_enormous_text_fits_an_encoder_whose_positions_begin_behind_the_padding(config, tmp_path, tiny_base):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    base = other_family(
        tiny_base,
        tmp_path / "base",
        lambda size: XLMRobertaModel(
            XLMRobertaConfig(vocab_size=size, pad_token_id=0, max_position_embeddings=24, **small)
        ),
    )
    train_encoder(
        config(base={"name": base, "max_length": 8192}, tuning={"method": "none"}), None, None, tmp_path / "e"
    )
    encoder = load_encoder(tmp_path / "e")
    assert describe_encoder(tmp_path / "e").max_length == 23
    long, longer = encoder.encode(["red drill " * 30, "red drill " * 300], "query")
    np.testing.assert_array_equal(long, longer)
