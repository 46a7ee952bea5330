"""Files are brought whole from any store, and what cannot be had ends with 3."""

import fsspec
import pytest

from fairtag.base.errors import MissingDataError, UnavailableError
from monitoring.fetch import fetch, main


@pytest.fixture
def store():
    memory = fsspec.filesystem("memory")
    memory.pipe(
        {"/fetch/model_folder/a.json": b"{}", "/fetch/model_folder/deep/b.npy": b"12", "/fetch/one.parquet": b"x"}
    )
    yield memory
    memory.rm("/fetch", recursive=True)


def test_a_folder_comes_with_all_below_it(store, tmp_path):
    assert fetch("memory://fetch/model_folder", tmp_path / "model_folder") == 2
    assert (tmp_path / "model_folder" / "deep" / "b.npy").read_bytes() == b"12"


def test_a_file_takes_the_name_it_is_given(store, tmp_path):
    assert main([f"memory://fetch/one.parquet={tmp_path / 'audit' / 'groups.parquet'}"]) == 0
    assert (tmp_path / "audit" / "groups.parquet").read_bytes() == b"x"


def test_nothing_at_the_url_is_an_error(tmp_path):
    with pytest.raises(MissingDataError, match="nothing is stored"):
        fetch(str(tmp_path / "absent"), tmp_path / "out")


def test_a_store_nobody_knows_is_an_error(tmp_path):
    with pytest.raises(UnavailableError, match="nosuch"):
        fetch("nosuch://bucket/key", tmp_path / "out")


def test_what_is_not_there_yet_is_said_and_left_to_the_job(store, tmp_path, capsys):
    pairs = [f"memory://fetch/absent={tmp_path / 'tables'}", f"$(STORAGE_URI)={tmp_path / 'model'}"]
    assert main([*pairs, f"memory://fetch/one.parquet={tmp_path / 'one'}"]) == 0
    said = capsys.readouterr().out
    assert "memory://fetch/absent: nothing is stored at this address" in said
    assert "$(STORAGE_URI) is not set yet" in said
    assert [each.name for each in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("pair", ["no-mark", "=path", "url="])
def test_a_pair_that_cannot_be_read_ends_with_3(pair, capsys):
    assert main([pair]) == 3
    assert "URL=PATH" in capsys.readouterr().err
