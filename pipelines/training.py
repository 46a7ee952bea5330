"""The training pipeline, as a table of contents.

``register`` and ``deploy`` read the decision document themselves, since runners differ in how they honour control flow.
"""

from typing import Any

from kfp import dsl

from components.deploy import deploy
from components.evaluate import evaluate
from components.fit import fit
from components.ingest import ingest
from components.materialise import materialise
from components.publish import publish
from components.register import register
from components.train import train
from components.training_set import training_set
from components.validate import validate
from pipelines.settings import with_parameters

NAME = "fairtag-training"


@dsl.pipeline(  # type: ignore[untyped-decorator]  # kfp ships no types
    name=NAME, description="From a shop's tables to an accepted, registered and live pricing model."
)
@with_parameters  # one for each setting of pipelines.settings.RunSettings that a cluster has
def training(p: Any) -> None:
    """Train a model, evaluate it and, where it is accepted, register it and make it live."""
    run = dsl.PIPELINE_JOB_NAME_PLACEHOLDER
    raw = ingest(
        dataset=p.dataset,
        data=p.data,
        data_fingerprint=p.data_fingerprint,
        items=p.items,
        users=p.users,
        impressions=p.impressions,
        seed=p.seed,
    ).outputs["tables"]
    tables = validate(raw=raw, max_quarantined=p.max_quarantined).outputs["tables"]
    published = publish(
        tables=tables,
        data=p.data,
        to_tables=p.publish_tables,
        to_audit=p.publish_audit,
        to_outcomes=p.publish_outcomes,
    )
    joined = training_set(tables=tables).outputs["joined"]
    online = materialise(
        tables=tables,
        features=p.features,
        environment=p.feature_environment,
        redis=p.redis,
        registry=p.feature_registry,
    )
    encoder = train(tables=tables, preset=p.preset, settings=p.encoder, checkpoints=p.checkpoints, seed=p.seed).outputs[
        "encoder"
    ]
    model_folder = fit(
        tables=tables,
        joined=joined,
        encoder=encoder,
        dataset=p.dataset,
        demand=p.demand,
        policy=p.policy,
        code_version=p.code_version,
        pipeline_run=run,
        seed=p.seed,
    ).outputs["model_folder"]
    decision = evaluate(
        model_folder=model_folder,
        encoder=encoder,
        tables=tables,
        joined=joined,
        registry=p.registry,
        limits=p.evaluation,
        seed=p.seed,
    ).outputs["decision"]
    registered = register(model_folder=model_folder, decision=decision, registry=p.registry, pipeline_run=run)
    live = deploy(
        model_folder=model_folder,
        decision=decision,
        version=registered.output,
        registry=p.registry,
        target=p.target,
        timeout=p.deploy_timeout,
        pipeline_run=run,
    )
    live.after(online)
    # What these change lies outside the run: a cached step would leave it as it was.
    published.set_caching_options(False)
    online.set_caching_options(False)
    live.set_caching_options(False)
