"""The users of MLflow's login: made, given a new password, and none of them an administrator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.mlflow_users import main

pytest.importorskip("flask_wtf", reason="MLflow's login needs Flask-WTF (mlflow[auth]), which is not installed here")

CHECK = """
import sys
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore()
store.init_db(sys.argv[1])
print(store.authenticate_user("pipeline", "first-password-1"), store.authenticate_user("pipeline", "second-password-2"),
      store.get_user("pipeline").is_admin)
"""


@pytest.mark.slow
def test_a_user_is_made_once_and_its_password_follows_the_secret(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'users.db'}"
    (tmp_path / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {database}\nadmin_username = admin\n"
    )
    environment = {**os.environ, "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini")}

    def run(*line: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, *line], env={**environment, **more}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    users = ("-m", "components.mlflow_users", "pipeline")
    assert run(*users, PIPELINE_PASSWORD="first-password-1") == "pipeline: made"
    assert run("-c", CHECK, database) == "True False False"
    assert run(*users, PIPELINE_PASSWORD="second-password-2") == "pipeline: password set"
    assert run("-c", CHECK, database) == "False True False"


def test_a_password_that_is_not_set_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPELINE_PASSWORD", raising=False)
    assert main(["pipeline"]) == 2
    assert "PIPELINE_PASSWORD" in capsys.readouterr().err
