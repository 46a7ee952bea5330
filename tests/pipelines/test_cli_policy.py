"""``fairtag policy preview`` over a fitted model: the hold-out or the quotes, in 80 columns; nothing is kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairtag.base.tables import write_tables
from fairtag.model.pricing_model import load_pricing_model
from fairtag.page.priced_page import PageInputs
from fairtag.page.pricing import price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.context import UserContext
from pipelines.cli import main
from pipelines.policy_store import policy_store
from pipelines.run_folder import RunFolder

Preview = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, model_folder: Path, market: Any, joined: pd.DataFrame) -> RunFolder:
    """A run whose model is live, with its tables and its training set."""
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(model_folder, folder.live)
    write_tables(market.tables, folder.tables)
    folder.training_set.parent.mkdir(parents=True, exist_ok=True)
    joined.to_parquet(folder.training_set)
    return folder


@pytest.fixture
def preview(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Preview:
    """Previews a policy; gives what was printed."""

    def call(text: str, *options: str, status: int = 0) -> str:
        (tmp_path / "policy.yaml").write_text(text)
        assert main(["policy", "preview", str(tmp_path / "policy.yaml"), str(run.root), *options]) == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return call


def figure(text: str, name: str) -> float:
    """The first percentage of a row of the table."""
    found = re.search(rf"{name} .*?([-+]?[\d.]+)%", text)
    assert found, text
    return float(found[1])


def test_a_preview_of_no_discount_shows_what_it_costs_and_keeps_nothing(preview: Preview, run: RunFolder) -> None:
    said = preview("limits: {max_discount: 0.0}\n", "--pages", "60")
    assert "60 held-out pages, as on" in said
    assert figure(said, "prices that change") > 0
    below = next(line for line in said.splitlines() if "prices below list" in line)
    now, then = map(float, re.findall(r"([\d.]+)%", below))
    assert then < now, "fewer lie below list: those at the end of their corridor do"
    assert "Items that lose most" in said
    assert "USD" in said
    assert max(map(len, said.splitlines())) <= 80
    assert policy_store(run.root, None).newest() == 0


def test_a_preview_of_what_holds_changes_nothing(preview: Preview) -> None:
    said = preview("{}\n", "--pages", "60")
    assert figure(said, "prices that change") == 0.0
    assert "Items that lose most" not in said


def test_a_pin_counts_on_its_days_alone(preview: Preview, market: Any) -> None:
    item = load_item(market)
    text = f"pins: [{{item: '{item}', price: 9.99, starts: 2030-01-01, ends: 2030-01-31}}]\n"
    assert figure(preview(text, "--on", "2030-01-15"), "prices that change") > 0
    assert figure(preview(text, "--on", "2030-03-01"), "prices that change") == 0.0


def load_item(market: Any) -> str:
    """The item that is on most held-out pages."""
    shown = market.tables.impressions
    return str(shown["item_id"].value_counts().index[0])


def test_a_preview_of_what_was_quoted_reads_the_run_s_own_log(preview: Preview, run: RunFolder) -> None:
    assert "nobody was quoted since" in preview("limits: {max_discount: 0.0}\n", "--days", "3", status=3)
    model, moment = load_pricing_model(run.live), datetime.now(UTC) - timedelta(days=2)
    inputs = PageInputs(np.arange(8), None, UserContext(), model.policy.epoch_of(moment.timestamp()))
    records = [quote_record(price_page(model, inputs), quote_id="q1", ts=int(moment.timestamp() * 1e6), task="price")]
    quotes = run.serving / "quotes"
    quotes.mkdir(parents=True)
    quote_frame(records).to_parquet(
        quotes / f"quotes-{moment:%Y%m%dT%H%M%S}-a.parquet", index=False, coerce_timestamps="us"
    )
    assert "1 pages quoted in the last 3 days" in preview("limits: {max_discount: 0.0}\n", "--days", "3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limits: {max_discount: 7}\n", "max_discount"),
        ("limit: {}\n", "limit"),
        ("currency: EUR\n", "currency"),
        ("[", "YAML"),
    ],
)
def test_what_is_no_policy_for_this_model_is_refused_with_its_field(preview: Preview, text: str, words: str) -> None:
    assert words in preview(text, status=2)
