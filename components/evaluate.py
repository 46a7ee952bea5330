"""The evaluation step: challenger and champion on the same hold-out, ending in a decision."""

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
    limits: str,
    seed: int,
) -> None:
    """Score challenger and champion gate by gate on the same hold-out, and record the run whatever the decision is.

    Args:
        model_folder: Model folder of the challenger.
        encoder: Folder of its encoder, whose loss curves are recorded.
        tables: Folder of validated tables.
        joined: Point-in-time training set, hold-out included.
        decision: The decision document, JSON.
        report: The decision as a page with pictures.
        metrics: Value of each gate.
        registry: Address of the MLflow server, or a folder for the embedded one.
        limits: JSON object of thresholds of the gates that differ from the defaults.
        seed: Seed of bootstraps and splits.
    """
    import tempfile
    from pathlib import Path

    import pandas as pd

    from components.adapters.mlflow import open_registry, record
    from components.adapters.signing import signed
    from fairtag.base.settings import parse
    from fairtag.base.tables import read_tables
    from fairtag.evaluation.evaluate import evaluate as run_gates
    from fairtag.evaluation.limits import EvaluationLimits
    from fairtag.model.decision import capability_rows, write_decision
    from fairtag.model.decision_report import write_report

    models, challenger = open_registry(registry), Path(model_folder.path)
    with tempfile.TemporaryDirectory() as folder:
        champion = models.champion_model_folder(Path(folder) / "champion")
        gates = run_gates(
            challenger,
            champion,
            read_tables(Path(tables.path)),
            pd.read_parquet(joined.path),
            seed=seed,
            limits=parse(EvaluationLimits, limits, "evaluation"),
            progress=lambda line: print(f"evaluate: {line}", flush=True),
        )
    document = signed(gates)
    write_decision(Path(decision.path), document)
    write_report(Path(report.path), document)
    record(models, challenger, document, Path(encoder.path))
    for gate in document["gates"]:
        print(f"evaluate: {gate['name']}: {gate['status']} ({gate['value']}, {gate['rule']})")
        if gate["value"] is not None:
            metrics.log_metric(gate["name"], gate["value"])
    for name, capability in capability_rows(document):
        word = "accepted" if capability["accepted"] else "not accepted"
        print(f"evaluate: {name.replace('_', ' ')} {word}" + "".join(f"; needs {need}" for need in capability["needs"]))
    print(f"evaluate: {'accepted' if document['accepted'] else 'rejected'}")
