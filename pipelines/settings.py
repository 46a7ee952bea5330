"""The frozen settings of a local run, and the parameters of the pipeline that follow from them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fairtag.base.errors import ConfigError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.encoder.config import PRESETS

RUNNERS = ("process", "docker")


@dataclass(frozen=True)
class RunSettings:
    """What a person asks of one run.

    Args:
        out: Folder of the run; everything it makes lies under it.
        dataset: Name of the data set.
        data: Folder of the data set.
        preset: Of the encoder: demo (about five minutes on two cores in all), standard or gpu.
        seed: Seed of everything drawn.
        items: Products of the simulated shop.
        users: Customers of the simulated shop.
        impressions: Items shown in the simulated shop.
        max_quarantined: Share of a table's rows above which broken rows refuse it.
        encoder: Settings of the encoder that differ from the preset.
        redis: host:port of a Redis online store; SQLite when None.
        registry: Address of an MLflow server; a folder under ``out`` when None.
        runner: Where a step runs: in a process, or with docker in our images.
    """

    out: Path
    dataset: str = "synthetic"
    data: Path | None = None
    preset: str = "demo"
    seed: int = 0
    items: int = 3_000
    users: int = 5_000
    impressions: int = 200_000
    max_quarantined: float = 0.05
    encoder: dict[str, Any] = field(default_factory=dict)
    redis: str | None = None
    registry: str | None = None
    runner: str = "process"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f"--preset {self.preset!r} is refused; it must be one of {', '.join(PRESETS)}")
        if self.runner not in RUNNERS:
            raise ConfigError(f"--runner {self.runner!r} is refused; it must be one of {', '.join(RUNNERS)}")
        if not 0 <= self.max_quarantined < 1:
            raise ConfigError(f"--max-quarantined {self.max_quarantined} is refused; it is a share, 0 up to below 1")

    @property
    def layout(self) -> RunLayout:
        """Where things lie."""
        return RunLayout(self.out.absolute())

    def arguments(self, data_fingerprint: str, code_version: str) -> dict[str, Any]:
        """Parameters of :func:`pipelines.training.training`."""
        layout = self.layout
        return {
            "dataset": self.dataset,
            "data": str(self.data.absolute()) if self.data else "",
            "data_fingerprint": data_fingerprint,
            "items": self.items,
            "users": self.users,
            "impressions": self.impressions,
            "max_quarantined": self.max_quarantined,
            "preset": self.preset,
            "encoder_settings": json.dumps(self.encoder),
            "checkpoints": str(layout.checkpoints),
            "features": str(layout.features),
            "feature_environment": "redis" if self.redis else "local",
            "redis": self.redis or "",
            "registry": self.registry or str(layout.registry),
            "target": str(layout.root),
            "code_version": code_version,
            "seed": self.seed,
        }

    def key(self, data_fingerprint: str, code_version: str) -> str:
        """What makes two runs the same: data, code and every setting but the folder's place and the runner."""
        asked = {name: value for name, value in asdict(self).items() if name not in ("out", "data", "runner")}
        return sha256_text(canonical_json([asked, data_fingerprint, code_version]))


@dataclass(frozen=True)
class RunLayout:
    """Where things lie under the folder of a run."""

    root: Path

    @property
    def state(self) -> Path:
        """What was run, and how it ended."""
        return self.root / "run.json"

    @property
    def decision(self) -> Path:
        """The decision document."""
        return self.root / "DECISION.json"

    @property
    def model_folder(self) -> Path:
        """The model folder of the last run, accepted or not."""
        return self.root / "model_folder"

    @property
    def tables(self) -> Path:
        """The validated tables."""
        return self.root / "tables"

    @property
    def features(self) -> Path:
        """The feature folder that serving reads."""
        return self.root / "features"

    @property
    def registry(self) -> Path:
        """The embedded model registry."""
        return self.root / "registry"

    @property
    def checkpoints(self) -> Path:
        """What a killed training goes on from."""
        return self.root / "checkpoints"

    @property
    def live(self) -> Path:
        """The pointer to the model that serves."""
        return self.root / "live"

    @property
    def serving(self) -> Path:
        """Keys and quote log of the endpoint."""
        return self.root / "serving"

    @property
    def reports(self) -> Path:
        """Verdicts and reports of monitoring."""
        return self.root / "reports"

    @property
    def workspace(self) -> Path:
        """Evidently's workspace, with a snapshot of each run of a job: ``make monitor-ui`` opens it."""
        return self.root / "workspace"
