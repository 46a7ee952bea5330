"""PostgreSQL's roles as the installation makes them: each owns its database, the endpoint reads one, none is super."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PASSWORDS = {"MLFLOW_PASSWORD": "m1", "FEAST_PASSWORD": "f1", "FEAST_READER_PASSWORD": "r1"}
pytestmark = pytest.mark.slow


def programs() -> Path:
    """The folder of PostgreSQL's programs."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), shutil.which("initdb")]
    for each in found:
        folder = each if isinstance(each, Path) else Path(str(each)).parent
        if each and (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("PostgreSQL is not installed; Debian has it as postgresql")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Callable[..., Any]]:
    """Connects to a PostgreSQL on which roles.sh has run; its attribute ``roles`` runs the script again."""
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed; Debian has it as postgresql-client")
    import psycopg

    folder = programs()
    user = next((each.pw_name for each in pwd.getpwall() if each.pw_name in ("postgres", "nobody")), None)
    become = {"user": user, "group": pwd.getpwnam(user).pw_gid} if user and os.getuid() == 0 else {}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="pg") as made:
        data = Path(made)
        if become:
            os.chown(data, pwd.getpwnam(str(user)).pw_uid, -1)
        environment = {**os.environ, "PGHOST": made, "PGPORT": port, **PASSWORDS}

        def call(*line: str) -> None:
            done = subprocess.run(
                line, capture_output=True, text=True, check=False, cwd=made, env=environment, **become
            )
            assert done.returncode == 0, done.stderr or done.stdout

        accepted = ("--auth-host=scram-sha-256", "--auth-local=trust")
        call(str(folder / "initdb"), "-D", f"{made}/d", "-U", "postgres", "--no-sync", *accepted)
        options = f"-k {made} -p {port} -c listen_addresses=127.0.0.1 -c fsync=off"
        call(str(folder / "pg_ctl"), "-D", f"{made}/d", "-w", "-l", f"{made}/log", "-o", options, "start")
        document = yaml.safe_load((ROOT / "k8s/base/stores/postgres-configmap.yaml").read_text())
        script = data / "roles.sh"
        script.write_text(document["data"]["roles.sh"])

        def roles(**changed: str) -> None:
            environment.update(changed)
            call("bash", str(script))

        def connect(role: str, password: str, database: str) -> Any:
            address = f"host=127.0.0.1 port={port} user={role} password={password} dbname={database}"
            return psycopg.connect(address, autocommit=True)

        connect.roles = roles  # type: ignore[attr-defined]
        connect.port = port  # type: ignore[attr-defined]
        try:
            roles()
            yield connect
        finally:
            call(str(folder / "pg_ctl"), "-D", f"{made}/d", "-m", "immediate", "stop")


def test_no_role_of_ours_is_more_than_a_role(postgres: Callable[..., Any]) -> None:
    with postgres("feast", "f1", "feast") as connection:
        rows = connection.execute(
            "SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles "
            "WHERE rolname IN ('mlflow', 'feast', 'feast_reader')"
        ).fetchall()
    assert sorted(rows) == [("feast", False), ("feast_reader", False), ("mlflow", False)]


@pytest.mark.parametrize(
    ("role", "password", "database"),
    [
        ("feast", "f1", "mlflow"),
        ("feast_reader", "r1", "mlflow"),
        ("mlflow", "m1", "feast"),
        ("mlflow", "m1", "postgres"),
        ("feast_reader", "f1", "feast"),
    ],
)
def test_a_role_reaches_no_other_database_and_needs_its_own_password(
    postgres: Callable[..., Any], role: str, password: str, database: str
) -> None:
    import psycopg

    with pytest.raises(psycopg.OperationalError, match=r"permission denied|password authentication failed"):
        postgres(role, password, database)


def test_the_reader_reads_what_feast_writes_and_changes_nothing(postgres: Callable[..., Any]) -> None:
    import psycopg

    with postgres("feast", "f1", "feast") as owner, postgres("feast_reader", "r1", "feast") as reader:
        owner.execute("CREATE TABLE registry (name text)")
        owner.execute("INSERT INTO registry VALUES ('user_behaviour')")
        assert reader.execute("SELECT name FROM registry").fetchall() == [("user_behaviour",)]
        for statement in ("INSERT INTO registry VALUES ('x')", "DROP TABLE registry", "CREATE TABLE mine (n int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)
        owner.execute("DROP TABLE registry")


def test_the_script_runs_again_and_takes_up_a_changed_password(postgres: Callable[..., Any]) -> None:
    import psycopg

    postgres.roles(MLFLOW_PASSWORD="it's new; DROP ROLE feast")  # type: ignore[attr-defined]
    with pytest.raises(psycopg.OperationalError):
        postgres("mlflow", "m1", "mlflow")
    with postgres("mlflow", r"'it\'s new; DROP ROLE feast'", "mlflow") as connection:
        connection.execute("CREATE TABLE runs (n int)")
        connection.execute("DROP TABLE runs")
    postgres.roles(MLFLOW_PASSWORD="m1")  # type: ignore[attr-defined]
    postgres("mlflow", "m1", "mlflow").close()


def test_the_endpoint_opens_the_registry_as_its_reader(
    postgres: Any, market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.infra.registry import sql

    from fairtag.base.errors import FeaturesMissing
    from serving.stores.feast_store import open_reader

    engines: list[Any] = []  # Feast disposes of none
    make = sql.create_engine
    monkeypatch.setattr(
        sql, "create_engine", lambda *given, **more: engines.append(make(*given, **more)) or engines[-1]
    )
    address = "postgresql+psycopg://{}:{}@127.0.0.1:{}/feast"
    config = yaml.safe_load((ROOT / "feature_repo" / "feature_store.cluster.yaml").read_text())
    config["online_store"] = {"type": "sqlite", "path": str(tmp_path / "online.db")}
    folders = {}
    for role, password in (("feast", "f1"), ("feast_reader", "r1")):
        folders[role] = tmp_path / role
        folders[role].mkdir()
        config["registry"]["path"] = address.format(role, password, postgres.port)
        (folders[role] / "feature_store.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(FeaturesMissing):
        open_reader(folders["feast_reader"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's and ibis' own deprecations
        from components.adapters import feast

        feast.materialise(feast.apply(folders["feast"], market.tables), datetime.now(UTC))
    reader = open_reader(folders["feast_reader"])
    assert reader.user(str(market.tables.users["user_id"].iloc[0])) is not None
    assert reader.filled_at() is not None
    for engine in engines:
        engine.dispose()
