"""The deployment step: an accepted model goes live and becomes the champion. It is never cached."""

from kfp.dsl import Artifact, Input, Model

from components.images import component


@component("train")
def deploy(
    model_folder: Input[Model],
    decision: Input[Artifact],
    version: str,
    registry: str,
    target: str,
    timeout: float,
    pipeline_run: str = "",
) -> str:
    """Make the model live at the target and champion in the registry; a rejected decision ends the run here.

    Args:
        model_folder: The model folder.
        decision: The decision document about exactly this model folder.
        version: Version in the registry.
        registry: Address of the MLflow server, or a folder for the embedded one.
        target: A folder, in which live will point to the model, or kserve://NAMESPACE/NAME?models=s3://bucket/models.
        timeout: Longest wait for the model on a cluster to serve, seconds; then the one before it comes back.
        pipeline_run: Pipeline run, for the lineage.

    Returns:
        Where the model is live.
    """
    from pathlib import Path

    from components.adapters.kserve import deploy_model_folder
    from components.adapters.mlflow import open_registry
    from components.adapters.signing import trusted_keys
    from fairtag.model.decision import read_decision

    folder, document = Path(model_folder.path), read_decision(Path(decision.path))
    live = deploy_model_folder(folder, document, target, timeout=timeout, run=pipeline_run, trusted=trusted_keys())
    champion = open_registry(registry).promote(version)
    print(f"deploy: version {champion.number} is live at {live}")
    return live
