"""The registration step: only a model with an accepted decision about exactly its model folder is registered."""

from kfp.dsl import Artifact, Input, Model

from components.images import component


@component("train")
def register(model_folder: Input[Model], decision: Input[Artifact], registry: str, pipeline_run: str = "") -> str:
    """Register the model as challenger; a rejected decision, or one about another model folder, ends the run here.

    Args:
        model_folder: The model folder.
        decision: The decision document about exactly this model folder.
        registry: Address of the MLflow server, or a folder for the embedded one.
        pipeline_run: Pipeline run, for the lineage.

    Returns:
        Version in the registry.
    """
    from pathlib import Path

    from components.adapters.mlflow import open_registry, record
    from components.adapters.signing import trusted_keys
    from fairtag.model.decision import read_decision

    models, folder, document = open_registry(registry), Path(model_folder.path), read_decision(Path(decision.path))
    run = record(models, folder, document)
    version = models.register(folder, document, run, pipeline_run=pipeline_run, trusted=trusted_keys())
    print(f"register: version {version.number} ({'new' if version.created else 'registered before'})")
    return version.number
