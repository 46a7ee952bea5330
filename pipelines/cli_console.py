"""``fairtag console``: the web pages for people, over a run or an endpoint that runs somewhere else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from fairtag.base.errors import ConfigError, FairtagError
from pipelines.api_key import KeyFile

if TYPE_CHECKING:
    from pipelines.run_folder import RunFolder

console = Console()
PORT = 8090
FOLLOW_SECONDS = "1"  # how often an endpoint of our own looks at the live policy: somebody sits and waits for it


def console_(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run, whose live model an endpoint is started for.", metavar="RUN")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Ask this endpoint; with RUN as well, the run's folders are read beside it.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the loopback needs --users or an identity provider.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 8090, or another where something listens there.")
    ] = None,
    users: Annotated[
        Path | None, typer.Option(help="File of users, their roles and hashed tokens; then everybody signs in.")
    ] = None,
    place: Annotated[str, typer.Option(help="Where customers are at first (DE, US-NY).")] = "US-NY",
    key_file: KeyFile = None,
) -> None:
    """Open the shop and its prices in a browser: storefront, reasons, table of prices, policy, models, reports.

    On the loopback nobody signs in; docs/console.md says how people do elsewhere. Purchases of the storefront count as
    outcomes in the next reports.
    """
    from console.server import serve_console
    from console.settings import ConsoleSettings
    from pipelines.run_folder import RunFolder
    from serving.ports import require_free

    if run is None and url is None:
        raise ConfigError("name the folder of a run, or an endpoint with --url")
    port = _port(host) if port is None else port
    require_free(host, port, -1)
    given: dict[str, Any] = {"host": host, "port": port, "users_file": users, "place": place, "key_file": key_file}
    folder = None if run is None else RunFolder(run.absolute())
    with _endpoint(folder, url) as address:
        settings = ConsoleSettings(**{**given, "url": address, **(_folders(folder) if folder else {})})
        shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
        console.print(
            f"open the shop at http://{escape(shown)}:{port} (Ctrl-C ends it)", highlight=False, soft_wrap=True
        )
        serve_console(settings, None if folder is None else RunDeployment(folder))


def _port(host: str) -> int:
    """The usual port, or a free one where something listens on that."""
    from pipelines.endpoint import free_port
    from serving.ports import require_free

    try:
        require_free(host, PORT, -1)
    except ConfigError:
        return free_port()
    return PORT


class RunDeployment:
    """What a console may do with the models of a run on this machine; its endpoints follow within seconds.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def versions(self) -> list[dict[str, str]]:
        """The registered models, newest first; none where the run has no registry of its own."""
        from components.adapters.mlflow import open_registry
        from pipelines.lineage import registered

        return registered(open_registry(str(self._folder.registry))) if self._folder.registry.is_dir() else []

    def before(self) -> str:
        """Version of the model that was live before the live one; empty where none is recorded."""
        from components.adapters.kserve import model_before

        try:
            return model_before(self._folder.root).name
        except FairtagError:
            return ""

    def promote(self, version: str, who: str, why: str) -> str:
        """Make a registered, accepted model live, and champion of the registry."""
        from components.adapters.kserve import deploy_model_folder
        from components.adapters.mlflow import open_registry
        from components.adapters.signing import trusted_keys
        from fairtag.model.decision import read_decision
        from fairtag.model.manifest import DECISION

        registry = open_registry(str(self._folder.registry))
        found = next((each for each in registry.versions() if each.number == version), None)
        if found is None:
            raise ConfigError(f"version {version!r}: the registry of the run has none of that number")
        with tempfile.TemporaryDirectory() as scratch:
            fetched = registry.fetch(found, Path(scratch) / "model")
            decision = read_decision(fetched / DECISION)
            target = str(self._folder.root)
            noted = f"console: {who}: {why}"
            deploy_model_folder(fetched, decision, target, timeout=0, run=noted, trusted=trusted_keys())
        registry.promote(version)
        return f"Version {version} is live. Endpoints of the run take it up within seconds."

    def rollback(self, who: str, why: str) -> str:
        """Make the model live that was live before; the registry's champion follows."""
        from components.adapters.kserve import roll_back_folder
        from components.adapters.mlflow import open_registry
        from pipelines.lineage import champion_follows

        before, now = roll_back_folder(self._folder.root, who=who, why=why)
        follows = ""
        if self._folder.registry.is_dir():
            follows = f" {champion_follows(open_registry(str(self._folder.registry)), now)}."
        return f"Model {now} is live again, in place of {before}.{follows}"


@contextmanager
def _endpoint(folder: RunFolder | None, url: str | None) -> Iterator[str]:
    """The address of the endpoint: the one that is named, or one of our own for the run."""
    if url is not None or folder is None:
        yield url or ""
        return
    from components.adapters.kserve import live_model_folder
    from pipelines.endpoint import serve

    live_model_folder(folder.root)
    os.environ.setdefault("FAIRTAG_POLICY_SECONDS", FOLLOW_SECONDS)
    console.print(f"loading {escape(str(folder.live))}", highlight=False, soft_wrap=True)
    with serve(folder.live, folder.features, folder.serving) as address:
        yield address


def _folders(folder: RunFolder) -> dict[str, Any]:
    """Where a console finds the folders of a run."""
    from fairtag.policy.live_policy import FOLDER
    from pipelines.traffic import OUTCOMES

    return {
        "model_folder": folder.live,
        "tables": folder.tables,
        "quotes": str(folder.serving / "quotes"),
        "outcomes": str(folder.serving / OUTCOMES),
        "reports": folder.reports,
        "ledger": folder.root / "ledger",
        "decision": folder.decision,
        "training_set": folder.training_set,
        "policy_store": str(folder.serving / FOLDER),
        "state_dir": folder.root / "console",
    }


def add_command(app: typer.Typer) -> None:
    """Put the command on a command line."""
    app.command("console")(console_)
