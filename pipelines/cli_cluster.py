"""The commands of ``fairtag`` for a cluster: compile, submit, roll out, look back. Parses, wires and shows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipelines.options import Namespace, Platform, Rollout, Service, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.adapters.inference_service import InferenceService

console = Console()
PANEL = "On a cluster"


@spread
def compile_(
    platform: Platform,
    out: Annotated[Path, typer.Option(help="File for the pipeline, .yaml.")] = Path("build/fairtag-training.yaml"),
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="As Pipeline and PipelineVersion objects.")] = False,
    namespace: Annotated[str, typer.Option(help="Namespace of those objects.")] = "kubeflow",
) -> None:
    """Compile the training pipeline for Kubeflow Pipelines."""
    from pipelines.compilation import compile_pipeline

    written = compile_pipeline(out, platform.target(), namespace=namespace if kubernetes else None)
    console.print(f"written to {written}", highlight=False)


@spread
def submit(
    platform: Platform,
    host: Annotated[str, typer.Option(help="Address of the Kubeflow Pipelines API.")] = "http://localhost:8888",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value of the pipeline; repeat it.")
    ] = None,
    cron: Annotated[str | None, typer.Option(help="Run on a schedule: six fields, seconds first.")] = None,
    wait: Annotated[float, typer.Option(help="Follow the run for at most this many seconds; 0 returns at once.")] = 0,
    namespace: Annotated[str | None, typer.Option(help="Namespace of a multi-user installation.")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment of the run.")] = "fairtag",
    token: Annotated[Path | None, typer.Option(help="File with a bearer token.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the pipeline's YAML and send nothing.")] = False,
) -> None:
    """Send the training pipeline to Kubeflow: upload what changed, start a run or a schedule, follow it if asked.

    The same pipeline with the same parameters is not started twice: the run under way or done is found again.
    """
    from pipelines.compilation import compile_pipeline
    from pipelines.display import Display
    from pipelines.parameters import pipeline_parameters
    from pipelines.submit import Kubeflow

    target = platform.target()
    parameters = pipeline_parameters(parameter or [])
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            print(compile_pipeline(Path(folder) / "pipeline.yaml", target).read_text())
        return
    bearer = token.read_text().strip() if token else None
    kubeflow = Kubeflow(host, namespace=namespace, token=bearer, experiment=experiment)
    sent = kubeflow.schedule(cron, parameters, target) if cron else kubeflow.submit(parameters, target)
    state = "started" if sent.created else "found, it was sent before"
    console.print(f"{sent.name} {state}: {sent.url}", highlight=False, soft_wrap=True)
    if wait and not cron:
        with Display(console) as display:
            kubeflow.wait(sent.run_id, display.step, timeout=wait)


@spread
def canary(
    storage_uri: Annotated[
        str, typer.Argument(help="Where the second model's model folder is: s3://bucket/models/VERSION.")
    ],
    rollout: Rollout,
    to: Annotated[int, typer.Option(help="Percent of the traffic that it gets.")] = 10,
    decision: Annotated[Path | None, typer.Option(help="DECISION.json about it, instead of the registry.")] = None,
) -> None:
    """Send a share of the traffic to a second, accepted model; it is taken away again if it does not do well."""
    facts = _accepted_facts(storage_uri, rollout.registry, decision)
    _change(rollout, lambda live, dry: live.canary(storage_uri, to, facts, dry_run=dry))


@spread
def promote(rollout: Rollout) -> None:
    """Give all traffic to the canary; the model before is back if it does not become ready or answers badly."""
    _champion_follows(rollout, _change(rollout, lambda live, dry: live.promote(dry_run=dry)))


@spread
def rollback(rollout: Rollout) -> None:
    """Take the canary away; without one, go back to the model before this one."""
    _champion_follows(rollout, _change(rollout, lambda live, dry: live.rollback(dry_run=dry), undo=False))


def lineage(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")] = Path("runs/demo"),
    registry: Annotated[str | None, typer.Option(help="Address of an MLflow server; the run's own without.")] = None,
    live: Annotated[bool, typer.Option("--live", help="What the cluster's service says of itself instead.")] = False,
    namespace: Namespace = "fairtag",
    service: Service = "fairtag",
) -> None:
    """Show every registered version, or every live model, with the data, the decision and the run it comes from."""
    from components.adapters.inference_service import InferenceService
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import show_live, show_versions
    from pipelines.settings import RunLayout

    if live:
        show_live(InferenceService(namespace, service).lineage(), console)
        return
    show_versions(open_registry(registry or str(RunLayout(run.absolute()).registry)), console)


def _change(
    rollout: Rollout, make: Callable[[InferenceService, bool], dict[str, Any]], *, undo: bool = True
) -> InferenceService:
    from pipelines.rollout import change

    live = rollout.live()
    trial = rollout.trial(live)
    change(make, live, console, timeout=rollout.timeout, dry_run=rollout.dry_run, undo=undo, trial=trial)
    return live


def _accepted_facts(storage_uri: str, registry: str | None, decision: Path | None) -> dict[str, str]:
    from components.adapters.mlflow import open_registry
    from fairtag.base.errors import ConfigError
    from fairtag.model.decision import read_decision
    from pipelines.lineage import decided_facts, registered_facts

    if decision:
        return decided_facts(read_decision(decision), storage_uri)
    if registry:
        return registered_facts(open_registry(registry), storage_uri)
    raise ConfigError("only an accepted model may go live: name the --registry that holds it, or its --decision")


def _champion_follows(rollout: Rollout, live: InferenceService) -> None:
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import champion_follows

    if rollout.registry and not rollout.dry_run:
        told = champion_follows(open_registry(rollout.registry), live.lineage()[0]["storage-uri"])
        console.print(told, highlight=False)


def add_commands(app: typer.Typer) -> None:
    """Put the commands on a command line."""
    app.command(name="compile", rich_help_panel=PANEL)(compile_)
    for command in (submit, canary, promote, rollback, lineage):
        app.command(rich_help_panel=PANEL)(command)
