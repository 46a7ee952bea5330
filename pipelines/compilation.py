"""Compiles the training pipeline to YAML for Kubeflow, with a platform's images, resources and secrets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from components.adapters.spark import MASTER
from components.images import IMAGES, SPARK_IMAGE
from fairtag.base.errors import ConfigError
from fairtag.base.files import write_atomic
from pipelines.settings import SIZES, Platform, Resources

TRAIN_STEP = "train"
# Variables of each role's secret, which has a key of each name (k8s/secrets.sh makes them), and the roles of the steps.
_STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "features": ("FAIRTAG_REDIS", "FAIRTAG_FEAST_REGISTRY"),
    "registry": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "sign": ("FAIRTAG_SIGNING_KEY",),
    "trust": ("FAIRTAG_TRUSTED_KEYS",),
    "deploy": _STORE_KEYS,
    "publish": _STORE_KEYS,
    "data": _STORE_KEYS,
}
STEP_ROLES: Mapping[str, tuple[str, ...]] = {
    "ingest": ("data",),
    "materialise": ("features",),
    "evaluate": ("registry", "sign"),
    "register": ("registry", "trust"),
    "deploy": ("registry", "deploy", "trust"),
    "publish": ("publish",),
}
SPARK_STEPS = ("validate", "training-set", "materialise")
HOURS = 12  # after which a step that hangs is stopped and frees its node


def compile_pipeline(
    out: Path, platform: Platform | None = None, *, preset: str = "standard", namespace: str | None = None
) -> Path:
    """Compile the pipeline to a file.

    Args:
        out: The file.
        platform: What the cluster decides about the steps.
        preset: The encoder's preset, which sizes the steps where the platform does not.
        namespace: Write Pipeline and PipelineVersion objects in this namespace instead of the plain specification.
    """
    from kfp import compiler

    from pipelines.training import NAME

    options: dict[str, Any] = {}
    if namespace is not None:
        objects = compiler.compiler_utils.KubernetesManifestOptions(
            pipeline_name=NAME, pipeline_version_name=f"{NAME}-1", namespace=namespace, include_pipeline_manifest=True
        )
        options = {"kubernetes_manifest_format": True, "kubernetes_manifest_options": objects}
    platform = platform or Platform()
    pipeline = _on_platform(platform, resources(platform, preset))
    return write_atomic(out, lambda path: compiler.Compiler().compile(pipeline, str(path), **options))


def resources(platform: Platform, preset: str) -> Resources:
    """What each step asks for and is held to: the platform's choices, and the preset's where it makes none.

    Raises:
        ConfigError: A step would ask for more than it is held to.
    """
    chosen = SIZES[preset]
    if platform.cpu is not None:
        chosen = chosen._replace(cpu=platform.cpu, cpu_request=platform.cpu / 4)
    if platform.memory is not None:
        chosen = chosen._replace(memory=platform.memory, memory_request=platform.memory / 2)
    asked = {name: getattr(platform, name) for name in ("cpu_request", "memory_request")}
    chosen = chosen._replace(**{name: value for name, value in asked.items() if value is not None})
    for name in ("cpu", "memory"):
        most, least = getattr(chosen, name), getattr(chosen, f"{name}_request")
        if least > most:
            raise ConfigError(
                f"--{name}-request {least:g} is refused; a step asks for at most what it is held to (--{name} {most})"
            )
    return chosen


def _on_platform(platform: Platform, size: Resources) -> Any:
    """The pipeline, traced again with the platform's decisions on its tasks."""
    from kfp import dsl
    from kfp.dsl import pipeline_context

    from pipelines.training import NAME, training

    @wraps(training.pipeline_func)
    def traced(*arguments: Any) -> None:
        training.pipeline_func(*arguments)
        for name, task in pipeline_context.Pipeline.get_default_pipeline().tasks.items():
            _set_task(name, task, platform, size)

    return dsl.pipeline(name=NAME, description=training.description)(traced)


def _set_task(name: str, task: Any, platform: Platform, size: Resources) -> None:
    from kfp import kubernetes

    default = task.container_spec.image
    role = next(role for role, image in IMAGES.items() if image == default)
    on_spark = bool(platform.spark) and name in SPARK_STEPS
    task.set_container_image(platform.images.get(role, SPARK_IMAGE if on_spark else default))
    if on_spark:
        task.set_env_variable(MASTER, platform.spark)
    task.set_cpu_request(f"{1000 * size.cpu_request:.0f}m").set_cpu_limit(str(size.cpu))
    task.set_memory_request(f"{1024 * size.memory_request:.0f}Mi").set_memory_limit(f"{size.memory}Gi")
    kubernetes.set_timeout(task, HOURS * 3600)
    for secret in STEP_ROLES.get(name, ()) if platform.secret else ():
        kubernetes.use_secret_as_env(task, f"{platform.secret}-{secret}", {key: key for key in SECRET_KEYS[secret]})
    if name == TRAIN_STEP:
        _place(task, platform)


def _place(task: Any, platform: Platform) -> None:
    """Put the training step on its nodes, with its accelerators."""
    from kfp import kubernetes

    if platform.gpus:
        task.set_accelerator_type(platform.gpu_type).set_accelerator_limit(platform.gpus)
    for label, value in platform.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in platform.tolerations:
        kubernetes.add_toleration(task, **toleration)
