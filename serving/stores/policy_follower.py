"""Follows the live policy: an endpoint looks for a new version every few seconds, and a change counts from then on."""

from __future__ import annotations

import logging

from fairtag.base.errors import DataError
from fairtag.policy.live_policy import NONE, LivePolicy, LivePolicyStore, PolicyChange

logger = logging.getLogger(__name__)

CAREFUL = LivePolicy(at_list=True, personal_prices=False)  # where the versions cannot be trusted


class PolicyFollower:
    """The version of the live policy that holds for this process.

    Args:
        store: The versions.
    """

    def __init__(self, store: LivePolicyStore) -> None:
        self._store = store
        self.change: PolicyChange = NONE
        self.refresh()

    def refresh(self) -> bool:
        """Look for a new version; whether there is one. An altered or unreadable one stops everything at list price."""
        try:
            newest = self._store.newest()
            if newest == self.change.version:
                return False
            found = self._store.current() if newest > self.change.version else None
        except (DataError, OSError) as error:
            return self._careful(str(error))
        if found is None:
            return self._careful(f"version {self.change.version} is gone; restore it from a backup")
        self.change = found
        logger.warning(
            "live policy version %d by %s: %s (%s)",
            self.change.version,
            self.change.who,
            "; ".join(self.change.difference),
            self.change.why,
        )
        return True

    def _careful(self, why: str) -> bool:
        """Put everything at list price, and say why once."""
        if self.change.policy != CAREFUL:
            logger.error("the live policy cannot be trusted, everything is at list price: %s", why)
            self.change = PolicyChange(self.change.version, "", "", why, CAREFUL)
        return False
