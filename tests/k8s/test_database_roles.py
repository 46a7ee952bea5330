"""PostgreSQL's roles as the installation makes them: each owns its database, the endpoint reads one, none is super."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PASSWORDS = {
    "MLFLOW_PASSWORD": "m1",
    "FEAST_PASSWORD": "f1",
    "FEAST_READER_PASSWORD": "r1",
    "POLICY_WRITER_PASSWORD": "w1",
    "POLICY_CONSOLE_PASSWORD": "c1",
    "POLICY_READER_PASSWORD": "p1",
    "POLICY_MONITORS_PASSWORD": "o1",
    "POLICY_FAIRNESS_PASSWORD": "a1",
}
POLICY_READERS = {"policy_reader": "p1", "policy_monitors": "o1", "policy_fairness": "a1"}
POLICY_ROLES = {"policy_writer": "w1", "policy_console": "c1", **POLICY_READERS}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres(postgres_server: Any) -> Callable[..., Any]:
    """Connects to a PostgreSQL on which roles.sh has run; its attribute ``roles`` runs the script again."""
    import psycopg

    document = yaml.safe_load((ROOT / "k8s/base/stores/postgres-configmap.yaml").read_text())
    script = postgres_server.folder / "roles.sh"
    script.write_text(document["data"]["roles.sh"])
    passwords = dict(PASSWORDS)

    def roles(**changed: str) -> None:
        passwords.update(changed)
        postgres_server.call("bash", str(script), **passwords)

    def connect(role: str, password: str, database: str) -> Any:
        address = f"host=127.0.0.1 port={postgres_server.port} user={role} password={password} dbname={database}"
        return psycopg.connect(address, autocommit=True)

    connect.roles = roles  # type: ignore[attr-defined]
    connect.port = postgres_server.port  # type: ignore[attr-defined]
    roles()
    return connect


def test_no_role_of_ours_is_more_than_a_role(postgres: Callable[..., Any]) -> None:
    with postgres("feast", "f1", "feast") as connection:
        rows = connection.execute(
            "SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles "
            "WHERE rolname NOT LIKE 'pg!_%' ESCAPE '!' AND rolname != 'postgres'"
        ).fetchall()
    assert sorted(rows) == [(role, False) for role in sorted(["feast", "feast_reader", "mlflow", *POLICY_ROLES])]


@pytest.mark.parametrize(
    ("role", "password", "database"),
    [
        ("feast", "f1", "mlflow"),
        ("feast_reader", "r1", "mlflow"),
        ("mlflow", "m1", "feast"),
        ("mlflow", "m1", "postgres"),
        ("feast_reader", "f1", "feast"),
        ("policy_writer", "w1", "mlflow"),
        ("policy_reader", "p1", "feast"),
        ("policy_monitors", "o1", "mlflow"),
        ("policy_fairness", "o1", "policy"),
        ("feast", "f1", "policy"),
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


def test_people_and_the_console_add_versions_of_the_policy_and_endpoint_and_monitors_read_them(postgres: Any) -> None:
    import psycopg

    from fairtag.base.errors import UnavailableError
    from fairtag.policy.live_policy import LivePolicyStore
    from fairtag.policy.policy_backends import PostgresBackend
    from fairtag.policy.shop_policy import ShopPolicy

    stores = {
        role: LivePolicyStore(
            PostgresBackend(f"postgresql+psycopg://{role}:{password}@127.0.0.1:{postgres.port}/policy")
        )
        for role, password in POLICY_ROLES.items()
    }
    ada = {"who": "ada", "why": "x"}
    stores["policy_console"].change(ShopPolicy(at_list=True), **ada)
    postgres.roles()  # an upgrade runs it again
    assert stores["policy_writer"].undo(**ada).version == 2
    for reader in POLICY_READERS:
        assert [each.policy.at_list for each in stores[reader].history()] == [True, False]
        with pytest.raises(UnavailableError, match="permission denied"):
            stores[reader].change(ShopPolicy(at_list=True), **ada)
    for role, password in POLICY_ROLES.items():
        for statement in ("UPDATE {} SET content = ''", "DELETE FROM {}", "TRUNCATE {}", "CREATE TABLE mine (n int)"):
            refused = pytest.raises(psycopg.errors.InsufficientPrivilege)
            with postgres(role, password, "policy") as connection, refused:
                connection.execute(statement.format("fairtag_policy"))


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
