"""What is broken, absent or wrongly asked for ends with 3 or a clear error, and never with a pass."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import Shocks
from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.base.files import read_json, write_json
from fairtag.base.types import Status
from fairtag.encoder.encoder import DESCRIPTION
from fairtag.encoder.encoder import SCHEMA as ENCODER_SCHEMA
from fairtag.model.manifest import write_manifest
from fairtag.profile.builder import build_profile
from monitoring import __main__ as cli
from monitoring.__main__ import main, parse_length
from monitoring.job_report import read_report


def bad_empty(shop):
    return shop.log(start=pd.Timestamp("2025-06-01", tz="UTC"))[0]


def bad_half_file(shop):
    quotes, _ = shop.log()
    whole = (quotes / "day.parquet").read_bytes()
    (quotes / "day.parquet").write_bytes(whole[: len(whole) // 2])
    return quotes


def bad_one_half_file_of_two(shop):
    quotes, _ = shop.log()
    whole = (quotes / "day.parquet").read_bytes()
    (quotes / "other.parquet").write_bytes(whole[: len(whole) // 2])
    return quotes


def changed(change):
    def build(shop):
        frame, _ = shop.stream.draw(shop.day, 24, 2_000)
        return shop.write(change(frame), "changed")

    return build


def _future(frame):
    moved = frame.copy()
    moved.loc[:20, schema.TS] = pd.Timestamp("2099-01-01", tz="UTC")
    return moved


def _late(frame):
    return pd.concat([frame.iloc[200:], frame.iloc[:200]])


def _category(frame):
    moved = frame.copy()
    moved.loc[:79, schema.CATEGORY] = "brand new"
    return moved


BAD = {
    "an empty window": (bad_empty, {3}),
    "half a parquet file": (bad_half_file, {3}),
    "one half file of two": (bad_one_half_file_of_two, {3}),
    "all nulls": (changed(lambda frame: frame.assign(similarity=np.nan)), {3}),
    "a new category": (changed(_category), {3}),
    "clock skew": (changed(_future), {3}),
    "duplicates": (changed(lambda frame: pd.concat([frame, frame.head(50)])), {1}),
    "late quotes": (changed(_late), {1}),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.slow
def test_bad_input_is_never_a_pass(shop, tmp_path, name):
    build, codes = BAD[name]
    assert main(shop.options(build(shop), tmp_path / "out")) in codes


def test_a_model_folder_without_a_profile_is_refused_with_the_fix(shop, tmp_path, capsys):
    model_folder = tmp_path / "model_folder"
    model_folder.mkdir()
    write_manifest(model_folder, {})
    quotes, _ = shop.log()
    options = shop.options(quotes, tmp_path / "out")
    options[options.index("--model-folder") + 1] = str(model_folder)
    assert main(options) == 3
    assert "no reference profile; train it again" in capsys.readouterr().err


def test_an_encoder_without_onnx_where_torch_is_absent_ends_with_3_and_the_fix(shop, tmp_path, capsys, monkeypatch):
    quotes, _ = shop.log(pages=500)
    training, _ = shop.stream.draw(shop.day, 24, 500)
    profile, drawn = tmp_path / "profile", np.random.default_rng(0).normal(size=(60, 8))
    build_profile(pd.DataFrame(), training, drawn).save(profile)
    names = ("base", "dimension", "max_length", "pooling", "pad_token_id", "fingerprint", "query_prefix", "item_prefix")
    description = {"schema": ENCODER_SCHEMA, "serving": "torch", **dict.fromkeys(names, ""), "pooling": "mean"}
    write_json(profile / "encoder" / DESCRIPTION, description)
    monkeypatch.delitem(sys.modules, "fairtag.encoder.model", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    options = shop.options(quotes, tmp_path / "out")
    options[options.index("--model-folder") + 1] = str(profile)
    assert main(options) == 3
    said = capsys.readouterr().err
    assert "needs torch, which is not installed here; train it with the encoder setting export: auto" in said
    assert "Traceback" not in said


def test_in_all_a_job_that_cannot_run_does_not_silence_the_others(shop, tmp_path):
    quotes, _ = shop.log(Shocks(price_shift=0.1))
    options = shop.fairness(quotes, tmp_path / "out")
    options[options.index("--audit") + 1] = str(tmp_path / "absent.parquet")
    assert main(["all", *options[1:]]) == 2
    assert read_report(tmp_path / "out" / "fairness.json").status is Status.UNKNOWN
    assert read_report(tmp_path / "out" / "drift.json").status is Status.URGENT


@pytest.mark.parametrize("arguments", [[], ["drift"], ["nonsense"], ["drift", "--quotes"]])
def test_a_wrong_command_line_ends_with_3_and_never_with_a_result(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 3


@pytest.mark.parametrize("option", [("--window", "soon"), ("--window", "0h"), ("--end", "yesterday")])
def test_times_that_cannot_be_read_end_with_3(shop, tmp_path, option):
    quotes, _ = shop.log(pages=50)
    assert main([*shop.options(quotes, tmp_path / "out"), *option]) == 3


def test_an_unexpected_error_ends_with_3(shop, tmp_path, monkeypatch):
    quotes, _ = shop.log(pages=50)
    monkeypatch.setattr(cli.runner, "run_jobs", lambda *_: 1 / 0)
    assert main(shop.options(quotes, tmp_path / "out")) == 3


def test_lengths_are_read():
    assert parse_length("90m").total_seconds() == 5400
    assert parse_length("2w").days == 14
    with pytest.raises(ConfigError, match="7d"):
        parse_length("-1h")


def test_a_report_that_was_altered_is_refused(shop, tmp_path):
    quotes, _ = shop.log(Shocks(price_shift=0.1))
    main(shop.options(quotes, tmp_path / "out"))
    document = read_json(tmp_path / "out" / "drift.json")
    write_json(tmp_path / "forged.json", {**document, "status": "pass"})
    with pytest.raises(DataError, match="altered"):
        read_report(tmp_path / "forged.json")
