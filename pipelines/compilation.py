"""The training pipeline as YAML for Kubeflow, with a platform's images, resources and secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from components.adapters.spark import MASTER
from components.images import IMAGES, SPARK_IMAGE
from fairtag.base.errors import ConfigError
from fairtag.base.files import write_atomic

TRAIN_STEP = "train"
# What the steps that talk to the stores read from the secret (k8s/secrets.sh makes it): key = variable.
SECRET = "fairtag-steps"  # noqa: S105 - a name
SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "materialise": ("FAIRTAG_REDIS", "FAIRTAG_FEAST_REGISTRY"),
    "deploy": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
}
SPARK_STEPS = ("validate", "training-set", "materialise")
HOURS = 12  # a step that hangs holds its node no longer
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Target:
    """What a platform decides about the steps.

    Args:
        images: Image of each role, where it is not the default.
        gpus: Accelerators of the training step; 0 trains on the processor.
        gpu_type: Resource name of the accelerator.
        node_selector: Labels of the nodes that the training step may run on.
        tolerations: Taints it tolerates, as Kubernetes writes them.
        cpu: Most processors of a step; a quarter is asked for.
        memory: Most memory of a step that holds a model; half is asked for.
        secret: Secret with the stores' addresses and keys, in the namespace of the steps; empty for none.
        spark: Spark master of the steps on tables, which then run in the image that holds Spark; empty for none.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    gpu_type: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()
    cpu: int = 4
    memory: int = 8
    secret: str = SECRET
    spark: str = ""

    def __post_init__(self) -> None:
        for name, value, least in (("gpus", self.gpus, 0), ("cpu", self.cpu, 1), ("memory", self.memory, 1)):
            if value < least:
                raise ConfigError(f"--{name} {value} is refused; it must be at least {least}")


def image_map(pairs: Sequence[str]) -> dict[str, str]:
    """Images by role from ``role=image`` texts.

    Raises:
        ConfigError: A text is no such pair, or the role is unknown.
    """
    images = dict(pair.partition("=")[::2] for pair in pairs)
    for role, image in images.items():
        if role not in IMAGES or not image:
            raise ConfigError(f"--image {role}={image} is refused; write role=image with a role of {', '.join(IMAGES)}")
    return images


def label_map(pairs: Sequence[str]) -> dict[str, str]:
    """Labels of nodes from ``label=value`` texts.

    Raises:
        ConfigError: A text is no such pair.
    """
    labels = dict(pair.partition("=")[::2] for pair in pairs)
    for label, value in labels.items():
        if not label or not value:
            raise ConfigError(f"--node-selector {label}={value} is refused; write label=value")
    return labels


def toleration_list(texts: Sequence[str]) -> list[dict[str, str]]:
    """Tolerations from texts as ``kubectl taint`` writes taints: ``key=value:effect`` or ``key:effect``.

    Raises:
        ConfigError: A text is no such taint.
    """
    found = []
    for text in texts:
        taint, _, effect = text.rpartition(":")
        key, equals, value = taint.partition("=")
        if not key or effect not in EFFECTS or (equals and not value):
            raise ConfigError(
                f"--toleration {text!r} is refused; write key=value:effect, effect of {', '.join(EFFECTS)}"
            )
        match = {"operator": "Equal", "value": value} if equals else {"operator": "Exists"}
        found.append({"key": key, **match, "effect": effect})
    return found


def compile_pipeline(out: Path, target: Target | None = None, *, namespace: str | None = None) -> Path:
    """Compile the pipeline to a file.

    Args:
        out: The file.
        target: What the platform decides.
        namespace: Write Pipeline and PipelineVersion objects of that namespace instead of the plain specification.
    """
    from kfp import compiler

    from pipelines.training import NAME

    options: dict[str, Any] = {}
    if namespace is not None:
        objects = compiler.compiler_utils.KubernetesManifestOptions(
            pipeline_name=NAME, pipeline_version_name=f"{NAME}-1", namespace=namespace, include_pipeline_manifest=True
        )
        options = {"kubernetes_manifest_format": True, "kubernetes_manifest_options": objects}
    fitted = _fitted(target or Target())
    return write_atomic(out, lambda path: compiler.Compiler().compile(fitted, str(path), **options))


def _fitted(target: Target) -> Any:
    """The pipeline, traced once more with the platform's decisions on its tasks."""
    from kfp import dsl
    from kfp.dsl import pipeline_context

    from pipelines.training import NAME, training

    @wraps(training.pipeline_func)
    def fitted(*arguments: Any) -> None:
        training.pipeline_func(*arguments)
        for name, task in pipeline_context.Pipeline.get_default_pipeline().tasks.items():
            _fit(name, task, target)

    return dsl.pipeline(name=NAME, description=training.description)(fitted)


def _fit(name: str, task: Any, target: Target) -> None:
    from kfp import kubernetes

    default = task.container_spec.image
    role = next(role for role, image in IMAGES.items() if image == default)
    on_spark = bool(target.spark) and name in SPARK_STEPS
    task.set_container_image(target.images.get(role, SPARK_IMAGE if on_spark else default))
    if on_spark:
        task.set_env_variable(MASTER, target.spark)
    task.set_cpu_request(f"{250 * target.cpu}m").set_cpu_limit(str(target.cpu))
    task.set_memory_request(f"{512 * target.memory}Mi").set_memory_limit(f"{target.memory}Gi")
    kubernetes.set_timeout(task, HOURS * 3600)
    keys = SECRET_KEYS.get(name, ())
    if target.secret and keys:
        kubernetes.use_secret_as_env(task, target.secret, {key: key for key in keys})
    if name == TRAIN_STEP:
        _place(task, target)


def _place(task: Any, target: Target) -> None:
    """The training step on its nodes, with its accelerators."""
    from kfp import kubernetes

    if target.gpus:
        task.set_accelerator_type(target.gpu_type).set_accelerator_limit(target.gpus)
    for label, value in target.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in target.tolerations:
        kubernetes.add_toleration(task, **toleration)
