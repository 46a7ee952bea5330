"""What every job needs: the locations of its inputs, the reference profile of the model, and its state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fairtag.base.errors import ConfigError, ModelFolderMissing
from fairtag.model.capabilities import UNIFORM_PRICES
from fairtag.model.decision import accepted_capabilities, decision_of
from fairtag.model.manifest import MANIFEST, read_manifest
from fairtag.model.signature import TrustedKeys
from fairtag.profile.profile import FOLDER, Profile
from monitoring.detect.state import State, locked_state
from monitoring.detect.window import Window
from monitoring.settings import Settings

LONGEST_INCREMENT = timedelta(hours=24)  # the detectors take at least one step a day, even with few pages


def silent(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Inputs:
    """What the jobs read and where they write.

    Args:
        quotes: fsspec URL of the quote log.
        window: The period to check.
        model_folder: Model folder, or a profile folder alone.
        out: Folder for the reports.
        settings: Error levels, tolerances, budgets.
        outcomes: fsspec URL of the outcomes; only the performance job reads it.
        audit: Parquet file of the audit groups; only the fairness job reads it.
        secret: File with the secret of the pseudonyms; only the fairness job reads it.
        tables: Folder of the shop's tables; the stock job and the check of item columns read it.
        state: Folder of the hourly detectors; None tests each window in a single look.
        workspace: Evidently workspace; None keeps no snapshots.
        evidently: Whether to write Evidently's reports.
        policy_store: Where the live policy lies; None holds every quote to the policy of the model folder.
        policy_keys: Keys of which one must have signed each version of it; None asks for no signature.
        say: Told what a job is at, where a part of it takes long.
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
    policy_store: str | None = None
    policy_keys: TrustedKeys | None = None
    say: Callable[[str], None] = silent

    def need(self, name: str, job: str) -> Path:
        """The path of an input that a job requires.

        Raises:
            ConfigError: The input was not given.
        """
        value: Path | None = getattr(self, name)
        if value is None:
            raise ConfigError(f"the {job} job needs the option --{name}")
        return value


@dataclass(frozen=True)
class Reference:
    """A model folder as the jobs use it: version, profile, path, and whether its decision keeps prices at list."""

    version: str
    profile: Profile
    path: Path
    at_list: bool = False


def read_reference(path: Path) -> Reference:
    """Read the version and profile of a model folder. A profile folder alone is accepted, as version ``profile``.

    Raises:
        ModelFolderMissing: There is no model folder, or it has no profile.
        DigestMismatch: The manifest was altered.
        DecisionError: The decision in the folder is not about it.
    """
    if not (path / MANIFEST).is_file() and (path / "profile.json").is_file():
        return Reference("profile", Profile.load(path), path)
    manifest = read_manifest(path)
    if not (path / FOLDER).is_dir():
        raise ModelFolderMissing(f"{path}: the model folder has no reference profile; train it again with this version")
    decision = decision_of(path)
    at_list = decision is not None and UNIFORM_PRICES not in accepted_capabilities(decision)
    return Reference(str(manifest["version"]), Profile.load(path / FOLDER), path, at_list)


@contextmanager
def job_state(inputs: Inputs, job: str, version: str) -> Iterator[State | None]:
    """The state of a job, locked; None if the run has no state folder."""
    if inputs.state is None:
        yield None
        return
    with locked_state(inputs.state / f"{job}.json", version) as state:
        yield state


def cursor_of(inputs: Inputs, state: State | None) -> datetime | None:
    """Start of the quotes that the detectors have not seen; None without a state."""
    return None if state is None else max(state.cursor or inputs.window.start, inputs.window.start)


def take_step(inputs: Inputs, pages: int, state: State | None, *, enough: bool = True) -> float | None:
    """Move the cursor to the end of the window and return the hours of this step; None if the detectors wait.

    They wait while there are few new pages, but no longer than a day. A window that ends before the cursor was seen
    already.

    Args:
        inputs: The window, and the number of pages that make a step.
        pages: New pages since the cursor.
        state: The job's memory; None takes no step.
        enough: Whether the new pages suffice for a test. If not, the cursor stays and they count in the next step.
    """
    if state is None or not enough:
        return None
    span = inputs.window.end - max(state.cursor or inputs.window.start, inputs.window.start)
    due = pages >= inputs.settings.increment_pages or (span >= LONGEST_INCREMENT and pages > 0)
    if span <= timedelta(0) or not due:
        return None
    state.cursor = inputs.window.end
    return span.total_seconds() / 3600
