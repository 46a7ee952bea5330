"""What every job needs: where things lie, the reference of the model, the step of the detectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fairtag.base.errors import ConfigError, ModelFolderMissing
from fairtag.model.manifest import MANIFEST, read_manifest
from fairtag.profile.profile import FOLDER, Profile
from monitoring.detect.state import State, locked_state
from monitoring.detect.window import Window
from monitoring.settings import Settings

LONGEST_INCREMENT = timedelta(hours=24)  # the detectors take a step a day even where there are few pages


@dataclass(frozen=True)
class Inputs:
    """What the jobs read and where they write.

    Args:
        quotes: fsspec URL of the quote log.
        window: The stretch of time.
        model_folder: Model folder, or a bare profile folder.
        out: Folder of the verdicts and reports.
        settings: Levels, tolerances, budgets.
        outcomes: fsspec URL of the outcomes, for the performance job.
        audit: Parquet file of the audit groups, for the fairness job alone.
        secret: File with the secret of the pseudonyms, for the fairness job alone.
        tables: Folder of the shop's tables, for the stock job.
        state: Folder of the hourly detectors; None judges the window as one look.
        workspace: Evidently workspace; None keeps no snapshots.
        evidently: Whether to make Evidently's reports.
    """

    quotes: str
    window: Window
    model_folder: Path
    out: Path
    settings: Settings
    outcomes: str | None = None
    audit: Path | None = None
    secret: Path | None = None
    tables: Path | None = None
    state: Path | None = None
    workspace: Path | None = None
    evidently: bool = True

    def need(self, name: str, job: str) -> Path:
        """The path that a job cannot do without.

        Raises:
            ConfigError: It was not given.
        """
        value: Path | None = getattr(self, name)
        if value is None:
            raise ConfigError(f"the {job} job needs --{name}")
        return value


@dataclass(frozen=True)
class Reference:
    """The model folder as monitoring needs it: its version, its profile, its folder."""

    version: str
    profile: Profile
    path: Path


def read_reference(path: Path) -> Reference:
    """Read a model folder's version and profile; a bare profile folder serves too, under the version ``profile``.

    Raises:
        ModelFolderMissing: There is no model folder, or it has no profile.
        DigestMismatch: The manifest was altered.
    """
    if not (path / MANIFEST).is_file() and (path / "profile.json").is_file():
        return Reference("profile", Profile.load(path), path)
    manifest = read_manifest(path)
    if not (path / FOLDER).is_dir():
        raise ModelFolderMissing(f"{path}: the model folder has no reference profile; train it again with this version")
    return Reference(str(manifest["version"]), Profile.load(path / FOLDER), path)


@contextmanager
def job_state(inputs: Inputs, job: str, version: str) -> Iterator[State | None]:
    """The state of a job under its lock, or None where every window is one look."""
    if inputs.state is None:
        yield None
        return
    with locked_state(inputs.state / f"{job}.json", version) as state:
        yield state


def cursor_of(inputs: Inputs, state: State | None) -> datetime | None:
    """Start of what the detectors have not seen; None where there are none."""
    return None if state is None else max(state.cursor or inputs.window.start, inputs.window.start)


def take_step(inputs: Inputs, pages: int, state: State | None, *, enough: bool = True) -> float | None:
    """Hours of the detectors' next step, and the cursor moved; None where they wait or there are none.

    They wait while there are few new pages, but no longer than a day; a window that ends before the cursor was seen.

    Args:
        inputs: The window and how many pages make a step.
        pages: New pages since the cursor.
        state: The job's memory.
        enough: Whether the new pages can be judged at all. While they cannot the cursor stays, so that what came in
            counts once there is more of it.
    """
    if state is None or not enough:
        return None
    span = inputs.window.end - max(state.cursor or inputs.window.start, inputs.window.start)
    due = pages >= inputs.settings.increment_pages or (span >= LONGEST_INCREMENT and pages > 0)
    if span <= timedelta(0) or not due:
        return None
    state.cursor = inputs.window.end
    return span.total_seconds() / 3600
