"""``fairtag keys``: rotate an endpoint's keys in two phases, while it serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from serving.key_rotation import KeyFile

app = typer.Typer(no_args_is_help=True)
console = Console()

KindName = Annotated[str, typer.Argument(help="quote, user or api.", metavar="KIND")]
Run = Annotated[
    Path, typer.Option(help="Run whose keys to change when FAIRTAG_*_FILE names no other file.", metavar="RUN")
]
Force = Annotated[bool, typer.Option("--force", help="Do not wait for replicas, quotes or price days.")]
EXAMPLE = Path("runs/demo")


@app.command()
def show(run: Run = EXAMPLE) -> None:
    """List the keys and which are in use; secrets are never shown."""
    from fairtag.base.errors import ConfigError
    from serving.key_rotation import Kind

    for kind in Kind:
        try:
            file = _file(kind, run)
            listed = ", ".join(f"{key.name} ({'in use' if key.active else 'accepted'})" for key in file.states())
        except ConfigError as error:
            listed = str(error)
        console.print(f"{kind:<6}{listed}", highlight=False, soft_wrap=True)


@app.command()
def distribute(kind: KindName, run: Run = EXAMPLE) -> None:
    """Add a new key, which every replica accepts and none uses yet."""
    file = _file(kind, run)
    console.print(f"{file.path}: added {file.distribute()}", highlight=False, soft_wrap=True)
    console.print(_next(kind, "distribute"), highlight=False, soft_wrap=True)


@app.command()
def activate(kind: KindName, run: Run = EXAMPLE, force: Force = False) -> None:
    """Take the newest key into use; what the old one signed or named is still accepted."""
    from serving.settings import KeySettings

    file = _file(kind, run)
    name = file.activate(0.0 if force else 2 * KeySettings().key_check_seconds)
    console.print(f"{file.path}: {name} is in use", highlight=False, soft_wrap=True)
    console.print(_next(kind, "activate"), highlight=False, soft_wrap=True)


@app.command()
def retire(kind: KindName, run: Run = EXAMPLE, force: Force = False) -> None:
    """Drop the keys that are no longer in use; of API keys, the oldest."""
    from serving.key_rotation import old_key_seconds

    file = _file(kind, run)
    gone = file.retire(0.0 if force else old_key_seconds(file.kind))
    console.print(f"{file.path}: retired {', '.join(gone)}", highlight=False, soft_wrap=True)


def _file(kind: str, run: Path) -> KeyFile:
    from fairtag.base.errors import ConfigError
    from pipelines.run_folder import RunFolder
    from serving.key_rotation import Kind, key_file
    from serving.settings import ApiKeySettings, KeySettings

    if kind not in list(Kind):
        raise ConfigError(f"{kind!r} is no kind of key; there are {', '.join(Kind)}")
    return key_file(Kind(kind), RunFolder(run.absolute()).serving, KeySettings(), ApiKeySettings().api_keys_file)


def _next(kind: str, done: str) -> str:
    if kind == "api":
        return "give it to your clients, then `fairtag keys retire api`"
    if done == "distribute":
        return f"running endpoints read it within seconds; then `fairtag keys activate {kind}`"
    return f"when nothing of the old key is needed any more: `fairtag keys retire {kind}`"
