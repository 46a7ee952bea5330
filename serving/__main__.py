"""``python -m serving --model-folder DIR``: serve a model folder until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from fairtag.base.errors import FairtagError, exit_code
from serving.logs import configure
from serving.ports import require_free
from serving.settings import FeatureSettings, ServingSettings

logger = logging.getLogger("serving")


def parser() -> argparse.ArgumentParser:
    """The options; each one not given is read from the environment as ``FAIRTAG_<NAME>``."""
    options = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve a model folder over KServe's V1 and V2 REST and gRPC.",
        epilog="Every other setting comes from the environment: FAIRTAG_*, FAIRTAG_LIMIT_*, FAIRTAG_FEATURE_*.",
        allow_abbrev=False,
    )
    options.add_argument("--model-folder", type=Path, help="the model folder")
    options.add_argument(
        "--decision", type=Path, help="DECISION.json about this model folder, instead of the one in it"
    )
    options.add_argument(
        "--feature-repo", type=Path, help="folder of feature_store.yaml; without it no customer has features"
    )
    options.add_argument("--run-dir", type=Path, help="folder of generated keys and, by default, of the quote log")
    options.add_argument("--quote-log", help="fsspec URL of the quote log")
    options.add_argument("--model-name", help="model name in the URLs")
    options.add_argument("--host", help="address to listen on")
    options.add_argument("--http-port", type=int, help="HTTP port, 0 for any")
    options.add_argument("--grpc-port", type=int, help="gRPC port, 0 for any, -1 for none")
    options.add_argument("--workers", type=int, help="processes that price pages beside the server's")
    options.add_argument("--drain-seconds", type=float, help="how long to keep serving after SIGTERM")
    options.add_argument("--watch-seconds", type=float, help="how often to look for a new model, 0 never")
    options.add_argument("--wait-seconds", type=float, help="how often to look for what is not there yet, 0 never")
    options.add_argument("--log-level", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="least severe log line")
    return options


def settings_of(arguments: argparse.Namespace) -> ServingSettings:
    """Options over environment over defaults.

    Raises:
        ValidationError: A setting is outside its range, or there is no model folder.
    """
    given: dict[str, Any] = {name: value for name, value in vars(arguments).items() if value is not None}
    repo = given.pop("feature_repo", None)
    if repo is not None:
        given["features"] = FeatureSettings(repo=repo)
    return ServingSettings(**given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve. The exit code is 0 after a clean stop, else that of the error that prevented the start."""
    try:
        settings = settings_of(parser().parse_args(arguments))
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            print(f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}", file=sys.stderr)
        return 2
    configure(settings.log_level)
    try:
        require_free(settings.host, settings.http_port, settings.grpc_port)
    except FairtagError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would bury it
        return exit_code(error)
    sys.argv = sys.argv[:1]  # KServe parses the command line of whoever imports it
    from serving.waiting import start

    try:
        start(settings, say=lambda text: print(text, flush=True))
    except (FairtagError, OSError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would bury it
        return exit_code(error)
    return 0


def leave(code: int) -> NoReturn:
    """End the process at once, without the interpreter's own shutdown.

    With KServe and Feast loaded that shutdown takes seconds, and tens of seconds on a busy machine. A refused start may
    also leave a thread behind that is still importing.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
