"""The evaluation step: challenger and champion on the same hold-out, ending in the decision."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.images import component


@component("train")
def evaluate(
    model_folder: Input[Model],
    encoder: Input[Model],
    tables: Input[Dataset],
    joined: Input[Dataset],
    decision: Output[Artifact],
    report: Output[HTML],
    metrics: Output[Metrics],
    registry: str,
    seed: int = 0,
) -> None:
    """Score the new model folder and the champion of the registry, gate by gate, and record the run either way.

    Args:
        model_folder: Folder of the model folder on trial.
        encoder: Folder of its encoder, whose loss curves are recorded.
        tables: Folder of validated tables.
        joined: Point-in-time training set, hold-out included.
        decision: The decision document, JSON.
        report: The decision as a page with pictures.
        metrics: Value of each gate.
        registry: Address of the MLflow server, or a folder for the embedded one.
        seed: Seed of bootstraps and splits.
    """
    import tempfile
    from pathlib import Path

    import pandas as pd

    from components.adapters.mlflow import open_registry, record
    from fairtag.base.tables import read_tables
    from fairtag.evaluation import evaluate as judge
    from fairtag.model.decision import write_decision
    from fairtag.model.decision_report import write_report

    models, challenger = open_registry(registry), Path(model_folder.path)
    with tempfile.TemporaryDirectory() as folder:
        champion = models.champion_model_folder(Path(folder) / "champion")
        verdict = judge(
            challenger,
            champion,
            read_tables(Path(tables.path)),
            pd.read_parquet(joined.path),
            seed=seed,
            progress=lambda line: print(f"evaluate: {line}", flush=True),
        )
    write_decision(Path(decision.path), verdict)
    write_report(Path(report.path), verdict)
    record(models, challenger, verdict, Path(encoder.path))
    for gate in verdict["gates"]:
        print(f"evaluate: {gate['name']}: {gate['status']} ({gate['value']}, {gate['rule']})")
        if gate["value"] is not None:
            metrics.log_metric(gate["name"], gate["value"])
    print(f"evaluate: {'accepted' if verdict['accepted'] else 'rejected'}")
