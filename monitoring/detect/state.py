"""What hourly runs remember of each other: how far they read and what their detectors hold.

The state is one JSON file a job, replaced whole; two runs at once are kept apart by a lock beside it. A run that reads
no further than the cursor changes nothing, so that a job that is run twice counts its evidence once.
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
from monitoring.detect.evidence import Detector

SCHEMA = "fairtag.monitoring-state/1"
LOCK_SECONDS = 60.0


@dataclass
class State:
    """Memory of one job.

    Args:
        cursor: End of the last stretch that the detectors saw.
        model_folder: Digest or version of the model folder they compare with; another model folder starts them afresh.
        detectors: "check/warn" and "check/page" -> (labels of the components, detector).
        since: check -> start of the run of windows in which it has not passed.
    """

    cursor: datetime | None = None
    model_folder: str = ""
    detectors: dict[str, tuple[tuple[str, ...], Detector]] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)

    def detector(self, key: str, components: tuple[str, ...]) -> Detector:
        """The detector of a check; a fresh one when its components changed."""
        labels, detector = self.detectors.get(key, ((), None))
        return detector if detector is not None and labels == components else Detector.fresh(len(components))

    def as_json(self) -> dict[str, Any]:
        """The versioned document."""
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
    """The state at a path; a fresh one when there is none or it belongs to another model folder.

    Raises:
        DataError: The file is no state of this version.
    """
    if not path.is_file():
        return State(model_folder=model_folder)
    try:
        document = read_json(path)
        if document["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {document['schema']!r}; this version reads {SCHEMA}")
        if document["model_folder"] != model_folder:
            return State(model_folder=model_folder)
        detectors = {
            key: (tuple(entry["components"]), Detector.from_json(entry["log_wealth"]))
            for key, entry in document["detectors"].items()
        }
        cursor = datetime.fromisoformat(document["cursor"]) if document["cursor"] else None
        return State(cursor, model_folder, detectors, dict(document["since"]))
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: the monitoring state is damaged ({error}); remove it to start afresh") from error


@contextmanager
def locked_state(path: Path, model_folder: str) -> Iterator[State]:
    """Hold the lock, yield the state, write it back when the body succeeds.

    Raises:
        UnavailableError: Another run holds the lock for a minute.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            state = read_state(path, model_folder)
            yield state
            write_json(path, state.as_json())
    except Timeout as error:
        raise UnavailableError(f"{path}: another monitoring run holds the state for {LOCK_SECONDS:.0f} s") from error
