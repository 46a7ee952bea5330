"""What an InferenceService serves, and the record of the models that were live on it.

The record stands in the ConfigMap ``<service>-live``, beside the address from which the monitors read the live model.
Annotations of the InferenceService would be copied into the pods' template, so that each note restarted every pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fairtag.base.errors import ConfigError

RECORD = "lineage.json"  # key of the ConfigMap
SCHEMA = "fairtag.live-models/1"
MOST_EARLIER = 10  # models that a rollback can go back to, one after the other; a ConfigMap holds 1 MiB

Object = dict[str, Any]


@dataclass(frozen=True)
class LiveModels:
    """The models that are or were live on a service, and where they come from.

    It is read with the address that the service names as its stable model, which alone is the truth: a change that was
    cut off between the record and the service leaves no wrong way back.

    Args:
        lineage: Facts about a model folder, by its address.
        earlier: Addresses of stable models, the latest first.
    """

    lineage: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    earlier: Sequence[str] = ()

    def before(self, stable: str) -> str | None:
        """The stable model before this one; None where none is recorded."""
        return next(iter(self._older(stable)), None)

    def noting(self, storage_uri: str, facts: Mapping[str, str]) -> LiveModels:
        """With the facts about a model folder."""
        return replace(self, lineage={**self.lineage, storage_uri: dict(facts)})

    def leaving(self, stable: str, *, to: str) -> LiveModels:
        """With the stable model as the way back from the one that follows it."""
        earlier = [stable, *(uri for uri in self._older(stable) if uri != to)]
        return replace(self, earlier=earlier[:MOST_EARLIER])

    def as_json(self, named: Sequence[str]) -> str:
        """As JSON; the facts about models that are neither named nor a way back are dropped."""
        facts = {uri: dict(self.lineage[uri]) for uri in (*named, *self.earlier) if uri in self.lineage}
        return json.dumps({"schema": SCHEMA, "earlier": list(self.earlier), "lineage": facts}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str) -> LiveModels:
        """Read a record.

        Raises:
            ConfigError: The text is not one.
        """
        try:
            loaded = json.loads(text)
            loaded["schema"] = str(loaded["schema"])
            facts = {str(uri): {str(k): str(v) for k, v in noted.items()} for uri, noted in loaded["lineage"].items()}
            earlier = [str(uri) for uri in loaded["earlier"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{where}: {RECORD} is not a record of {SCHEMA} ({error}); remove that key, and a new record begins"
            ) from error
        if loaded["schema"] != SCHEMA:
            raise ConfigError(f"{where}: {RECORD} has schema {loaded['schema']!r}, not {SCHEMA}; use a newer fairtag")
        return cls(facts, earlier)

    def _older(self, stable: str) -> Sequence[str]:
        """The models before this one; after a rollback, the record still holds those that came later."""
        known = list(self.earlier)
        return known[known.index(stable) + 1 :] if stable in known else known


@dataclass(frozen=True)
class State:
    """An InferenceService and its record, as they were read or made.

    Args:
        service: The InferenceService.
        live: The model that the ConfigMap names as live.
        models: The record.
    """

    service: Object
    live: str
    models: LiveModels

    @property
    def stable(self) -> str:
        """Address of the stable model folder."""
        return str(self.service["spec"]["predictor"].get("model", {}).get("storageUri", ""))

    @property
    def canaries(self) -> list[Object]:
        """The entries of canaries."""
        return list(self.service["spec"].get("canary") or [])

    @property
    def newest(self) -> str:
        """Address of the model folder that the latest change brought: a canary's, or else the stable one."""
        return canary_uri(self.canaries[0]) if self.canaries else self.stable

    @property
    def stable_deployment(self) -> str:
        """Name of the Deployment of the stable model, and of its Service."""
        return self._deployment(self.service["spec"]["predictor"].get("name"))

    @property
    def deployments(self) -> dict[str, str]:
        """The address of the model folder of each Deployment, the stable one first."""
        canaries = {self.canary_deployment(entry): canary_uri(entry) for entry in self.canaries}
        return {self.stable_deployment: self.stable, **canaries}

    def canary_deployment(self, entry: Mapping[str, Any]) -> str:
        """Name of the Deployment of a canary, and of its Service."""
        return self._deployment(entry["predictor"]["name"])

    def _deployment(self, predictor: str | None) -> str:
        name = self.service["metadata"]["name"]
        return f"{name}-{predictor}-predictor" if predictor else f"{name}-predictor"


def canary_uri(entry: Mapping[str, Any]) -> str:
    """Address of a canary's model folder."""
    return str(entry["predictor"]["model"]["storageUri"])
