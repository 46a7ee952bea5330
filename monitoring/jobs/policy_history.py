"""The policy that was live when each quote was made: what its price is held to.

    history = PolicyHistory.read("s3://fairtag-policy", model_folder)
    history.widths(quotes), history.personal_when_off(quotes)

Without a store of the live policy, every quote is held to the policy of the model folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.model.policy_change import AcceptedModel, accepted_model, supported
from fairtag.policy.item_terms import personal_place
from fairtag.policy.live_policy import open_store
from fairtag.policy.shop_policy import ShopPolicy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyHistory:
    """Every version of the live policy, as the model that served could follow it.

    Args:
        model: What the model's decision accepted.
        policies: Policy by version.
    """

    model: AcceptedModel
    policies: Mapping[int, ShopPolicy]

    @classmethod
    def read(cls, store: str | None, model_folder: Path) -> PolicyHistory:
        """Read all versions of a store; none where there is no store.

        Raises:
            DataError: A version was altered: nothing can be said about quotes made under it.
            UnavailableError: The store does not answer.
        """
        model = accepted_model(model_folder)
        versions = () if store is None else open_store(store).history()
        seen = {each.version: supported(each.policy, versions[: each.version], model) for each in versions}
        return cls(model, seen)

    def widths(self, quotes: pd.DataFrame) -> tuple[Floats, Floats]:
        """Corridor width and largest markup that each quote was made under, (n,) each."""
        limits = {version: policy.over(self.model.policy).limits for version, policy in self.policies.items()}
        own = self.model.policy.limits
        found = [limits.get(version, own) for version in self._versions(quotes)]
        return (
            np.array([each.corridor_ratio for each in found], dtype=np.float64),
            np.array([each.markup for each in found], dtype=np.float64),
        )

    def personal_when_off(self, quotes: pd.DataFrame) -> NDArray[np.bool_]:
        """(n,) quotes whose price a customer's data moved although the policy in force had that off."""
        if not self.policies:
            return np.zeros(len(quotes), dtype=bool)
        personal = quotes[schema.PERSONALISED].to_numpy(dtype=bool)
        rows = zip(
            self._versions(quotes),
            quotes[schema.JURISDICTION],
            quotes[schema.CATEGORY].astype(str),
            quotes[schema.ITEM_ID],
            strict=True,
        )
        off = np.array([self._off(*row) for row in rows], dtype=bool)
        return np.asarray(personal & off)

    def _off(self, version: int, place: str | None, category: str, item: str) -> bool:
        key = (version, place, category, item in self._excluded.get(version, frozenset()))
        if key not in self._known:
            policy = self.policies.get(version)
            self._known[key] = policy is not None and (
                not personal_place(policy, place) or category in policy.lookup.impersonal or key[3]
            )
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[int, str | None, str, bool], bool]:
        return {}

    @cached_property
    def _excluded(self) -> dict[int, frozenset[str]]:
        return {version: policy.lookup.items for version, policy in self.policies.items()}

    def _versions(self, quotes: pd.DataFrame) -> list[int]:
        if schema.POLICY_VERSION not in quotes:
            return [0] * len(quotes)
        return quotes[schema.POLICY_VERSION].fillna(0).astype(int).tolist()
