"""The commands of ``fairtag`` for a cluster: compile, submit, roll out, look back. Parses, wires and shows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from components.adapters.inference_service import InferenceService
    from pipelines.compilation import Target
    from pipelines.smoke import Trial

console = Console()
PANEL = "On a cluster"

Images = Annotated[list[str] | None, typer.Option("--image", help="role=image for data and train; repeat it.")]
Gpus = Annotated[int, typer.Option(help="Accelerators of the training step.")]
GpuType = Annotated[str, typer.Option(help="Resource name of the accelerator.")]
NodeSelector = Annotated[
    list[str] | None, typer.Option(help="label=value of the nodes that the training step may run on; repeat it.")
]
Tolerations = Annotated[
    list[str] | None,
    typer.Option("--toleration", help="key=value:effect or key:effect that the training step tolerates; repeat it."),
]
Cpu = Annotated[int, typer.Option(help="Most processors of a step.")]
Memory = Annotated[int, typer.Option(help="Most memory of a step, GiB.")]
Stores = Annotated[str, typer.Option("--secret", help="Secret with the stores' addresses and keys; '' for none.")]


def compile_(
    out: Annotated[Path, typer.Option(help="File for the pipeline, .yaml.")] = Path("build/fairtag-training.yaml"),
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="As Pipeline and PipelineVersion objects.")] = False,
    namespace: Annotated[str, typer.Option(help="Namespace of those objects.")] = "kubeflow",
    image: Images = None,
    gpus: Gpus = 0,
    gpu_type: GpuType = "nvidia.com/gpu",
    node_selector: NodeSelector = None,
    toleration: Tolerations = None,
    cpu: Cpu = 4,
    memory: Memory = 8,
    stores: Stores = "fairtag-steps",
) -> None:
    """Compile the training pipeline for Kubeflow Pipelines."""
    from pipelines.compilation import compile_pipeline

    target = _target(image, gpus, gpu_type, node_selector, toleration, cpu, memory, stores)
    written = compile_pipeline(out, target, namespace=namespace if kubernetes else None)
    console.print(f"written to {written}", highlight=False)


def submit(
    host: Annotated[str, typer.Option(help="Address of the Kubeflow Pipelines API.")] = "http://localhost:8888",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value of the pipeline; repeat it.")
    ] = None,
    cron: Annotated[str | None, typer.Option(help="Run on a schedule: six fields, seconds first.")] = None,
    wait: Annotated[float, typer.Option(help="Follow the run for at most this many seconds; 0 returns at once.")] = 0,
    namespace: Annotated[str | None, typer.Option(help="Namespace of a multi-user installation.")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment of the run.")] = "fairtag",
    token: Annotated[Path | None, typer.Option(help="File with a bearer token.")] = None,
    image: Images = None,
    gpus: Gpus = 0,
    gpu_type: GpuType = "nvidia.com/gpu",
    node_selector: NodeSelector = None,
    toleration: Tolerations = None,
    cpu: Cpu = 4,
    memory: Memory = 8,
    stores: Stores = "fairtag-steps",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the pipeline's YAML and send nothing.")] = False,
) -> None:
    """Send the training pipeline to Kubeflow: upload what changed, start a run or a schedule, follow it if asked.

    The same pipeline with the same parameters is not started twice: the run under way or done is found again.
    """
    from pipelines.compilation import compile_pipeline
    from pipelines.display import Display
    from pipelines.parameters import pipeline_parameters
    from pipelines.submit import Kubeflow

    target = _target(image, gpus, gpu_type, node_selector, toleration, cpu, memory, stores)
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


Namespace = Annotated[str, typer.Option(help="Namespace of the InferenceService.")]
Service = Annotated[str, typer.Option(help="Name of the InferenceService.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would change, checked by the cluster; change nothing.")
]
Timeout = Annotated[float, typer.Option(help="Longest wait for the service to be ready, seconds.")]


NoSmoke = Annotated[bool, typer.Option("--no-smoke", help="Do not ask for pages afterwards.")]
Url = Annotated[str | None, typer.Option(help="Address at which pages are asked for; the service's own without.")]
KeyFile = Annotated[Path | None, typer.Option(help="File with the endpoint's bearer key.")]
Query = Annotated[str, typer.Option(help="What those pages search for.")]
Pages = Annotated[int, typer.Option(min=1, help="Pages that the new model must answer.")]
MostMs = Annotated[float, typer.Option(min=1, help="95th percentile of their time above which it is undone, ms.")]
RegistryAddress = Annotated[str | None, typer.Option(help="Address of the MLflow server, which is kept in step.")]


def canary(
    storage_uri: Annotated[str, typer.Argument(help="Where the second model's bundle is: s3://bucket/models/VERSION.")],
    to: Annotated[int, typer.Option(help="Percent of the traffic that it gets.")] = 10,
    registry: Annotated[str | None, typer.Option(help="MLflow server in which the model is registered.")] = None,
    decision: Annotated[Path | None, typer.Option(help="DECISION.json about it, instead of the registry.")] = None,
    namespace: Namespace = "fairtag",
    service: Service = "fairtag",
    timeout: Timeout = 600,
    url: Url = None,
    key_file: KeyFile = None,
    query: Query = "drill",
    pages: Pages = 20,
    most_ms: MostMs = 1_000,
    no_smoke: NoSmoke = False,
    dry_run: DryRun = False,
) -> None:
    """Send a share of the traffic to a second, accepted model; it is taken away again if it does not do well."""
    from components.adapters.inference_service import InferenceService
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import decided_facts, registered_facts
    from pipelines.rollout import change
    from pricing.bundle.decision import read_decision
    from pricing.errors import ConfigError

    if decision:
        facts = decided_facts(read_decision(decision), storage_uri)
    elif registry:
        facts = registered_facts(open_registry(registry), storage_uri)
    else:
        raise ConfigError("only an accepted model may go live: name the --registry that holds it, or its --decision")
    live = InferenceService(namespace, service)
    trial = None if no_smoke else _trial(live, url, key_file, query, pages, most_ms)
    change(
        lambda live, dry: live.canary(storage_uri, to, facts, dry_run=dry),
        live,
        console,
        timeout=timeout,
        dry_run=dry_run,
        trial=trial,
    )


def promote(
    namespace: Namespace = "fairtag",
    service: Service = "fairtag",
    timeout: Timeout = 600,
    registry: RegistryAddress = None,
    url: Url = None,
    key_file: KeyFile = None,
    query: Query = "drill",
    pages: Pages = 20,
    most_ms: MostMs = 1_000,
    no_smoke: NoSmoke = False,
    dry_run: DryRun = False,
) -> None:
    """Give all traffic to the canary; the model before is back if it does not become ready or answers badly."""
    from components.adapters.inference_service import InferenceService
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import champion_follows
    from pipelines.rollout import change

    live = InferenceService(namespace, service)
    trial = None if no_smoke else _trial(live, url, key_file, query, pages, most_ms)
    change(lambda live, dry: live.promote(dry_run=dry), live, console, timeout=timeout, dry_run=dry_run, trial=trial)
    if registry and not dry_run:
        console.print(champion_follows(open_registry(registry), live.lineage()[0]["storage-uri"]), highlight=False)


def rollback(
    namespace: Namespace = "fairtag",
    service: Service = "fairtag",
    timeout: Timeout = 600,
    registry: RegistryAddress = None,
    url: Url = None,
    key_file: KeyFile = None,
    query: Query = "drill",
    pages: Pages = 20,
    most_ms: MostMs = 1_000,
    no_smoke: NoSmoke = False,
    dry_run: DryRun = False,
) -> None:
    """Take the canary away; without one, go back to the model before this one."""
    from components.adapters.inference_service import InferenceService
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import champion_follows
    from pipelines.rollout import change

    live = InferenceService(namespace, service)
    trial = None if no_smoke else _trial(live, url, key_file, query, pages, most_ms)
    change(
        lambda live, dry: live.rollback(dry_run=dry),
        live,
        console,
        timeout=timeout,
        dry_run=dry_run,
        undo=False,
        trial=trial,
    )
    if registry and not dry_run:
        console.print(champion_follows(open_registry(registry), live.lineage()[0]["storage-uri"]), highlight=False)


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


def _trial(
    live: InferenceService, url: str | None, key_file: Path | None, query: str, pages: int, most_ms: float
) -> Trial:
    from pipelines.smoke import Trial
    from pricing.errors import ConfigError

    address = url or (live.read().get("status") or {}).get("url")
    if not address:
        raise ConfigError("the service has no address of its own: name one with --url, or go without with --no-smoke")
    key = key_file.read_text(encoding="utf-8").split() if key_file else []
    return Trial(address, key[0] if key else None, query, pages, most_ms)


def _target(
    image: list[str] | None,
    gpus: int,
    gpu_type: str,
    node_selector: list[str] | None,
    toleration: list[str] | None,
    cpu: int,
    memory: int,
    stores: str,
) -> Target:
    from pipelines.compilation import Target, image_map, label_map, toleration_list

    return Target(
        images=image_map(image or []),
        gpus=gpus,
        gpu_type=gpu_type,
        node_selector=label_map(node_selector or []),
        tolerations=toleration_list(toleration or []),
        cpu=cpu,
        memory=memory,
        secret=stores,
    )


def add_commands(app: typer.Typer) -> None:
    """Put the commands on a command line."""
    app.command(name="compile", rich_help_panel=PANEL)(compile_)
    for command in (submit, canary, promote, rollback, lineage):
        app.command(rich_help_panel=PANEL)(command)
