"""`fairtag stop`: a running endpoint follows at once, and its undo gives the prices back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.policy.live_policy import FOLDER
from pipelines.cli import main
from serving.protocol.client import RestClient

SEARCH = {"query": "drill", "user_id": "hunter", "jurisdiction": "DE"}


def prices(page: dict[str, Any]) -> list[int]:
    return [item["price_minor"] for item in page["items"]]


def listed(page: dict[str, Any]) -> list[int]:
    return [item["list_price_minor"] for item in page["items"]]


def test_a_stop_puts_every_price_at_list_and_its_undo_gives_back_what_was_quoted(
    serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(policy_seconds=0.1) as running:
        policy = ["--store", str(running.run_dir / FOLDER), "--url", running.http]
        before = running.page()
        assert before["policy_version"] == 0
        assert prices(before) < listed(before)
        assert main(["stop", *policy, "--why", "costs are wrong", "--who", "ada"]) == 0
        stopped = running.page()
        assert (stopped["policy_version"], stopped["degraded"]) == (1, "stopped")
        assert prices(stopped) == listed(stopped), "what was quoted before is not shown again"
        guest = running.page(query="drill")
        assert prices(guest) == listed(guest)
        item = before["items"][0]
        with RestClient(running.http) as client:
            honoured = client.verify(before["quote"], item["item_id"], user_id="hunter")
            assert honoured["price_minor"] == item["price_minor"], "a signed quote is honoured"
        assert running.assembly.metrics.registry.get_sample_value("fairtag_policy_at_list") == 1
        assert main(["stop", *policy, "--undo", "--why", "costs are right"]) == 0
        after = running.page()
        assert (prices(after), after["policy_version"], after["degraded"]) == (prices(before), 2, None)
        assert main(["stop", *policy[:2], "--history"]) == 0
    shown = capsys.readouterr().out
    assert "follows it after" in shown
    assert all(word in shown for word in ("ada", "costs are wrong", "everything at list price", "undoes 1"))
    log = pd.concat(pd.read_parquet(file) for file in (running.run_dir / "quotes").rglob("*.parquet"))
    assert set(log[schema.POLICY_VERSION]) == {0, 1, 2}


def test_personal_prices_go_off_alone_and_locked_personal_prices_with_them(serve: Callable[..., Any]) -> None:
    with serve(policy_seconds=0.1) as running:
        personal = running.page()
        assert personal["personalised"]
        policy = ["--store", str(running.run_dir / FOLDER), "--url", running.http]
        assert main(["stop", *policy, "--personal", "--why", "a gap between groups"]) == 0
        plain = running.page()
    assert prices(plain) != listed(plain), "prices stay learned"
    locked = {item["item_id"]: item["price_minor"] for item in personal["items"]}
    assert all(item["price_minor"] != locked[item["item_id"]] for item in plain["items"])


def test_versions_that_cannot_be_trusted_stop_everything(serve: Callable[..., Any], until: Callable[..., None]) -> None:
    with serve(policy_seconds=0.05) as running:
        folder = running.run_dir / FOLDER
        folder.mkdir(parents=True)
        (folder / "000001.json").write_text("{}")
        until(lambda: running.page()["degraded"] == "stopped")


def test_a_stop_without_a_reason_or_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", str(tmp_path / "nowhere"), "--why", "x"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert main(["stop", str(tmp_path)]) == 2
    assert "--why is missing" in capsys.readouterr().err
