"""A real Redis and a real PostgreSQL of a module's own, which a test may kill, freeze or start again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

POLICY_DOC = Path(__file__).parents[2] / "docs" / "policy.md"


class RedisServer:
    """A Redis of its own process."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._line = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._line += ["--save", "", "--appendonly", "yes"]
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A client for a test that looks into the store, or harms what is in it."""
        from redis import Redis

        return Redis(port=self.port, decode_responses=True)

    def start(self) -> None:
        from redis import Redis
        from redis.exceptions import RedisError

        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._line, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            try:
                with Redis(port=self.port) as client:
                    client.ping()
                    return
            except RedisError:
                assert time.monotonic() < end, "redis-server did not answer in time"
                time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(60)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server of this module alone."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed; Debian has it as a package of that name")
    server = RedisServer(program, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


class PostgresServer:
    """A PostgreSQL of its own, run by an ordinary user, with the superuser ``postgres`` from this machine."""

    def __init__(self, programs: Path, folder: Path) -> None:
        user = next((each.pw_name for each in pwd.getpwall() if each.pw_name in ("postgres", "nobody")), None)
        self._become = {"user": user, "group": pwd.getpwnam(user).pw_gid} if user and os.getuid() == 0 else {}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.folder, self._programs = folder, programs
        if self._become:
            os.chown(folder, pwd.getpwnam(str(user)).pw_uid, -1)
        accepted = ("--auth-host=scram-sha-256", "--auth-local=trust")
        self.call(str(programs / "initdb"), "-D", f"{folder}/d", "-U", "postgres", "--no-sync", *accepted)

    def call(self, *line: str, **variables: str) -> None:
        """Run a command as the server's user, as a client of it."""
        environment = {**os.environ, "PGHOST": str(self.folder), "PGPORT": str(self.port), **variables}
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, cwd=self.folder, env=environment, **self._become
        )
        assert done.returncode == 0, done.stderr or done.stdout

    def start(self) -> None:
        options = f"-k {self.folder} -p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def sql(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser."""
        for statement in statements:
            self.call("psql", "-q", "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", statement)

    def _control(self, *line: str) -> None:
        self.call(str(self._programs / "pg_ctl"), "-D", f"{self.folder}/d", *line)


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module alone; skips where it is not installed."""
    found = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        Path(shutil.which("initdb") or "/").parent,
    ]
    programs = next((each for each in found if (each / "initdb").exists() and (each / "pg_ctl").exists()), None)
    if programs is None or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed; Debian has it as postgresql")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = PostgresServer(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def policy_database(postgres_server: PostgresServer) -> Callable[[str], str]:
    """A database with the table and the roles that docs/policy.md makes: gives the address of one of them."""
    statements = POLICY_DOC.read_text(encoding="utf-8").partition("```sql\n")[2].partition("```")[0]
    assert "CREATE TABLE fairtag_policy" in statements
    postgres_server.sql("CREATE DATABASE policy")
    postgres_server.sql(
        *filter(None, map(str.strip, statements.replace("...", "secret").split(";"))), database="policy"
    )
    return lambda role: f"postgresql://{role}:secret@127.0.0.1:{postgres_server.port}/policy"
