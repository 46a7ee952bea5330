"""Makes users of an MLflow server that asks for a login: ``python -m components.mlflow_users NAME...``.

The password of each is read from the environment (``PIPELINE_PASSWORD`` for ``pipeline``); a user who is there already
gets it anew, so that it can be changed in its secret alone. This runs before the server, in the same image, with the
configuration that ``MLFLOW_AUTH_CONFIG_PATH`` names. MLflow itself makes the administrator.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from fairtag.base.errors import ConfigError, FairtagError, UnavailableError, exit_code


def make_users(passwords: dict[str, str]) -> list[str]:
    """Make or update users; none of them is an administrator.

    Returns:
        What was done to each.

    Raises:
        UnavailableError: The users' database did not answer.
    """
    from mlflow.server.auth.config import read_auth_config
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    done = []
    try:
        store = SqlAlchemyStore()
        store.init_db(read_auth_config().database_uri)  # type: ignore[no-untyped-call]  # mlflow gives it no types
        for name, password in passwords.items():
            if store.has_user(name):
                store.update_user(name, password=password)
                done.append(f"{name}: password set")
            else:
                store.create_user(name, password)
                done.append(f"{name}: made")
    except SQLAlchemyError as error:
        raise UnavailableError(f"the database of MLflow's users did not answer ({type(error).__name__})") from error
    return done


def main(names: Sequence[str]) -> int:
    """Make the users of these names."""
    try:
        variables = {name: f"{name.upper()}_PASSWORD" for name in names}
        unset = [variable for variable in variables.values() if not os.environ.get(variable)]
        if unset or not names:
            raise ConfigError(f"name the users, and set {', '.join(unset) or 'NAME_PASSWORD of each'}")
        print("; ".join(make_users({name: os.environ[variable] for name, variable in variables.items()})))
    except FairtagError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
