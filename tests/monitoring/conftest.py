"""A small made-up shop whose quote log, outcomes, audit table and profile lie in a folder, as a deployment has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream, Shocks
from fairtag.base.types import Status
from fairtag.profile.builder import build_profile
from monitoring.__main__ import main
from monitoring.job_report import Check, JobReport, read_report

TRAINING = pd.Timestamp("2026-01-05", tz="UTC")
DAY = pd.Timestamp("2026-02-09", tz="UTC")


@dataclass(frozen=True)
class Shop:
    """Where everything lies, and how to draw more of it."""

    root: Path
    stream: QuoteStream
    profile: Path
    audit: Path
    secret: Path
    day: pd.Timestamp = DAY

    def log(self, shocks: Shocks | None = None, *, pages: int = 2_000, hours: float = 24.0, start=DAY, name="day"):
        """Write a stretch of quotes and outcomes; returns (quotes folder, outcomes file)."""
        quotes, outcomes = self.stream.draw(start, hours, pages, shocks)
        return self.write(quotes, name), self.write(outcomes, f"{name}-outcomes")

    def write(self, frame: pd.DataFrame, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(folder / f"{name}.parquet", index=False, coerce_timestamps="us")
        return folder

    def options(self, quotes: Path, out: Path, *more: str, job: str = "drift", end: str = "2026-02-10T00:00:00Z"):
        """A command line."""
        return [job, "--quotes", str(quotes), "--model-folder", str(self.profile), "--out", str(out), "--end", end,
                "--no-evidently", *more]  # fmt: skip

    def fairness(self, quotes: Path, out: Path, *more: str):
        """A command line of the fairness job."""
        needed = ("--audit", str(self.audit), "--secret", str(self.secret))
        return self.options(quotes, out, *needed, *more, job="fairness")

    def run_hour(self, root: Path, k: int, quotes: Path, *more: str, job: str = "drift", window: str = "24h") -> int:
        """Run a job at the end of hour ``k`` of the day, as the hourly CronJob does; returns its exit code."""
        end = (self.day + pd.Timedelta(hours=k)).isoformat()
        state = ("--state", str(root / "state"), "--window", window)
        return main(self.options(quotes, root / "out", *state, *more, job=job, end=end))

    def checks(self, out: Path, job: str = "drift") -> dict[str, Check]:
        """The checks that a job wrote, by name."""
        return {check.name: check for check in read_report(out / f"{job}.json").checks}


@pytest.fixture(scope="session")
def _trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop")
    stream = QuoteStream(items=120, users=1_200)
    quotes, _ = stream.draw(TRAINING, 24 * 28, 8_000)
    build_profile(pd.DataFrame(), quotes).save(root / "profile")
    stream.audit_groups().to_parquet(root / "audit.parquet", index=False)
    (root / "secret").write_text(stream.secret.hex())
    return root, stream


@pytest.fixture
def shop(_trained, tmp_path):
    root, stream = _trained
    return Shop(tmp_path, stream, root / "profile", root / "audit.parquet", root / "secret")


@pytest.fixture
def report():
    """A function that makes the report of a job over one day from its checks."""

    def report(*checks, job="drift"):
        start, end = "2026-02-09T12:00:00+00:00", "2026-02-10T12:00:00+00:00"
        return JobReport(job, start, end, checks, ("v1",), {"rows": 10, "kept": 9})

    return report


@pytest.fixture
def up():
    """An urgent rise of the price of shoes."""
    return Check(
        "price_level", Status.URGENT, "price of shoes: +6.2 % against training", "shoes",
        1.06, 1.0, 0.06, 0.05, 0.07, 0.01, 0.03, "log ratio", 9_000,
    )  # fmt: skip
