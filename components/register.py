"""The registration step: only an accepted decision about exactly this bundle gets in."""

from kfp.dsl import Artifact, Input, Model

from components.images import component


@component("train")
def register(bundle: Input[Model], decision: Input[Artifact], registry: str, pipeline_run: str = "") -> str:
    """Register the bundle as challenger; a rejected decision or another bundle ends the run here.

    Args:
        bundle: Folder of the model bundle.
        decision: The decision document.
        registry: Address of the MLflow server, or a folder for the embedded one.
        pipeline_run: Pipeline run, for the lineage.

    Returns:
        Version in the registry.
    """
    from pathlib import Path

    from components.adapters.mlflow import open_registry, record
    from fairtag.model.decision import read_decision

    models, folder, verdict = open_registry(registry), Path(bundle.path), read_decision(Path(decision.path))
    version = models.register(folder, verdict, record(models, folder, verdict), pipeline_run=pipeline_run)
    print(f"register: version {version.number} ({'new' if version.created else 'registered before'})")
    return version.number
