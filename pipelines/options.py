"""Options that several commands share: annotated fields of a dataclass, spread over each command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from components.adapters.inference_service import InferenceService
    from pipelines.compilation import Target
    from pipelines.smoke import Trial

Namespace = Annotated[str, typer.Option(help="Namespace of the InferenceService.")]
Service = Annotated[str, typer.Option(help="Name of the InferenceService.")]


@dataclass(frozen=True)
class Platform:
    """What a platform decides about the steps of the pipeline."""

    image: Annotated[list[str] | None, typer.Option(help="role=image for data and train; repeat it.")] = None
    gpus: Annotated[int, typer.Option(help="Accelerators of the training step.")] = 0
    gpu_type: Annotated[str, typer.Option(help="Resource name of the accelerator.")] = "nvidia.com/gpu"
    node_selector: Annotated[
        list[str] | None, typer.Option(help="label=value of the nodes that the training step may run on; repeat it.")
    ] = None
    toleration: Annotated[
        list[str] | None,
        typer.Option(help="key=value:effect or key:effect that the training step tolerates; repeat it."),
    ] = None
    cpu: Annotated[int, typer.Option(help="Most processors of a step.")] = 4
    memory: Annotated[int, typer.Option(help="Most memory of a step, GiB.")] = 8
    secret: Annotated[str, typer.Option(help="Secret with the stores' addresses and keys; '' for none.")] = (
        "fairtag-steps"  # noqa: S105 - a name
    )
    spark: Annotated[
        str, typer.Option(help="Spark master of the steps on tables, such as spark://spark.fairtag:7077; '' for none.")
    ] = ""

    def target(self) -> Target:
        """The same as compilation takes it.

        Raises:
            ConfigError: An option cannot be meant.
        """
        from pipelines.compilation import Target, image_map, label_map, toleration_list

        return Target(
            images=image_map(self.image or []),
            gpus=self.gpus,
            gpu_type=self.gpu_type,
            node_selector=label_map(self.node_selector or []),
            tolerations=toleration_list(self.toleration or []),
            cpu=self.cpu,
            memory=self.memory,
            secret=self.secret,
            spark=self.spark,
        )


@dataclass(frozen=True)
class Rollout:
    """Which service is changed, and how it is waited for and tried."""

    namespace: Namespace = "fairtag"
    service: Service = "fairtag"
    timeout: Annotated[float, typer.Option(help="Longest wait for the service to be ready, seconds.")] = 600
    registry: Annotated[
        str | None, typer.Option(help="MLflow server: it holds the accepted models, and is kept in step.")
    ] = None
    url: Annotated[
        str | None, typer.Option(help="Address at which pages are asked for; the service's own without.")
    ] = None
    key_file: Annotated[Path | None, typer.Option(help="File with the endpoint's bearer key.")] = None
    query: Annotated[str, typer.Option(help="What those pages search for.")] = "drill"
    pages: Annotated[int, typer.Option(min=1, help="Pages that the new model must answer.")] = 20
    most_ms: Annotated[
        float, typer.Option(min=1, help="95th percentile of their time above which it is undone, ms.")
    ] = 1_000
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="Do not ask for pages afterwards.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would change, checked by the cluster; change nothing.")
    ] = False

    def live(self) -> InferenceService:
        """The service that is named."""
        from components.adapters.inference_service import InferenceService

        return InferenceService(self.namespace, self.service)

    def trial(self, live: InferenceService) -> Trial | None:
        """How it is tried; None where it is not.

        Raises:
            ConfigError: Neither the service nor the options have an address.
        """
        from fairtag.base.errors import ConfigError
        from pipelines.smoke import Trial

        if self.no_smoke:
            return None
        address = self.url or (live.read().get("status") or {}).get("url")
        if not address:
            raise ConfigError(
                "the service has no address of its own: name one with --url, or go without with --no-smoke"
            )
        key = self.key_file.read_text(encoding="utf-8").split() if self.key_file else []
        return Trial(address, key[0] if key else None, self.query, self.pages, self.most_ms)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter of a dataclass type spread into one option a field, as typer reads them."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: given.annotation for name, given in signature.parameters.items() if is_dataclass(given.annotation)
    }

    def options() -> Iterator[Parameter]:
        for name, parameter in signature.parameters.items():
            if name not in groups:
                yield parameter.replace(kind=Parameter.KEYWORD_ONLY)
                continue
            hints = get_type_hints(groups[name], include_extras=True)
            for each in fields(groups[name]):
                yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])

    @wraps(command)
    def spread_out(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        command(**given)

    shown = list(options())
    spread_out.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]  # read by inspect
    spread_out.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    del spread_out.__wrapped__  # else its own signature would be read
    return spread_out
