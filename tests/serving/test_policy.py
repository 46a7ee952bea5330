"""A running endpoint with a fitted model follows an applied policy file; each quote and the log say its version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from fairtag.base import schema
from pipelines.cli import main
from serving.page.core import ModelCore

SEARCH = {"query": "oak bookcase", "page_size": 8}


def test_an_applied_policy_is_followed_and_taken_back(
    serve: Callable[..., Any], model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    file, core = tmp_path / "policy.yaml", ModelCore.load(model_folder, 1)
    with serve(policy_seconds=0.1, core=core) as running:
        before = running.page(**SEARCH)
        pinned, excluded = (item["item_id"] for item in before["items"][:2])
        lowest = min(item["price_minor"] for item in before["items"])
        file.write_text(
            f"pins: [{{item: {pinned}, price: {lowest / 1000}}}]\nexclusions: {{items: [{excluded}]}}\n"
            "limits: {max_discount: 0.1}\n"
        )
        store = ["--store", str(tmp_path / "run" / "policy"), "--model", str(model_folder)]
        assert main(["policy", "check", str(file), *store]) == 0
        assert main(["policy", "apply", str(file), *store, "--why", "a test", "--url", running.http]) == 0
        after = running.page(**SEARCH, user_id="somebody-new", jurisdiction="US-NY")
        items = {item["item_id"]: item for item in after["items"]}
        assert after["policy_version"] == 1
        assert items[pinned]["reasons"][0] == "PINNED"
        assert items[excluded]["reasons"] == ["EXCLUDED"]
        assert running.assembly.metrics.registry.get_sample_value("fairtag_policy_age_seconds") < 30
        file.write_text("limits: {max_discount: 0.5}\n")
        assert main(["policy", "apply", str(file), *store, "--why", "more"]) == 5
        assert main(["policy", "undo", *store, "--why", "back", "--url", running.http]) == 0
        assert running.page(**SEARCH, user_id="another")["policy_version"] == 2
    shown = capsys.readouterr()
    assert "allows more than was evaluated (limits.max_discount: 0.3 -> 0.5)" in shown.err
    assert "narrows  limits.max_discount: 0.3 -> 0.1" in shown.out
    log = pd.concat(pd.read_parquet(path) for path in (running.run_dir / "quotes").rglob("*.parquet"))
    assert set(log[schema.POLICY_VERSION]) == {0, 1, 2}
