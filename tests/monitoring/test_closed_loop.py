"""The whole loop, once: demand moves, monitoring pages, the trigger retrains; a worse model is refused.

A small simulated shop is the world: its customers answer quoted pages by planted demand, and become twice as sensitive
to price while nobody touches the model. Every part is the real one: KFP's local runner, the registry, the endpoint.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.files import read_json
from fairtag.base.pseudonym import read_secret
from fairtag.base.tables import write_tables
from fairtag.base.types import Status
from fairtag.model.decision import read_decision
from fairtag.model.manifest import read_manifest
from fairtag.simulator.outcomes import simulated_outcomes
from fairtag.simulator.simulation import Effects, ShopDesign, ShopSize, SimulatedShop, simulate_shop
from monitoring.__main__ import main
from monitoring.detect.window import LogReader, Window
from monitoring.job_report import read_report
from monitoring.trigger.ledger import Ledger
from monitoring.trigger.trigger import LEDGER
from pipelines.endpoint import MODEL, serve
from pipelines.run_folder import RunFolder
from pipelines.traffic import held_out_requests, replay
from serving.protocol.client import RestClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3_600),  # three pipelines of nine processes each, on a machine that may be busy
]
SIZE = ShopSize(items=200, users=400, impressions=36_000, page_size=12, wishes=200, judgements=1_500)
PAGES = 700
UNTUNED = {"schedule": {"max_steps": 0}, "export": "none"}
NO_WAITING = {"FAIRTAG_WATCH_SECONDS": "0.5", "FAIRTAG_QUOTE_LOG_SECONDS": "1"}


def world(steepness: float) -> SimulatedShop:
    """The shop, its price slopes times ``steepness`` around the usual price: all else is the same, draw by draw."""
    usual = Effects()
    effects = replace(
        usual,
        beta_low=usual.beta_low * steepness,
        beta_high=usual.beta_high * steepness,
        beta_s=usual.beta_s * steepness,
        omega=tuple(omega * steepness for omega in usual.omega),
    )
    return simulate_shop(SIZE, seed=4, design=ShopDesign(effects=effects))


def blind_encoder(folder: Path, words: list[str]) -> Path:
    """A base whose weights nobody ever trained: it runs, and finds nothing."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {word: row for row, word in enumerate([*marks.values(), "[MASK]", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **shape)).save_pretrained(folder)
    return folder


@dataclass
class Deployment:
    """One deployment in a folder: data, run, quotes, reports, ledger."""

    root: Path

    @property
    def layout(self) -> RunFolder:
        return RunFolder(self.root / "run")

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def version(self) -> str:
        """The model that is live."""
        return str(read_manifest(self.layout.live)["version"])

    def champion(self) -> str:
        from components.adapters.mlflow import Registry

        return str(Registry.local(self.layout.registry).champion().number)

    def shop_has(self, market: SimulatedShop) -> None:
        """The shop's tables as its own export: a log whose prices nobody says were drawn, and no audit groups."""
        metadata = {key: value for key, value in market.tables.metadata.items() if key != "price_menu"}
        write_tables(replace(market.tables, audit_groups=None, metadata=metadata), self.root / "tables")

    def retrain(self, encoder: dict[str, object]) -> list[str]:
        """The command that the trigger starts, beside the live endpoint of the same folder."""
        options = {"--dataset": "parquet", "--data": self.root / "tables", "--out": self.layout.root}
        line = [str(part) for option in options.items() for part in option]
        return [sys.executable, "-m", "pipelines.cli", "run", "--train-only", *line, "--encoder", json.dumps(encoder)]

    def trigger(self, encoder: dict[str, object]) -> None:
        """Let the trigger look at the reports that the jobs left."""
        policy = {
            "schema": "fairtag.trigger-policy/1",
            "cooldown_hours": 0,
            "repeat_after_hours": 0,
            "attempts": 1,
            "target": {"kind": "local", "command": self.retrain(encoder)},
        }
        (self.root / "policy.yaml").write_text(json.dumps(policy))
        options = {"--policy": self.root / "policy.yaml", "--out": self.reports, "--ledger": self.root / "ledger"}
        assert main(["trigger", *(str(part) for option in options.items() for part in option)]) == 0

    def entries(self) -> list:
        return list(Ledger(self.root / "ledger" / LEDGER).entries())

    def traffic(self, client: RestClient, market: SimulatedShop, name: str) -> tuple[datetime, datetime]:
        """Held-out pages asked for again, and what the customers of a world make of them."""
        start = datetime.now(UTC)
        requests = held_out_requests(self.layout.root / "training_set.parquet", "US-NY", PAGES)[:PAGES]
        assert len(replay(client, requests, lambda *_: None)) == len(requests)
        quotes = self.logged(start, sum(len(request["item_ids"]) for request in requests))
        end = datetime.now(UTC)
        secret = read_secret(self.layout.serving / "secrets" / "user_key")
        bought = simulated_outcomes(
            quotes, market, secret, seed=1, until=pd.Timestamp(end), mean_delay=pd.Timedelta(seconds=1)
        )
        (self.root / "outcomes").mkdir(exist_ok=True)
        bought.to_parquet(self.root / "outcomes" / f"{name}.parquet", index=False)
        return start, end

    def logged(self, start: datetime, rows: int) -> pd.DataFrame:
        """The quotes since a time, once all are in the log."""
        for _ in range(120):
            now = datetime.now(UTC)
            if (self.layout.serving / "quotes").is_dir():
                reader = LogReader(str(self.layout.serving / "quotes"), schema.QUOTES, Window(start, now, now))
                if len(quotes := reader.frame()) >= rows:
                    return quotes
            time.sleep(0.5)
        raise AssertionError(f"{rows} quotes were asked for and never logged")

    def performance(self, stretch: tuple[datetime, datetime]) -> int:
        """The performance job over a stretch, as the command line ends."""
        start, end = stretch
        settings = self.root / "monitoring.yaml"
        # a shop that wants to hear of any change of calibration: 700 pages are few
        settings.write_text("maturity_hours: 0\nperformance: {calibration_slope: [0.05, 0.05]}\n")
        options = {
            "--quotes": self.layout.serving / "quotes",
            "--outcomes": self.root / "outcomes",
            "--model-folder": self.layout.live,
            "--out": self.reports,
            "--settings": settings,
            "--end": end.isoformat(),
            "--window": f"{(end - start).total_seconds() / 60:.6f}m",
        }
        return main(["performance", *(str(part) for option in options.items() for part in option), "--no-evidently"])


def wait_for(client: RestClient, request: dict, version: str) -> None:
    """Ask until the endpoint answers with a version of the model."""
    for _ in range(120):
        if client.pages([request])[0]["model_version"] == version:
            return
        time.sleep(0.5)
    raise AssertionError(f"the endpoint never answered with model {version}")


def close_the_loop(shop: Deployment) -> None:
    """From a live champion through drift, a refused model and an accepted one, back to a passing report."""
    usual, moved = world(1.0), world(2.0)
    first = shop.version
    assert shop.champion() == "1"
    request = held_out_requests(shop.layout.root / "training_set.parquet", "US-NY", 1)[0]
    with (
        serve(shop.layout.live, shop.layout.features, shop.layout.serving) as address,
        RestClient(address, MODEL, timeout=60) as client,
    ):
        assert shop.performance(shop.traffic(client, usual, "quiet")) == 0  # the world that the model knows
        assert shop.performance(shop.traffic(client, moved, "moved")) == 2  # and the one that it does not
        found = read_report(shop.reports / "performance.json")
        assert "calibration_slope" in {check.name for check in found.failing if check.status is Status.URGENT}

        shop.shop_has(moved)  # what the shop recorded meanwhile
        words = sorted({word for text in moved.tables.judgements[schema.QUERY] for word in text.split()})
        shop.trigger({**UNTUNED, "base": {"name": str(blind_encoder(shop.root / "blind", words)), "max_length": 32}})
        *_, started, finished = shop.entries()
        assert (started.event, finished.event) == ("started", "finished")
        assert finished.reason.startswith("rejected; the champion stays")
        assert "performance is urgent" in started.reason
        assert not read_decision(shop.layout.decision)["accepted"]
        assert (shop.version, shop.champion()) == (first, "1")
        assert client.pages([request])[0]["model_version"] == first

        shop.trigger(UNTUNED)
        assert shop.entries()[-1].reason.startswith("the new model was accepted")
        assert read_decision(shop.layout.decision)["accepted"]
        assert shop.version != first
        assert shop.champion() == "2"
        wait_for(client, request, shop.version)
        assert shop.performance(shop.traffic(client, moved, "after")) == 0
        evidence = read_json(shop.root / "ledger" / "evidence" / f"{started.request}.json")
        assert "calibration_slope" in evidence["checks"]["performance"]


def test_a_moved_demand_is_noticed_relearned_and_served_and_a_worse_model_never_is(tmp_path, monkeypatch):
    import subprocess

    for name, value in NO_WAITING.items():
        monkeypatch.setenv(name, value)
    shop = Deployment(tmp_path)
    shop.layout.root.mkdir()
    shop.shop_has(world(1.0))
    made = subprocess.run(shop.retrain(UNTUNED), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    close_the_loop(shop)
