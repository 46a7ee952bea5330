"""Where the versions of the live policy lie: a folder, an object store, Redis or PostgreSQL. None is written again.

    backends = open_backends("postgresql://reader@policy.example/policy,s3://fairtag-policy")

Each backend keeps numbered documents, which only grow in number. It knows nothing of what is in them:
:mod:`fairtag.policy.live_policy` chains, signs and checks them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import fsspec
from typing_extensions import override

from fairtag.base.errors import ConfigError, UnavailableError

KEY: Final = "fairtag:policy"  # hash in Redis: version -> document
SECONDS: Final = 3.0  # longest wait for an answer of a store; nobody's page waits for it, but who stops does
S3_PATIENCE: Final = {"connect_timeout": SECONDS, "read_timeout": SECONDS, "retries": {"max_attempts": 1}}
POSTGRES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")


class VersionTaken(ConfigError):
    """Somebody else has written this version meanwhile."""


class PolicyBackend(Protocol):
    """Numbered documents, each written once."""

    @property
    def name(self) -> str:
        """Where it is, for messages; without passwords."""
        ...

    def newest(self) -> int:
        """The greatest number; 0 where there is none.

        Raises:
            UnavailableError: The backend does not answer.
        """
        ...

    def read(self, number: int) -> bytes | None:
        """A document; None where there is none of that number.

        Raises:
            UnavailableError: The backend does not answer.
        """
        ...

    def add(self, number: int, content: bytes) -> None:
        """Write a document, whole or not at all; it is safe when the call returns.

        Raises:
            VersionTaken: There is one of that number.
            UnavailableError: The backend does not answer, or this process may not write to it.
        """
        ...


class FolderBackend(PolicyBackend):
    """Files ``000001.json`` and so on in a folder; the first one creates it.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    @override
    def name(self) -> str:
        return str(self.folder)

    @override
    def newest(self) -> int:
        return max(map(_number, self.folder.glob("[0-9]*.json")), default=0)

    @override
    def read(self, number: int) -> bytes | None:
        with _answers(self.name), contextlib.suppress(FileNotFoundError):
            return (self.folder / f"{number:06d}.json").read_bytes()
        return None

    @override
    def add(self, number: int, content: bytes) -> None:
        target = self.folder / f"{number:06d}.json"
        temporary = self.folder / f".{target.name}.{uuid.uuid4().hex}"  # containers with one volume share process ids
        with _answers(self.name):
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise _taken(self.name, number) from None
            finally:
                temporary.unlink()


class ObjectStoreBackend(PolicyBackend):
    """Objects ``000001.json`` and so on below a URL of an object store.

    Args:
        url: fsspec URL, such as ``s3://fairtag-policy``.
        options: Of the file system.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url
        if url.startswith("s3://"):
            options = {"config_kwargs": S3_PATIENCE, **options}
        self._fs, root = fsspec.core.url_to_fs(url, **options)
        if url.startswith("s3://"):
            self._fs.retries = 1  # of this instance, which no other reader has, as its options are its own
        self._root = root.rstrip("/")

    @property
    @override
    def name(self) -> str:
        return self._url

    @override
    def newest(self) -> int:
        with _answers(self.name):
            self._fs.invalidate_cache()  # a listing is remembered otherwise
            try:
                listed = self._fs.ls(self._root, detail=False)
            except FileNotFoundError:
                return 0
            return max((_number(Path(each)) for each in listed if str(each).endswith(".json")), default=0)

    @override
    def read(self, number: int) -> bytes | None:
        with _answers(self.name), contextlib.suppress(FileNotFoundError):
            content: bytes = self._fs.cat_file(self._at(number))
            return content
        return None

    @override
    def add(self, number: int, content: bytes) -> None:
        with _answers(self.name):
            if self._fs.exists(self._at(number)):
                raise _taken(self.name, number)
            try:
                self._fs.pipe_file(self._at(number), content, mode="create")
            except FileExistsError:
                raise _taken(self.name, number) from None
            if self._fs.cat_file(self._at(number)) != content:  # a store that does not know the condition
                raise _taken(self.name, number)

    def _at(self, number: int) -> str:
        return f"{self._root}/{number:06d}.json"


class RedisBackend(PolicyBackend):
    """Fields of one hash in Redis.

    Args:
        url: ``redis://`` URL.
        seconds: Longest wait for an answer.
    """

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        from redis import Redis

        self._redis: Any = Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)
        self._name = _without_password(url)

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    def newest(self) -> int:
        with _answers(self.name):
            return max(map(int, self._redis.hkeys(KEY)), default=0)

    @override
    def read(self, number: int) -> bytes | None:
        with _answers(self.name):
            found: bytes | None = self._redis.hget(KEY, str(number))
            return found

    @override
    def add(self, number: int, content: bytes) -> None:
        with _answers(self.name):
            if not self._redis.hsetnx(KEY, str(number), content):
                raise _taken(self.name, number)


class PostgresBackend(PolicyBackend):
    """Rows of a table in PostgreSQL, which its writers may add to and nobody need change; docs/policy.md has its SQL.

    One connection is kept, and made anew where it broke.

    Args:
        url: ``postgresql://`` URL.
        seconds: Longest wait for an answer.
    """

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise ConfigError("a policy store on PostgreSQL needs psycopg: pip install 'psycopg[binary]'") from error
        self._connect = psycopg.connect
        self._broken: type[Exception] = psycopg.OperationalError
        self._taken: type[Exception] = psycopg.errors.UniqueViolation
        self._url, self._seconds = url.replace("+psycopg", "", 1), seconds
        self._name = _without_password(self._url)
        self._kept: Any = None
        self._lock = threading.Lock()

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    def newest(self) -> int:
        ((found,),) = self._ask("SELECT coalesce(max(version), 0) FROM fairtag_policy")
        return int(found)

    @override
    def read(self, number: int) -> bytes | None:
        rows = self._ask("SELECT content FROM fairtag_policy WHERE version = %s", number)
        return bytes(rows[0][0]) if rows else None

    @override
    def add(self, number: int, content: bytes) -> None:
        try:
            self._ask(
                "INSERT INTO fairtag_policy (version, content) VALUES (%s, %s) RETURNING version", number, content
            )
        except UnavailableError as error:
            if not isinstance(error.__cause__, self._taken):
                raise
            raise _taken(self.name, number) from None

    def _ask(self, statement: str, *values: int | bytes) -> list[tuple[Any, ...]]:
        """The rows of a statement, within the longest wait."""
        with _answers(self.name), self._lock:
            fresh = self._kept is None
            try:
                return self._answer(statement, values)
            except self._broken:  # the server was started again since the last look
                if fresh or values[1:]:  # nobody knows whether a row was added before the connection broke
                    raise
                return self._answer(statement, values)

    def _answer(self, statement: str, values: Sequence[int | bytes]) -> list[tuple[Any, ...]]:
        if self._kept is None:
            milliseconds = int(self._seconds * 1000)
            self._kept = self._connect(
                self._url,
                autocommit=True,
                connect_timeout=max(2, round(self._seconds)),  # libpq waits for no less
                options=f"-c statement_timeout={milliseconds}",
            )
            weakref.finalize(self, self._kept.close)
        hang_up = threading.Timer(
            self._seconds, _shut, (self._kept.fileno(),)
        )  # a server that holds still says nothing
        hang_up.start()
        try:
            rows: list[tuple[Any, ...]] = self._kept.execute(statement, values).fetchall()
        except self._broken:
            self._kept.close()
            self._kept = None
            raise
        finally:
            hang_up.cancel()
        return rows


def open_backend(address: str | Path) -> PolicyBackend:
    """The backend of an address: ``redis://``, ``postgresql://``, any other fsspec URL, or a folder.

    >>> open_backend("runs/demo/serving/policy").name
    'runs/demo/serving/policy'
    """
    text = str(address)
    if text.startswith(("redis://", "rediss://")):
        return RedisBackend(text)
    if text.startswith(POSTGRES):
        return PostgresBackend(text)
    return ObjectStoreBackend(text) if "://" in text else FolderBackend(Path(address))


def open_backends(addresses: str) -> tuple[PolicyBackend, ...]:
    """The backends of several addresses with commas between them."""
    return tuple(open_backend(each.strip()) for each in addresses.split(",") if each.strip())


def _without_password(url: str) -> str:
    """An address without who logs in there, nor its options, which may hold a password, too."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _shut(descriptor: int) -> None:
    """Wake whoever waits at a socket."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as held:
        held.shutdown(socket.SHUT_RDWR)


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0


def _taken(name: str, number: int) -> VersionTaken:
    return VersionTaken(f"{name}: somebody else has just made version {number}; look at it and try again")


@contextlib.contextmanager
def _answers(name: str) -> Iterator[None]:
    """Say in one kind of error that a backend does not answer; each library has kinds of its own."""
    try:
        yield
    except (FileNotFoundError, ConfigError):
        raise
    except Exception as error:  # redis', botocore's, aiohttp's and the system's own
        raise UnavailableError(
            f"{name}: the store of the live policy does not answer ({type(error).__name__}: {error})"
        ) from error
