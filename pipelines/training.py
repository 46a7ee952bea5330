"""The training pipeline, as a table of contents.

No safety property rests on its control flow, which runners honour differently: ``register`` and ``deploy`` read the
decision document themselves.
"""

from kfp import dsl

from components.deploy import deploy
from components.evaluate import evaluate
from components.fit import fit
from components.ingest import ingest
from components.materialise import materialise
from components.register import register
from components.train import train
from components.training_set import training_set
from components.validate import validate

NAME = "fairtag-training"


@dsl.pipeline(  # type: ignore[untyped-decorator]  # kfp ships no types
    name=NAME, description="From a shop's tables to an accepted, registered and live pricing model."
)
def training(
    dataset: str = "synthetic",
    data: str = "",
    data_fingerprint: str = "",
    items: int = 3_000,
    users: int = 5_000,
    impressions: int = 200_000,
    max_quarantined: float = 0.05,
    preset: str = "standard",
    encoder_settings: str = "{}",
    checkpoints: str = "",
    features: str = "/features",
    feature_environment: str = "local",
    redis: str = "",
    feature_registry: str = "",
    registry: str = "http://mlflow:5000",
    target: str = "/models",
    code_version: str = "",
    seed: int = 0,
) -> None:
    """Train, judge and, where accepted, register and deploy.

    Args:
        dataset: Name of the data set.
        data: Folder of the data set.
        data_fingerprint: Digest of the source files; caching of every step hangs on it.
        items: Products of the simulated shop.
        users: Customers of the simulated shop.
        impressions: Items shown in the simulated shop.
        max_quarantined: Share of a table's rows above which broken rows refuse it.
        preset: Settings of the encoder: demo, standard or gpu.
        encoder_settings: JSON object of encoder settings that differ from the preset.
        checkpoints: Folder that outlives a killed training step.
        features: Feature folder that serving reads.
        feature_environment: local, redis or cluster.
        redis: host:port of the online store.
        feature_registry: Address of Feast's SQL registry.
        registry: Address of the MLflow server, or a folder.
        target: Where the model goes live.
        code_version: Version of the code.
        seed: Seed of everything drawn.
    """
    run = dsl.PIPELINE_JOB_NAME_PLACEHOLDER
    read = ingest(
        dataset=dataset,
        data=data,
        data_fingerprint=data_fingerprint,
        items=items,
        users=users,
        impressions=impressions,
        seed=seed,
    )
    valid = validate(raw=read.outputs["tables"], max_quarantined=max_quarantined)
    tables = valid.outputs["tables"]
    joined = training_set(tables=tables).outputs["joined"]
    online = materialise(
        tables=tables, features=features, environment=feature_environment, redis=redis, registry=feature_registry
    )
    tuned = train(tables=tables, preset=preset, settings=encoder_settings, checkpoints=checkpoints, seed=seed)
    fitted = fit(
        tables=tables,
        joined=joined,
        encoder=tuned.outputs["encoder"],
        dataset=dataset,
        code_version=code_version,
        pipeline_run=run,
        seed=seed,
    )
    model_folder = fitted.outputs["model_folder"]
    judged = evaluate(
        model_folder=model_folder,
        encoder=tuned.outputs["encoder"],
        tables=tables,
        joined=joined,
        registry=registry,
        seed=seed,
    )
    decision = judged.outputs["decision"]
    registered = register(model_folder=model_folder, decision=decision, registry=registry, pipeline_run=run)
    live = deploy(
        model_folder=model_folder,
        decision=decision,
        version=registered.output,
        registry=registry,
        target=target,
        pipeline_run=run,
    )
    live.after(online)
    # What these two change lies outside the run; a cached step would leave it as it was.
    online.set_caching_options(False)
    live.set_caching_options(False)
