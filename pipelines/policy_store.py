"""The live policy of a run or of a cluster, and the model that it applies to, as the commands find them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from fairtag.base.errors import ConfigError
from fairtag.model.policy_change import POLICY, AcceptedModel, accepted_model
from fairtag.policy.live_policy import FOLDER, LivePolicyStore, open_store
from pipelines.run_folder import RunFolder

STORE: Final = "FAIRTAG_POLICY_STORE"
Run = Annotated[Path | None, typer.Argument(help="Folder of a run, whose endpoints follow within 30 s.", metavar="RUN")]
Store = Annotated[
    str | None,
    typer.Option(
        help="Where the live policy lies instead of the run's folder: a folder, s3://, redis://, postgresql://, or "
        f"several with commas ({STORE}).",
        metavar="ADDRESS",
    ),
]


def policy_store(run: Path | None, store: str | None) -> LivePolicyStore:
    """The versions, signed and checked where the environment has the policy's keys.

    Args:
        run: The folder of a run.
        store: Address of the store; that of the environment where neither is given.

    Raises:
        ConfigError: Nothing was named, or there is no such run.
    """
    from components.adapters.signing import policy_signer, policy_verifier

    address = store or (None if run else os.environ.get(STORE))
    if address is None:
        if run is None or not run.is_dir():
            named = "no run was named" if run is None else f"{run}: no such run"
            raise ConfigError(f"{named}; name the folder of a run, or the live policy's store with --store")
        address = str(RunFolder(run.absolute()).serving / FOLDER)
    return open_store(address, policy_signer(), policy_verifier())


def live_model(run: Path | None) -> AcceptedModel | None:
    """What the model that serves was accepted with; None where no run with one is named."""
    live = None if run is None else RunFolder(run.absolute()).live
    return accepted_model(live.resolve()) if live is not None and (live / POLICY).is_file() else None
