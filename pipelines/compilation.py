"""The training pipeline as YAML for Kubeflow, with a platform's images and accelerators. Knows no cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.images import IMAGES
from pricing.errors import ConfigError
from pricing.files import write_atomic

TRAIN_STEP = "train"


@dataclass(frozen=True)
class Target:
    """What a platform decides about the steps.

    Args:
        images: Image of each role, where it is not the default.
        gpus: Accelerators of the training step; 0 trains on the processor.
        gpu_type: Resource name of the accelerator.
        node_selector: Labels of the nodes that the training step may run on.
        tolerations: Taints it tolerates, as Kubernetes writes them.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    gpu_type: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()


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


def compile_pipeline(out: Path, target: Target | None = None, *, namespace: str | None = None) -> Path:
    """Compile the pipeline to a file.

    Args:
        out: The file.
        target: What the platform decides.
        namespace: Write Pipeline and PipelineVersion objects of that namespace instead of the plain specification.
    """
    from kfp import compiler

    from pipelines.training import NAME, training

    options: dict[str, Any] = {}
    if namespace is not None:
        objects = compiler.compiler_utils.KubernetesManifestOptions(
            pipeline_name=NAME, pipeline_version_name=f"{NAME}-1", namespace=namespace, include_pipeline_manifest=True
        )
        options = {"kubernetes_manifest_format": True, "kubernetes_manifest_options": objects}

    def write(path: Path) -> None:
        compiler.Compiler().compile(training, str(path), **options)
        documents = [_fitted(document, target or Target()) for document in yaml.safe_load_all(path.read_text())]
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))

    return write_atomic(out, write)


def _fitted(document: dict[str, Any], target: Target) -> dict[str, Any]:
    """The document with the platform's images, accelerators and nodes; what is no specification stays as it is."""
    specification = document.get("spec", {}).get("pipelineSpec", document)
    executors = specification.get("deploymentSpec", {}).get("executors", {})
    images = {default: target.images.get(role, default) for role, default in IMAGES.items()}
    for executor in executors.values():
        executor["container"]["image"] = images[executor["container"]["image"]]
    if executors and target.gpus:
        resources = executors[f"exec-{TRAIN_STEP}"]["container"].setdefault("resources", {})
        resources["accelerator"] = {"resourceType": target.gpu_type, "resourceCount": str(target.gpus)}
    return document
