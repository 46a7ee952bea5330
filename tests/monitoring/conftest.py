"""A small made-up shop whose quote log, outcomes, audit table and profile lie in a folder, as a deployment has them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream, Shocks
from fairtag.profile.builder import build_profile
from monitoring.job_report import Check, read_verdict

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

    def checks(self, out: Path, job: str = "drift") -> dict[str, Check]:
        """The checks that a job wrote, by name."""
        return {check.name: check for check in read_verdict(out / f"{job}.json").checks}


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
def evidently_warnings():
    """Evidently and what it calls warn about their own future; the tests of our code are not about that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
