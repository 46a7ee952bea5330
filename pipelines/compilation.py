"""Compiles the training pipeline to YAML for Kubeflow, with a platform's images, resources and secrets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from components.adapters.spark import MASTER
from components.images import IMAGES, SPARK_IMAGE
from fairtag.base.files import write_atomic
from pipelines.settings import Platform

TRAIN_STEP = "train"
# Variables of the steps that talk to the stores; the secret has a key of each name (k8s/secrets.sh makes it).
SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "materialise": ("FAIRTAG_REDIS", "FAIRTAG_FEAST_REGISTRY"),
    "deploy": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
}
SPARK_STEPS = ("validate", "training-set", "materialise")
HOURS = 12  # after which a step that hangs is stopped and frees its node


def compile_pipeline(out: Path, platform: Platform | None = None, *, namespace: str | None = None) -> Path:
    """Compile the pipeline to a file.

    Args:
        out: The file.
        platform: What the cluster decides about the steps.
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
    pipeline = _on_platform(platform or Platform())
    return write_atomic(out, lambda path: compiler.Compiler().compile(pipeline, str(path), **options))


def _on_platform(platform: Platform) -> Any:
    """The pipeline, traced again with the platform's decisions on its tasks."""
    from kfp import dsl
    from kfp.dsl import pipeline_context

    from pipelines.training import NAME, training

    @wraps(training.pipeline_func)
    def traced(*arguments: Any) -> None:
        training.pipeline_func(*arguments)
        for name, task in pipeline_context.Pipeline.get_default_pipeline().tasks.items():
            _set_task(name, task, platform)

    return dsl.pipeline(name=NAME, description=training.description)(traced)


def _set_task(name: str, task: Any, platform: Platform) -> None:
    from kfp import kubernetes

    default = task.container_spec.image
    role = next(role for role, image in IMAGES.items() if image == default)
    on_spark = bool(platform.spark) and name in SPARK_STEPS
    task.set_container_image(platform.images.get(role, SPARK_IMAGE if on_spark else default))
    if on_spark:
        task.set_env_variable(MASTER, platform.spark)
    task.set_cpu_request(f"{250 * platform.cpu}m").set_cpu_limit(str(platform.cpu))
    task.set_memory_request(f"{512 * platform.memory}Mi").set_memory_limit(f"{platform.memory}Gi")
    kubernetes.set_timeout(task, HOURS * 3600)
    keys = SECRET_KEYS.get(name, ())
    if platform.secret and keys:
        kubernetes.use_secret_as_env(task, platform.secret, {key: key for key in keys})
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
