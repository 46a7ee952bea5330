"""Keys rotate in two phases by command, and a running endpoint follows without a restart."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairtag.base.errors import ConfigError, QuoteKeyUnknown
from fairtag.base.pseudonym import read_secret, read_secrets
from serving.key_rotation import KeyFile, Kind, key_file, old_key_seconds
from serving.keys import parse_quote_keys, quote_keys, user_keys
from serving.page.quotes import QuoteBook
from serving.protocol.client import RestClient
from serving.settings import KeySettings, ServingSettings

LATER = 10**6


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Of an endpoint that has made its keys."""
    settings = ServingSettings(model_folder=tmp_path, run_dir=tmp_path / "run")
    quote_keys(settings, settings.run_dir)
    user_keys(settings, settings.run_dir)
    (settings.run_dir / "secrets" / "api_keys").write_text("first\n")
    return settings.run_dir


def file_of(kind: Kind, run_dir: Path, age: float = LATER) -> KeyFile:
    file = key_file(kind, run_dir, KeySettings(), run_dir / "secrets" / "api_keys")
    return KeyFile(kind, file.path, clock=lambda: time.time() + age)


def test_a_quote_key_is_distributed_then_activated_then_the_old_one_retired(run_dir: Path) -> None:
    file = file_of(Kind.QUOTE, run_dir)
    book = QuoteBook(parse_quote_keys(file.path.read_text(), ""), lifetime=900, skew=30)

    def again() -> QuoteBook:
        return QuoteBook(parse_quote_keys(file.path.read_text(), ""), lifetime=900, skew=30)

    def signed(by: QuoteBook) -> str:
        return by.sign("q", "anna", {"a": 1}, currency="EUR", model_version="m", now=time.time())

    old = signed(book)
    name = file.distribute()
    assert [(key.name, key.active) for key in file.states()] == [("k1", True), (name, False)]
    distributed = again()
    assert file.activate(20.0) == name
    activated = again()
    assert distributed.verify(signed(activated), item_id="a", user_id="anna"), "a replica that has not followed yet"
    assert activated.verify(old, item_id="a", user_id="anna"), "a quote in a customer's hands"
    assert file.retire(930.0) == ["k1"]
    with pytest.raises(QuoteKeyUnknown):
        again().verify(old, item_id="a", user_id="anna")
    assert again().verify(signed(activated), item_id="a", user_id="anna")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_user_key_is_distributed_then_activated_then_the_old_one_retired(run_dir: Path) -> None:
    file = file_of(Kind.USER, run_dir)
    old = read_secret(file.path)
    file.distribute()
    assert read_secret(file.path) == old
    new = read_secrets(file.path)[1]
    file.activate(20.0)
    assert read_secrets(file.path) == (new, old)
    assert file.retire(86_400.0) == ["line 2"]
    assert read_secrets(file.path) == (new,)


def test_an_api_key_is_added_and_the_oldest_dropped(run_dir: Path) -> None:
    file = file_of(Kind.API, run_dir)
    new = file.distribute()
    assert file.path.read_text().split() == ["first", new]
    with pytest.raises(ConfigError, match="need no activation"):
        file.activate(0.0)
    assert file.retire(0.0) == ["line 1"]
    assert file.path.read_text().split() == [new]
    with pytest.raises(ConfigError, match="nothing to retire"):
        file.retire(0.0)


def test_each_phase_waits_for_the_one_before_and_force_does_not(run_dir: Path) -> None:
    file = file_of(Kind.QUOTE, run_dir, age=0.0)
    with pytest.raises(ConfigError, match="there is no new key"):
        file.activate(0.0)
    file.distribute()
    with pytest.raises(ConfigError, match="is not in use yet"):
        file.retire(0.0)
    with pytest.raises(ConfigError, match=r"wait (19|20) s more, so that every replica knows"):
        file.activate(20.0)
    file.activate(0.0)
    with pytest.raises(ConfigError, match=r"wait 9[23]\d s more, so that what the old key signed"):
        file.retire(old_key_seconds(Kind.QUOTE))
    assert file.retire(0.0) == ["k1"]


def test_what_cannot_be_rotated_is_said(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in the environment"):
        key_file(Kind.USER, run_dir, KeySettings(user_key="00" * 32))
    with pytest.raises(ConfigError, match="FAIRTAG_API_KEYS_FILE"):
        key_file(Kind.API, run_dir, KeySettings())
    with pytest.raises(ConfigError, match="there is no file of quote keys"):
        key_file(Kind.QUOTE, tmp_path / "nowhere", KeySettings())
    file_of(Kind.QUOTE, run_dir).path.write_text("{}")
    with pytest.raises(ConfigError, match="must be JSON"):
        file_of(Kind.QUOTE, run_dir).distribute()


def test_the_command_walks_through_a_rotation(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli import main

    run = run_dir.parent / "whole"
    (run / "serving").parent.mkdir()
    run_dir.rename(run / "serving")
    for words in (["distribute", "quote"], ["activate", "quote", "--force"], ["retire", "quote", "--force"], ["show"]):
        assert main(["keys", *words, "--run", str(run)]) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "retired k1" in said
    assert "(in use)" in said
    secret = json.loads((run / "serving" / "secrets" / "quote_keys.json").read_text())["keys"]
    assert not any(hex_ in said for hex_ in secret.values())
    assert main(["keys", "retire", "quote", "--run", str(run)]) == 2
    assert main(["keys", "retire", "house", "--run", str(run)]) == 2


def test_a_running_endpoint_follows_its_key_files(
    serve: Callable[..., Any], tmp_path: Path, until: Callable[..., None]
) -> None:
    folder = tmp_path / "run" / "secrets"
    folder.mkdir(parents=True)
    files = {"quote_keys_file": folder / "quote_keys.json", "user_key_file": folder / "user_key"}
    files["api_keys_file"] = folder / "api_keys"
    files["quote_keys_file"].write_text(json.dumps({"active": "k1", "keys": {"k1": "01" * 32}}))
    files["user_key_file"].write_text("02" * 32)
    files["api_keys_file"].write_text("first")
    ask = {"instances": [{"task": "price", "item_ids": ["item-010"], "user_id": "hunter", "jurisdiction": "DE"}]}
    with serve(user_key=None, quote_keys=None, key_check_seconds=0.05, **files) as running:

        def page(key: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"}
            return httpx.post(f"{running.http}/v1/models/fairtag:predict", json=ask, headers=headers)

        def signer() -> str:
            return running.assembly.book.keys.active

        first = page("first").json()["predictions"][0]
        for kind in (Kind.QUOTE, Kind.USER):
            file = KeyFile(kind, files[f"{kind}_keys_file" if kind is Kind.QUOTE else "user_key_file"])
            file.distribute()
            file.activate(0.0)
        new = KeyFile(Kind.API, files["api_keys_file"]).distribute()
        until(lambda: signer() != "k1")
        until(lambda: page(new).status_code == 200)
        again = page(new).json()["predictions"][0]
        assert page("first").status_code == 200
        assert again["items"][0]["price_minor"] == first["items"][0]["price_minor"], "found under the old user key"
        assert running.assembly.metrics.ignored.collect()[0].samples == []
        with RestClient(running.http, api_key=new) as client:
            assert client.verify(first["quote"], "item-010", user_id="hunter")
        KeyFile(Kind.API, files["api_keys_file"]).retire(0.0)
        until(lambda: page("first").status_code == 401)
        files["quote_keys_file"].write_text("no keys at all")
        os.utime(files["quote_keys_file"], (1, 1))
        time.sleep(0.2)
        assert page(new).status_code == 200, "keys that cannot be read leave the old ones in use"
