"""The deployment step: an accepted bundle goes live, then is champion. It is never cached and judges nothing itself."""

from kfp.dsl import Artifact, Input, Model

from components.images import component


@component("train")
def deploy(
    bundle: Input[Model], decision: Input[Artifact], version: str, registry: str, target: str, pipeline_run: str = ""
) -> str:
    """Make the bundle live at the target and champion in the registry; a rejected decision ends the run here.

    Args:
        bundle: Folder of the model bundle.
        decision: The decision document.
        version: Version in the registry.
        registry: Address of the MLflow server, or a folder for the embedded one.
        target: A folder, which gets an atomic pointer live, or kserve://NAMESPACE/NAME?models=s3://bucket/models.
        pipeline_run: Pipeline run, for the lineage.

    Returns:
        Where the model is live.
    """
    from pathlib import Path

    from components.adapters.kserve import deploy_bundle
    from components.adapters.mlflow import open_registry
    from fairtag.model.decision import read_decision

    live = deploy_bundle(Path(bundle.path), read_decision(Path(decision.path)), target, run=pipeline_run)
    champion = open_registry(registry).promote(version)
    print(f"deploy: version {champion.number} is live at {live}")
    return live
