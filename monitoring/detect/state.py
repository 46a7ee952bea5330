"""The memory of hourly runs: how far the log was read and what the detectors hold.

Each job has one JSON file, replaced atomically under a lock. A run that reads no further than the cursor changes
nothing, so that running a job twice counts its evidence once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fairtag.base.errors import DataError, UnavailableError
from fairtag.base.files import read_json, write_json
from monitoring.detect.evidence import EDetector

SCHEMA = "fairtag.monitoring-state/2"  # 2: the detectors' keys end in "urgent" instead of "page"
LOCK_SECONDS = 60.0


@dataclass
class State:
    """Memory of one job.

    Args:
        cursor: End of the last stretch of quotes that the detectors saw.
        model_folder: Version of the model folder they compare with; another version starts new detectors.
        detectors: "check/warn" and "check/urgent" -> (labels of the components, detector).
        since: Check -> start of the first of the consecutive windows in which it has failed.
    """

    cursor: datetime | None = None
    model_folder: str = ""
    detectors: dict[str, tuple[tuple[str, ...], EDetector]] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)

    def detector(self, key: str, components: tuple[str, ...]) -> EDetector:
        """The detector of a check; a new one if the components changed."""
        labels, detector = self.detectors.get(key, ((), None))
        return detector if detector is not None and labels == components else EDetector.fresh(len(components))

    def as_json(self) -> dict[str, Any]:
        """The state as a versioned JSON document."""
        return {
            "schema": SCHEMA,
            "cursor": self.cursor.isoformat() if self.cursor else None,
            "model_folder": self.model_folder,
            "since": self.since,
            "detectors": {
                key: {"components": list(labels), "log_wealth": detector.as_json()}
                for key, (labels, detector) in self.detectors.items()
            },
        }


def read_state(path: Path, model_folder: str) -> State:
    """Read the state; a new one if there is no file or it belongs to another model folder.

    Raises:
        DataError: The file has another schema or is damaged.
    """
    if not path.is_file():
        return State(model_folder=model_folder)
    try:
        document = read_json(path)
        if document["schema"] != SCHEMA:
            raise DataError(
                f"{path}: schema {document['schema']!r}, this version reads {SCHEMA}; remove the file to start afresh"
            )
        if document["model_folder"] != model_folder:
            return State(model_folder=model_folder)
        detectors = {
            key: (tuple(entry["components"]), EDetector.from_json(entry["log_wealth"]))
            for key, entry in document["detectors"].items()
        }
        cursor = datetime.fromisoformat(document["cursor"]) if document["cursor"] else None
        return State(cursor, model_folder, detectors, dict(document["since"]))
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: the state is damaged ({error}); remove the file to start afresh") from error


@contextmanager
def locked_state(path: Path, model_folder: str) -> Iterator[State]:
    """Hold the lock, yield the state, and write it back if the body succeeds.

    Raises:
        UnavailableError: Another run has held the lock for :data:`LOCK_SECONDS`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            state = read_state(path, model_folder)
            yield state
            write_json(path, state.as_json())
    except Timeout as error:
        raise UnavailableError(
            f"{path}: another run has held the state for {LOCK_SECONDS:.0f} s; try again when it has ended"
        ) from error
