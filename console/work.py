"""What the pages of a console share: the endpoint, the shop's folders, the live policy, the audit log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from console.audit import AuditLog, open_audit_log
from console.drafts import Drafts
from console.endpoint import Endpoint
from console.outcomes import OutcomeLog
from console.price_table import PriceTable
from console.quotes import QuoteReader
from console.replays import Replays
from console.settings import ConsoleSettings
from console.shop import Shop
from console.view import Templates
from fairtag.base.errors import ConfigError, DataError, FairtagError, MissingDataError, UnavailableError
from fairtag.evaluation.experiment_log import ExperimentLog
from fairtag.evaluation.policy_replay import PolicyReplay, prepare_replay
from fairtag.evaluation.quoted_pages import quoted_replay
from fairtag.model import signature
from fairtag.model.policy_change import AcceptedModel, accepted_model
from fairtag.model.pricing_model import PricingModel
from fairtag.policy.live_policy import NONE, LivePolicyStore, PolicyVersion, in_words, open_store


class Deployment(Protocol):
    """What a console may ask of whoever deploys models; the command line hands it in."""

    def versions(self) -> Sequence[dict[str, str]]:
        """The registered models, newest first, each with its ``version``, ``alias`` and lineage."""
        ...

    def before(self) -> str:
        """Version of the model that a rollback would make live again; empty where there is none."""
        ...

    def promote(self, version: str, who: str, why: str) -> str:
        """Make a registered, accepted model live; returns what was done, in words.

        Raises:
            FairtagError: It is not accepted, or cannot be deployed.
        """
        ...

    def rollback(self, who: str, why: str) -> str:
        """Go back to the model before; returns what was done, in words.

        Raises:
            FairtagError: There is none.
        """
        ...


@dataclass(frozen=True)
class PolicyState:
    """The live policy as every page shows it.

    Args:
        change: The version that holds.
        words: What it says.
        stopped: Whether it narrows anything.
        can_change: Whether this console knows the folder of the policy.
        trouble: Why it cannot be read; empty where it can.
        unreachable: Whether that is because no store answers, rather than because a version cannot be trusted.
    """

    change: PolicyVersion
    words: tuple[str, ...]
    stopped: bool
    can_change: bool
    trouble: str = ""
    unreachable: bool = False


class Work:
    """Everything behind the pages.

    Args:
        settings: Of the console.
        endpoint: Whom pages are asked of.
        deployment: Promotes and rolls back; None where this console cannot.
    """

    def __init__(self, settings: ConsoleSettings, endpoint: Endpoint, deployment: Deployment | None = None) -> None:
        self.settings, self.endpoint, self.deployment = settings, endpoint, deployment
        self.shop = Shop(settings.model_folder, settings.tables)
        self.quotes = None if settings.quotes is None else QuoteReader(settings.quotes)
        self.prices = PriceTable(self.quotes)
        self.outcomes = None if settings.outcomes is None else OutcomeLog(settings.outcomes)
        self.experiments = None if settings.quotes is None else ExperimentLog(settings.quotes, settings.outcomes)
        self.templates = Templates()
        self.drafts = Drafts(settings.state_dir)
        self._policy_lock = threading.Lock()
        self._replays = Replays(self._read_replay)
        self._policy_seen: PolicyVersion = NONE

    @cached_property
    def audit(self) -> AuditLog:
        """Who did what.

        Raises:
            ConfigError: The key that seals it cannot be read.
        """
        return open_audit_log(self.settings)

    @cached_property
    def policy(self) -> LivePolicyStore | None:
        """The live policy's versions, signed and checked where there are keys; None where it is not known."""
        settings = self.settings
        if settings.policy_store is None:
            return None
        key = signature.pem_of(None, settings.policy_signing_key_file, "FAIRTAG_CONSOLE_POLICY_SIGNING_KEY")
        trusted = signature.pem_of(None, settings.policy_keys_file, "FAIRTAG_CONSOLE_POLICY_KEYS")
        return open_store(
            settings.policy_store,
            None if key is None else signature.policy_signer(signature.signing_key(*key)),
            None if trusted is None else signature.policy_verifier(signature.trusted_keys(*trusted)),
        )

    def require_policy(self) -> LivePolicyStore:
        """The live policy's versions.

        Raises:
            ConfigError: This console does not know where they lie.
        """
        if self.policy is None:
            raise ConfigError(
                "this console does not know the live policy; start it with the run's folder, or set "
                "FAIRTAG_CONSOLE_POLICY_STORE to where the endpoint reads it"
            )
        return self.policy

    def policy_state(self) -> PolicyState:
        """The version that holds now; versions are read again only when there is a new one."""
        if self.policy is None:
            return PolicyState(NONE, ("this console does not know the live policy",), stopped=False, can_change=False)
        try:
            with self._policy_lock:
                if self.policy.newest() != self._policy_seen.version:
                    self._policy_seen = self.policy.current()
            change = self._policy_seen
        except (DataError, UnavailableError) as error:
            away = isinstance(error, UnavailableError)
            return PolicyState(NONE, (), stopped=True, can_change=True, trouble=str(error), unreachable=away)
        words = in_words(change.policy)
        return PolicyState(change, words, stopped=change.policy != NONE.policy, can_change=True)

    def changed_since(self, version: str) -> str:
        """What became of the policy since somebody's page was made, in words; empty where nothing did.

        Args:
            version: Of the policy that the page showed; empty where it did not say.
        """
        current = self.require_policy().current()
        if not version.isdecimal() or int(version) == current.version:
            return ""
        words = "; ".join(current.difference)
        return f"{current.who} made version {current.version} since you opened this page ({words}; “{current.why}”)"

    def require_unchanged(self, version: str) -> None:
        """Refuse what somebody decided looking at a policy that is no longer in force.

        Raises:
            ConfigError: There is a newer version than the page showed.
        """
        if between := self.changed_since(version):
            raise ConfigError(f"not done: {between}; look at what holds now, and decide again")

    def accepted_model(self) -> AcceptedModel:
        """What the live model was accepted with, which a policy applies to.

        Raises:
            ConfigError: This console does not know the model.
        """
        return accepted_model(self.shop.live_folder())

    @property
    def has_hold_out(self) -> bool:
        """Whether there are held-out pages to preview a policy on."""
        return self.settings.training_set is not None and self.settings.training_set.is_file()

    def replay(self, days: float | None = None) -> PolicyReplay:
        """Pages ready for previews with the live model; reading them takes seconds, once.

        Args:
            days: Pages of the quote log of so many days; None for the hold-out.

        Raises:
            MissingDataError: This console does not know where the pages lie, or there are none.
            UnavailableError: The quote log cannot be read.
        """
        return self._replays.get(self.shop.model(), days)

    def replay_is_ready(self, days: float | None = None) -> bool:
        """Whether a preview need not read its pages first."""
        return self._replays.ready(self.shop.model(), days)

    def _read_replay(self, model: PricingModel, days: float | None) -> PolicyReplay:
        return self._held_out(model) if days is None else self._quoted(model, days)

    def _held_out(self, model: PricingModel) -> PolicyReplay:
        path, tables = self.settings.training_set, self.settings.tables
        if path is None or not path.is_file():
            raise MissingDataError(
                "a preview needs the run's training set: start the console with a run, or set "
                "FAIRTAG_CONSOLE_TRAINING_SET"
            )
        groups = None if tables is None else tables / "audit_groups.parquet"
        audit = pd.read_parquet(groups) if groups is not None and groups.is_file() else None
        return prepare_replay(model, pd.read_parquet(path), audit)

    def _quoted(self, model: PricingModel, days: float) -> PolicyReplay:
        if self.settings.quotes is None:
            raise MissingDataError(
                "this console does not know the quote log; start it with the run's folder, or set "
                "FAIRTAG_CONSOLE_QUOTES; or replay the hold-out"
            )
        return quoted_replay(model, self.settings.quotes, days=days, now=datetime.now(UTC))

    def document(self, path: Path | None, what: str) -> dict[str, Any]:
        """A JSON document of the run.

        Raises:
            ConfigError: This console was not told where it is, or it is not there.
        """
        from fairtag.base.files import read_json

        if path is None or not path.is_file():
            place = f" at {path}" if path else "; start the console with a run's folder"
            raise ConfigError(f"there is no {what}{place}")
        try:
            return read_json(path)
        except ValueError as error:
            raise FairtagError(f"{path}: not a readable document ({error})") from error
