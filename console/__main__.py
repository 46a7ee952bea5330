"""``python -m console``: serve the console by the environment's settings, add a user, or check the audit log.

python -m console
python -m console user users.json ada approver
python -m console audit runs/demo/console
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from console.audit import open_audit_log
from console.settings import ConsoleSettings
from console.users import Role, add_user
from fairtag.base.errors import ConfigError, FairtagError, exit_code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m console", description=__doc__)
    commands = found.add_subparsers(dest="command")
    user = commands.add_parser("user", help="Add a user, or give one a new token; prints the token once.")
    user.add_argument("file", type=Path)
    user.add_argument("name")
    user.add_argument("role", choices=[role.word for role in Role])
    audit = commands.add_parser("audit", help="Check every line of an audit log, and say how far it goes.")
    audit.add_argument("folder", type=Path)
    audit.add_argument("--sign", action="store_true", help="Sign one that you trust with the console's key.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, add a user or check the audit log; an error is one line, and the exit code is that of its kind."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "user":
            print(add_user(given.file, given.name, given.role))
            return 0
        if given.command == "audit":
            if not given.folder.is_dir():
                raise ConfigError(f"{given.folder}: no such folder; name the console's FAIRTAG_CONSOLE_STATE_DIR")
            log = open_audit_log(ConsoleSettings(state_dir=given.folder))
            print(log.seal() if given.sign else log.verify())
            return 0
        from console.server import serve_console

        serve_console(ConsoleSettings())
    except FairtagError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
