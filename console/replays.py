"""The pages that a policy is previewed on: read once, kept, and read again behind the visitor's back when they are old.

Reading them takes seconds, and a preview shall not: the first are read while the console starts, and while old ones are
read again a preview goes on with those that are there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fairtag.base.errors import FairtagError
from fairtag.evaluation.policy_replay import PolicyReplay
from fairtag.model.pricing_model import PricingModel

logger = logging.getLogger(__name__)
FRESH_SECONDS = 900.0  # quotes of the last days are read again after so long
KEPT = 3  # periods of the quote log


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)  # one reads, others wait for it
    made: float = 0.0
    replay: PolicyReplay | None = None
    renewing: bool = False


class Replays:
    """The replays of a console, by the days of the quote log; None stands for the hold-out.

    Args:
        read: Reads the pages of so many days for a model.
        clock: Seconds that only grow.
    """

    def __init__(
        self, read: Callable[[PricingModel, float | None], PolicyReplay], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._entries: dict[float | None, _Entry] = {}

    def get(self, model: PricingModel, days: float | None) -> PolicyReplay:
        """Pages ready for previews with a model; those of quotes may be older than :data:`FRESH_SECONDS` once.

        Raises:
            FairtagError: They cannot be read.
        """
        entry = self._entry(days)
        with entry.lock:
            if entry.replay is None or entry.replay.model.version != model.version:
                entry.replay, entry.made = self._read(model, days), self._clock()
            if days is not None and self._clock() - entry.made > FRESH_SECONDS and not entry.renewing:
                entry.renewing = True
                threading.Thread(target=self._renew, args=(entry, model, days), daemon=True).start()
            return entry.replay

    def ready(self, model: PricingModel, days: float | None) -> bool:
        """Whether a preview would not have to read first."""
        with self._lock:
            entry = self._entries.get(days)
        return entry is not None and entry.replay is not None and entry.replay.model.version == model.version

    def _entry(self, days: float | None) -> _Entry:
        with self._lock:
            found = self._entries.pop(days, None) or _Entry()
            self._entries[days] = found  # the last one asked for is the last to go
            for old in [each for each in self._entries if each is not None][:-KEPT]:
                del self._entries[old]
            return found

    def _renew(self, entry: _Entry, model: PricingModel, days: float) -> None:
        try:
            found = self._read(model, days)
            with entry.lock:
                entry.replay, entry.made = found, self._clock()
        except FairtagError as error:  # what is there stays; the next preview tries again
            logger.warning("quotes of %g days: %s", days, error)
        finally:
            entry.renewing = False
