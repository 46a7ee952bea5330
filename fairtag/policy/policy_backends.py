"""Where the versions of the live policy lie: a folder, an object store, or Redis. A version is never written again.

    backends = open_backends("redis://policy.example:6379/0,s3://fairtag-policy")

Each backend keeps numbered documents, which only grow in number. It knows nothing of what is in them:
:mod:`fairtag.policy.live_policy` chains, signs and checks them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import fsspec
from typing_extensions import override

from fairtag.base.errors import ConfigError, UnavailableError

KEY: Final = "fairtag:policy"  # hash in Redis: version -> document
SECONDS: Final = 3.0  # longest wait for Redis; nobody's page waits for it


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
        temporary = self.folder / f".{target.name}.{os.getpid()}"
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
        self._fs, root = fsspec.core.url_to_fs(url, **options)
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
        scheme, _, rest = url.partition("://")
        self._name = f"{scheme}://{rest.rpartition('@')[2]}"

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


def open_backend(address: str | Path) -> PolicyBackend:
    """The backend of an address: ``redis://``, any other fsspec URL, or a folder.

    >>> open_backend("runs/demo/serving/policy").name
    'runs/demo/serving/policy'
    """
    text = str(address)
    if text.startswith(("redis://", "rediss://")):
        return RedisBackend(text)
    return ObjectStoreBackend(text) if "://" in text else FolderBackend(Path(address))


def open_backends(addresses: str) -> tuple[PolicyBackend, ...]:
    """The backends of several addresses with commas between them."""
    return tuple(open_backend(each.strip()) for each in addresses.split(",") if each.strip())


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
