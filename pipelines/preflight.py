"""What can be refused before a run begins is refused here, and leaves nothing behind.

Each check names the option, the value, the rule and what to write instead.
"""

from __future__ import annotations

import os
from pathlib import Path

from fairtag.base.errors import ConfigError, MissingDataError
from fairtag.base.files import read_json
from fairtag.base.tables import METADATA
from pipelines.settings import KNOWN_SETS, RunSettings

TRACES = ("run.json", "pipeline.log", ".lock")  # what every run leaves in its folder, however it ended


def require_startable(settings: RunSettings) -> None:
    """Refuse a run that could only fail, before anything is made.

    Raises:
        ConfigError: A setting is wrong.
        MissingDataError: The folder of the data is not there.
    """
    _require_data(settings)
    _require_folder(settings.folder.root)
    _require_same_shop(settings)
    _require_policy(settings)
    if settings.local.runner == "docker":
        from pipelines.containers import check_images

        check_images()


def _require_data(settings: RunSettings) -> None:
    dataset, data = settings.data.dataset, settings.data.path
    if dataset == "synthetic":
        return
    require_here(settings.data.folder)
    if data is None:
        raise MissingDataError(f"data set {dataset} is read from a folder and none was given; name it with --data")
    if not data.is_dir():
        raise MissingDataError(f"--data {data}: no such folder; name the folder that holds the tables")


def require_here(data: object) -> None:
    """Refuse an address of an object store: only the pipeline on a cluster has the keys of one.

    Raises:
        ConfigError: With the command that copies the folder here.
    """
    text = str(data or "")
    if "://" in text:
        name = text.rstrip("/").rpartition("/")[2] or "my-shop"
        raise ConfigError(
            f"--data {text}: an object store is read on a cluster (`fairtag submit -p data={text}`); copy the folder "
            f"here with `python -m monitoring.fetch {text}={name}`, and then give --data {name}"
        )


def _require_folder(out: Path) -> None:
    """The folder of the run can be made and written to."""
    if "python3" in str(out):
        raise ConfigError(f"--out {out}: KFP's local runner rewrites 'python3' in paths; choose a folder without it")
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"--out {out}: {there} is a file; choose a folder")
    if there == out and not any((out / name).exists() for name in TRACES):
        foreign = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if foreign:
            shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
            raise ConfigError(f"--out {out}: the folder holds other files ({shown}); choose one of the run's own")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out}: {there} cannot be written to; choose another folder, or change its owner")


def _require_same_shop(settings: RunSettings) -> None:
    """One folder belongs to one shop: its champion, features and quotes are of that shop."""
    folder, data = settings.folder, settings.data
    state = read_json(folder.state) if folder.state.is_file() else {}
    before, source = state.get("dataset"), state.get("data")
    if before is None:
        return
    if shop_kind(before) != shop_kind(data.dataset):
        raise ConfigError(
            f"--out {folder.root}: a run of the data set {before} lies there, this is one of {data.dataset}; "
            "choose another folder with --out"
        )
    if settings.local.out is None and source and data.path and source != str(data.path.absolute()):
        raise ConfigError(
            f"{folder.root}: a run of {source} lies there, this is one of {data.path.absolute()}; name the folder "
            "of this shop's runs with --out"
        )


def shop_kind(dataset: str) -> str:
    """The data set, and one word for all that a shop brings itself: its tables may change their form."""
    return dataset if dataset in KNOWN_SETS else "own tables"


def _require_policy(settings: RunSettings) -> None:
    """A policy that names a currency names that of the tables."""
    policy, data = settings.policy, settings.data
    metadata = data.path / METADATA if data.path is not None else None
    if "currency" not in policy or metadata is None or not metadata.is_file() or data.dataset in KNOWN_SETS:
        return
    from fairtag.data.own_tables import read_metadata

    code = read_metadata(metadata).currency
    if code is not None and code != policy["currency"]:
        raise ConfigError(
            f"--policy: currency is {policy['currency']}, {metadata} says {code}; state one currency in both, or "
            "leave it out of the policy"
        )
