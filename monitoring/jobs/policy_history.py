"""The versions of the live policy as the monitors read them: what each allowed with a model, and when it was live.

    history = PolicyHistory.read("s3://fairtag-policy", model_folder, trusted)
    history.widths(quotes)           # corridor width and markup that each quote was made under
    history.policies[3]              # what version 3 allowed with this model

Without a store of the live policy, every quote is held to the policy of the model folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import FairtagError
from fairtag.model.policy_change import AcceptedModel, accepted_model, supported
from fairtag.model.signature import TrustedKeys, policy_verifier
from fairtag.policy.live_policy import FAIL_SAFE, PolicyVersion, open_store
from fairtag.policy.shop_policy import ShopPolicy

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True)
class PolicyHistory:
    """Every version of the live policy, as the model that served could follow it.

    Args:
        model: What the model's decision accepted.
        policies: Policy by version, as far as there is evidence for it with the model; 0 is that of the model alone.
        made: When each version was made, microseconds since 1970, UTC; those of the versions 1, 2 and so on.
        problem: Why later versions cannot be trusted; empty where all can.
    """

    model: AcceptedModel
    policies: Mapping[int, ShopPolicy]
    made: Times = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    problem: str = ""

    @classmethod
    def read(cls, store: str | None, model_folder: Path, writers: TrustedKeys | None = None) -> PolicyHistory:
        """Read the versions of a store up to the first that cannot be trusted; none where there is no store.

        Args:
            store: Address; None for none.
            model_folder: The model that the quotes were priced with.
            writers: Keys one of which must have signed each version; None asks for no signature.

        Raises:
            UnavailableError: The store does not answer.
        """
        model = accepted_model(model_folder)
        verify = None if writers is None else policy_verifier(writers)
        versions, problem = ((), "") if store is None else open_store(store, verify=verify).trusted_history()
        return cls.of(model, versions, problem)

    @classmethod
    def of(cls, model: AcceptedModel, versions: Sequence[PolicyVersion], problem: str = "") -> PolicyHistory:
        """The history of versions that were read before."""
        made = [round(datetime.fromisoformat(each.at).timestamp() * 1e6) for each in versions]
        policies = {each.version: _followed(each.policy, versions[: each.version], model) for each in versions}
        return cls(model, {0: ShopPolicy(), **policies}, np.array(made, dtype=np.int64), problem)

    def widths(self, quotes: pd.DataFrame) -> tuple[Floats, Floats]:
        """Corridor width and largest markup that each quote was made under, (n,) each."""
        limits = {version: policy.over(self.model.policy).limits for version, policy in self.policies.items()}
        own = self.model.policy.limits
        found = [limits.get(version, own) for version in versions_of(quotes).tolist()]
        return (
            np.array([each.corridor_ratio for each in found], dtype=np.float64),
            np.array([each.markup for each in found], dtype=np.float64),
        )

    def replaced_for(self, version: NDArray[np.int64], at: Times) -> Floats:
        """Seconds for which the version of each quote (n,) had been replaced when it was made; 0 where it had not.

        Args:
            version: Of each quote, all of them known.
            at: When each was made, microseconds since 1970.
        """
        ends = np.append(self.made, np.iinfo(np.int64).max)[version]  # version v ends when v + 1 is made
        return np.asarray(np.maximum(at - ends, 0) / 1e6)

    def early_by(self, version: NDArray[np.int64], at: Times) -> Floats:
        """Seconds by which each quote (n,) is older than the version that it names; 0 where it is not."""
        begins = np.insert(self.made, 0, np.iinfo(np.int64).min // 2)[version]
        return np.asarray(np.maximum(begins - at, 0) / 1e6)


def versions_of(quotes: pd.DataFrame) -> NDArray[np.int64]:
    """Version of the live policy that each quote (n,) names; 0 in a log from before there was one."""
    if schema.POLICY_VERSION not in quotes:
        return np.zeros(len(quotes), dtype=np.int64)
    return np.asarray(quotes[schema.POLICY_VERSION].fillna(0).to_numpy(dtype=np.int64))


def _followed(policy: ShopPolicy, history: Sequence[PolicyVersion], model: AcceptedModel) -> ShopPolicy:
    """What an endpoint with this model makes of a version."""
    try:
        return supported(policy, history, model)
    except FairtagError:  # it contradicts what the model was accepted with
        return FAIL_SAFE
