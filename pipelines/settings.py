"""Every setting of a run of the training pipeline, written once.

:class:`RunSettings` gives the options of ``fairtag run``, ``submit`` and ``compile``, the parameters of the Kubeflow
pipeline, what the file of ``--settings`` may hold, the checks, and the table in ``docs/configuration.md``
(:mod:`pipelines.options` and :mod:`pipelines.configuration` read them off it). A new setting is one field here, and its
use.

>>> RunSettings(data={"items": 500}).data.items
500
>>> RunSettings(data={"items": 0})  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
fairtag.base.errors.ConfigError: data.items: 0 is refused; it must be greater than or equal to 1 (Products of the ...)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, model_validator

from components.images import IMAGES
from fairtag.base.errors import ConfigError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.base.settings import Settings, layered, parse
from pipelines.options import Setting, flat, setting
from pipelines.run_folder import RunFolder

SECRET = "fairtag-steps"  # noqa: S105 - the names of Kubernetes secrets begin with it; k8s/secrets.sh makes them
KNOWN_SETS = ("synthetic", "complete-journey", "home-depot", "online-retail", "dominicks")  # a shop brings all others
PLACE = "US-NY"  # where the customers of the simulated shop are
DEMO = "demo"  # the run of the simulated shop
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def known_dataset(name: str) -> str:
    """A data set that there is.

    Raises:
        ConfigError: There is none of that name.
    """
    if name != "synthetic":  # --help must not wait for the readers
        from fairtag.data.loading import require_known

        require_known(name)
    return name


def known_place(jurisdiction: str) -> str:
    """A place as the disclosure table reads it.

    Raises:
        ConfigError: It is written otherwise.
    """
    if jurisdiction != PLACE:
        from fairtag.policy.disclosure import require_place

        require_place(jurisdiction)
    return jurisdiction


def plain(given: Any) -> Any:
    """A document as JSON has it: YAML reads ``2026-12-01`` as a date."""
    return json.loads(json.dumps(given, default=str)) if isinstance(given, Mapping) else given


class DataSettings(Settings):
    """The shop's tables."""

    dataset: Annotated[str, AfterValidator(known_dataset)] = setting(
        "synthetic",
        "Data set: synthetic (a simulated shop), csv or parquet (your tables), shopify, woocommerce, magento or "
        "google-merchant (exports), or one of the studies' data sets.",
    )
    folder: Annotated[str | None, BeforeValidator(lambda given: given and str(given))] = setting(
        None,
        "Folder of the data set; for csv and parquet, of your tables. With submit also its address on an object store, "
        "such as s3://fairtag-data/my-shop.",
        name="data",
    )
    fingerprint: str = setting(
        "",
        "Digest of the source files: steps whose inputs did not change are taken from the cache.",
        name="data_fingerprint",
        only="submit",
    )
    items: int = setting(3_000, "Products of the simulated shop.", ge=1)
    users: int = setting(5_000, "Customers of the simulated shop.", ge=1)
    impressions: int = setting(200_000, "Items shown to customers of the simulated shop.", ge=1)
    max_quarantined: float = setting(
        0.05,
        "Largest share of a table's rows that may break a critical rule; above it the table is refused.",
        ge=0,
        lt=1,
    )

    @property
    def path(self) -> Path | None:
        """The folder on this machine; None where there is none, or an object store holds it."""
        return Path(self.folder) if self.folder and not self.stored else None

    @property
    def stored(self) -> bool:
        """Whether an object store holds the folder."""
        return self.folder is not None and "://" in self.folder


class EncoderSettings(Settings):
    """The text encoder that is fine-tuned."""

    preset: Literal["demo", "standard", "gpu"] = setting(
        "demo",
        "Settings of the encoder: demo takes minutes on two cores; standard and gpu train to the end.",
        submit="standard",
    )
    settings: dict[str, Any] = setting(
        {},
        "Encoder settings that differ from the preset, such as the base model.",
        name="encoder",
        document="fairtag.encoder.config:EncoderConfig",
    )
    epochs: int | None = setting(None, "Passes of the encoder over the judged pairs.", only="run")
    max_steps: int | None = setting(None, "Most steps of the encoder; 0 leaves it as it came.", only="run")
    checkpoints: str = setting("", "Folder that outlives a killed training step; empty for none.", only="submit")

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the preset, the two shortcuts included."""
        short = {"epochs": self.epochs, "max_steps": self.max_steps}
        schedule = {name: value for name, value in short.items() if value is not None}
        return layered(self.settings, {"schedule": schedule}) if schedule else self.settings

    @model_validator(mode="after")
    def _known(self) -> EncoderSettings:
        if self.changes:
            from fairtag.encoder.config import preset

            preset(self.preset, self.changes)
        return self


class StoreSettings(Settings):
    """Where features and models are kept."""

    features: str = setting("/features", "Feature folder that serving reads.", only="submit")
    feature_environment: Literal["local", "redis", "cluster"] = setting(
        "local", "Feature stores: local (SQLite), redis, or cluster (Redis and an SQL registry).", only="submit"
    )
    redis: str = setting("", "host:port of Redis as the online feature store; empty for SQLite.")
    feature_registry: str = setting("", "Address of Feast's SQL registry.", only="submit")
    registry: str = setting(
        "", "Address of the MLflow server; empty for a registry in the run's folder.", submit="http://mlflow:5000"
    )
    publish_tables: str = setting(
        "", "Folder or URL for the items and orders that the stock job reads; empty for none.", only="submit"
    )
    publish_audit: str = setting(
        "", "Folder or URL for the audit groups, which the fairness job alone may read; empty for none.", only="submit"
    )
    publish_outcomes: str = setting(
        "", "Folder or URL for the outcomes beside your tables (outcomes.csv, .parquet); empty for none.", only="submit"
    )
    target: str = setting(
        "/models",
        "Where the model goes live: a folder, or a kserve:// address (docs/cluster.md).",
        only="submit",
    )
    deploy_timeout: float = setting(
        600.0,
        "Longest wait for a model on a cluster to serve, seconds, before the one before it comes back; a node may have "
        "to start and pull the image.",
        only="submit",
        gt=0,
    )


def image_map(given: Any) -> Any:
    """Images by role from ``role=image`` texts.

    Raises:
        ConfigError: A text is not such a pair, or the role is unknown.
    """
    pairs = _pairs(given)
    for role, image in pairs.items() if isinstance(pairs, dict) else ():
        if role not in IMAGES or not image:
            raise ConfigError(f"{role}={image} is refused; write role=image with a role of {', '.join(IMAGES)}")
    return pairs


def label_map(given: Any) -> Any:
    """Labels of nodes from ``label=value`` texts.

    Raises:
        ConfigError: A text is not such a pair.
    """
    pairs = _pairs(given)
    for label, value in pairs.items() if isinstance(pairs, dict) else ():
        if not label or not value:
            raise ConfigError(f"{label}={value} is refused; write label=value")
    return pairs


def toleration_list(given: Any) -> Any:
    """Tolerations from taints as ``kubectl taint`` writes them: ``key=value:effect`` or ``key:effect``.

    Raises:
        ConfigError: A text is not such a taint.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        return given
    return [_toleration(each) if isinstance(each, str) else each for each in given]


def _pairs(given: Any) -> Any:
    if isinstance(given, Sequence) and not isinstance(given, str):
        return dict(str(pair).partition("=")[::2] for pair in given)
    return given


def _toleration(text: str) -> dict[str, str]:
    taint, _, effect = text.rpartition(":")
    key, equals, value = taint.partition("=")
    if not key or effect not in EFFECTS or (equals and not value):
        raise ConfigError(f"{text!r} is refused; write key=value:effect or key:effect, effect of {', '.join(EFFECTS)}")
    match = {"operator": "Equal", "value": value} if equals else {"operator": "Exists"}
    return {"key": key, **match, "effect": effect}


class Platform(Settings):
    """What a cluster decides about the steps: images, accelerators, sizes."""

    images: Annotated[dict[str, str], BeforeValidator(image_map)] = setting(
        {}, "role=image of the roles data and train; repeat it.", name="image", many=True
    )
    gpus: int = setting(0, "Accelerators of the training step; 0 trains on the processor.", ge=0)
    gpu_type: str = setting("nvidia.com/gpu", "Resource name of the accelerator.")
    node_selector: Annotated[dict[str, str], BeforeValidator(label_map)] = setting(
        {}, "label=value of the nodes that the training step may run on; repeat it.", many=True
    )
    tolerations: Annotated[list[dict[str, str]], BeforeValidator(toleration_list)] = setting(
        [],
        "Taint that the training step tolerates, key=value:effect or key:effect; repeat it.",
        name="toleration",
        many=True,
    )
    cpu: int | None = setting(None, "Most processors of a step; without it, the preset's: demo 2, else 4.", ge=1)
    memory: int | None = setting(None, "Most memory of a step, GiB; without it, the preset's: demo 4, else 8.", ge=1)
    cpu_request: float | None = setting(
        None,
        "Processors that a step asks for; without it, a quarter of --cpu, or the preset's: demo 0.25, else 1.",
        gt=0,
    )
    memory_request: float | None = setting(
        None, "Memory that a step asks for, GiB; without it, half of --memory, or the preset's: demo 1, else 4.", gt=0
    )
    secret: str = setting(
        SECRET,
        "Kubernetes secrets with the stores' addresses and keys, by the beginning of their names: a step gets that of "
        "its role (SECRET-features, -registry, -deploy, -publish) and no other; '' for none.",
    )
    spark: str = setting("", "Spark master of the steps on tables, such as spark://spark.fairtag:7077; '' for none.")


class Resources(NamedTuple):
    """What a step asks for and is held to: processors, and memory in GiB."""

    cpu: int
    memory: int
    cpu_request: float
    memory_request: float


SIZES = {"demo": Resources(2, 4, 0.25, 1.0), "standard": Resources(4, 8, 1.0, 4.0), "gpu": Resources(4, 8, 1.0, 4.0)}


class LocalSettings(Settings):
    """A run on this machine."""

    out: Path | None = setting(
        None,
        "Folder of the run; everything it makes lies under it. Without one it is runs/demo for the simulated shop, "
        "and runs/ with the name of the data's folder, or of the data set, for any other.",
    )
    runner: Literal["process", "docker"] = setting(
        "process", "Where each step runs: in a process, or with docker in our images, locked down."
    )
    jurisdiction: Annotated[str, AfterValidator(known_place)] = setting(
        PLACE,
        "Where the customers are (ISO 3166: DE, US-NY); decides the disclosure.",
    )


class RunSettings(Settings):
    """What a person asks of one run of the training pipeline, on this machine or on a cluster."""

    seed: int = setting(0, "Seed of everything that is drawn.", ge=0)
    data: DataSettings = DataSettings()
    encoder: EncoderSettings = EncoderSettings()
    demand: dict[str, Any] = setting(
        {}, "Priors of the demand model, where they differ.", document="fairtag.demand.fit:DemandConfig"
    )
    policy: Annotated[dict[str, Any], BeforeValidator(plain)] = setting(
        {},
        "What the shop allows, where it differs: a policy as `fairtag policy` reads it (docs/policy.md).",
        document="fairtag.policy.shop_policy:ShopPolicy",
    )
    evaluation: dict[str, Any] = setting(
        {}, "Thresholds of the gates, where they differ.", document="fairtag.evaluation.limits:EvaluationLimits"
    )
    stores: StoreSettings = StoreSettings()
    code_version: str = setting("", "Version of the code, for the lineage.", only="submit")
    local: LocalSettings = setting(LocalSettings(), "A run on this machine.", only="run")
    platform: Platform = setting(Platform(), "What a cluster decides about the steps.", only="submit")

    @model_validator(mode="after")
    def _documents_are_settings(self) -> RunSettings:
        # A class of the core is imported only where something differs: --help must not wait for SciPy.
        for each in flat(RunSettings):
            given = each.value(self)
            if each.facts["document"] and len(each.path) == 1 and given:
                parse(document_class(each.facts["document"]), given, each.name)
        return self

    @property
    def folder(self) -> RunFolder:
        """The folder of the run."""
        return RunFolder((self.local.out or Path("runs") / self._shop_name()).absolute())

    def _shop_name(self) -> str:
        """What the folder of a run is called where none was named, so that no two shops share one."""
        dataset, data = self.data.dataset, self.data.path
        if dataset == "synthetic":
            return DEMO
        return data.absolute().name if dataset not in KNOWN_SETS and data is not None else dataset

    def parameters(self) -> dict[str, Any]:
        """The value of each parameter of the pipeline."""
        values = {each.name: each.value(self) for each in pipeline_settings()}
        return {name: parameter_text(value) for name, value in {**values, "encoder": self.encoder.changes}.items()}

    def changed_parameters(self) -> dict[str, Any]:
        """The parameters that differ from the pipeline's own defaults."""
        defaults = {each.name: parameter_text(each.default("submit")) for each in pipeline_settings()}
        return {name: value for name, value in self.parameters().items() if value != defaults[name]}

    def arguments(self, data_fingerprint: str, code_version: str) -> dict[str, Any]:
        """The parameters of a run on this machine: its stores lie in its folder where none is named.

        Args:
            data_fingerprint: Digest of the source files.
            code_version: Version of the code.
        """
        folder = self.folder
        return {
            **self.parameters(),
            "data": str(self.data.path.absolute()) if self.data.path else "",
            "data_fingerprint": data_fingerprint,
            "code_version": code_version,
            "checkpoints": str(folder.checkpoints),
            "features": str(folder.features),
            "feature_environment": "redis" if self.stores.redis else "local",
            "registry": self.stores.registry or str(folder.registry),
            "target": str(folder.root),
        }

    def key(self, data_fingerprint: str, code_version: str) -> str:
        """Digest of what makes two runs the same: data, code and every setting but places and the runner."""
        asked = {name: value for name, value in self.parameters().items() if name != "data"}
        return sha256_text(canonical_json([asked, data_fingerprint, code_version]))


def document_class(name: str) -> type[Any]:
    """The class of the core that ``module:Class`` names."""
    module, _, kind = name.partition(":")
    found: type[Any] = getattr(import_module(module), kind)
    return found


def pipeline_settings() -> list[Setting]:
    """The settings that are parameters of the Kubeflow pipeline, in its order."""
    return [each for each in flat(RunSettings, "submit") if each.group is not Platform]


def parameter_text(value: Any) -> Any:
    """A value as Kubeflow takes it: a number as it is, anything else as a text."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        return canonical_json(value)
    return "" if value is None else str(value)


def with_parameters(body: Callable[[Any], None]) -> Callable[..., None]:
    """A function of one namespace of parameters as one that declares each of them, as ``@dsl.pipeline`` reads it."""
    declared = pipeline_settings()

    def pipeline(*given: Any) -> None:
        body(SimpleNamespace(**{each.name: value for each, value in zip(declared, given, strict=True)}))

    parameters = []
    for each in declared:
        default = parameter_text(each.default("submit"))
        parameters.append(
            Parameter(each.name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=type(default))
        )
    said = "\n".join(f"    {each.name}: {each.field.description}" for each in declared)
    pipeline.__name__ = body.__name__
    pipeline.__doc__ = f"{body.__doc__}\n\nArgs:\n{said}\n"
    pipeline.__signature__ = Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]  # for inspect
    return pipeline
