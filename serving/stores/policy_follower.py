"""Follows the live policy: an endpoint looks for a new version every few seconds, and a change counts from then on.

While a store does not answer, the last version that was read holds; once none has answered for longer than the stated
age, and where a version was altered or cannot be trusted, everything is at list price.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from fairtag.base.errors import DataError, FairtagError, UnavailableError
from fairtag.model.policy_change import AcceptedModel, supported, unproven
from fairtag.model.signature import TrustedKeys
from fairtag.policy.live_policy import FAIL_SAFE, NONE, LivePolicyStore, PolicyVersion
from fairtag.policy.shop_policy import ShopPolicy

logger = logging.getLogger(__name__)


class PolicyFollower:
    """The version of the live policy that holds for this process.

    Args:
        store: The versions.
        trusted: Keys that the decisions of wider policies must be signed with; None asks for no signature.
        stale_seconds: Age of the last look from which the policy is too old, and everything is at list price.
        clock: Monotonic seconds.

    Attributes:
        change: The newest version.
        policy: What holds for the model that prices.
    """

    def __init__(
        self,
        store: LivePolicyStore,
        trusted: TrustedKeys | None = None,
        stale_seconds: float = 3_600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._trusted = store, trusted
        self._stale_seconds, self._clock = stale_seconds, clock
        self._history: tuple[PolicyVersion, ...] = ()
        self._seen: float | None = None  # when a store last answered
        self._model: AcceptedModel | None = None
        self.change: PolicyVersion = NONE
        self.policy = ShopPolicy()
        self.refresh()

    @property
    def age(self) -> float:
        """Seconds since the live policy was last read; infinite where it never was."""
        return float("inf") if self._seen is None else self._clock() - self._seen

    @property
    def fail_safe(self) -> bool:
        """Whether everything is at list price: the policy cannot be trusted, is too old, or does not fit the model."""
        return self.policy is FAIL_SAFE

    def refresh(self) -> bool:
        """Look for a new version; whether there is one. One that cannot be trusted puts everything at list price."""
        try:
            self._history = self._store.history(self._history)
        except (UnavailableError, OSError) as error:
            return self._unavailable(str(error))
        except DataError as error:
            return self._fall_back(str(error))
        self._seen = self._clock()
        found = self._history[-1] if self._history else NONE
        if found == self.change:
            return False
        self.change = found
        self._resolve()
        logger.warning(
            "live policy version %d by %s: %s (%s)", found.version, found.who, "; ".join(found.difference), found.why
        )
        return True

    def follow(self, model: AcceptedModel | None) -> None:
        """Follow for a model: what there is no evidence for with it stays as its decision accepted.

        Args:
            model: The model that prices; None where it has no policy of its own.
        """
        self._model = model
        self._resolve()

    def _resolve(self) -> None:
        """What holds for the model: the version in force, as far as there is evidence for it."""
        model, change = self._model, self.change
        whole = model is None or change is NONE or change.policy is FAIL_SAFE
        self.policy = change.policy if whole or model is None else self._supported(change, model)

    def _supported(self, change: PolicyVersion, model: AcceptedModel) -> ShopPolicy:
        try:
            beyond = unproven(change.policy, self._history, model, self._trusted)
            if not beyond:
                return change.policy
            logger.error(
                "live policy version %d allows more than was evaluated with model %s; as the model has it stays: %s",
                change.version,
                model.version,
                "; ".join(each.field for each in beyond),
            )
            return supported(change.policy, self._history, model, self._trusted)
        except FairtagError as error:  # it contradicts what this model was accepted with
            logger.error(  # noqa: TRY400 - the message says it all
                "live policy version %d does not fit model %s: %s", change.version, model.version, error
            )
            return FAIL_SAFE

    def _unavailable(self, why: str) -> bool:
        """The last version holds until it is too old; before the first look there is none to hold."""
        if self.age > self._stale_seconds:
            return self._fall_back(f"nobody could read it for {self._stale_seconds:.0f} s: {why}")
        logger.warning("the live policy cannot be read, version %d holds: %s", self.change.version, why)
        return False

    def _fall_back(self, why: str) -> bool:
        """Put everything at list price, and say why once."""
        if self.change.policy is not FAIL_SAFE:
            logger.error("the live policy cannot be trusted, everything is at list price: %s", why)
            self.change = replace(self.change, who="", why=why, policy=FAIL_SAFE)
            self._resolve()
        return False
