"""A chained log with its head in a file beside it: its last lines cannot be cut off, and an append re-reads nothing.

    log = SealedLog(Path("log.jsonl"), "log", "log/1", "log-head/1", b"log-head:", key=key, remedy="seal it anew")
    log.append({"what": "stopped everything"})      # O(1)
    log.documents()                                 # everything, checked

The head says how many entries there are, the digest of the last, and how the file was left: its inode, size and times.
With a key it is signed, so that whoever can write the folder can make no other. An append looks at the file: as long as
it is as a trusted head left it, nothing behind the head was written since, by whichever process, and no line is read
again. Anything else is checked from the first line on. A change of equal size in the same tick of the file system's
clock as an append (milliseconds) looks like none until the next full check, :meth:`SealedLog.head`. An older pair of
log and head looks whole; whoever must know keeps a head somewhere else.
"""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairtag.base.chained_log import CHAIN, START, ChainedLog
from fairtag.base.errors import DataError, UnavailableError
from fairtag.base.files import read_json, write_json
from fairtag.model.signature import SIGNATURE, TrustedKeys, key_id


@dataclass(frozen=True)
class FileState:
    """How a file was left; whatever is written into it afterwards, or takes its place, has another state.

    The time of the last change of the inode (``ctime``) is the one that nobody can set.
    """

    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """The state now; None where there is no such file."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return cls(found.st_ino, found.st_size, found.st_ctime_ns)


@dataclass(frozen=True)
class Head:
    """How far a log goes.

    Args:
        entries: Number of entries.
        digest: Digest of the last one.
        signed_by: Id of the key that signed it; empty where none did.
        left: How the file was left; None in a head of before that was kept.
        name: What the log is called.
    """

    entries: int = 0
    digest: str = START
    signed_by: str = ""
    left: FileState | None = None
    name: str = "log"

    def __str__(self) -> str:
        signed = f"signed by {self.signed_by}" if self.signed_by else "not signed"
        return f"{self.name}: {self.entries} entries, head {self.digest[:16]}, {signed}"


class SealedLog:
    """An append-only file of JSON lines, each with the digest of the line before, and its head in a file beside it.

    Any number of processes may append; one at a time does.

    Args:
        path: The file; the first entry creates it. Its head is ``NAME.head.json``.
        name: What it is called in messages.
        schema: Name and version of its entries; since this version there is a head.
        head_schema: Name and version of its head.
        context: Begins what is signed, so that a signature of this head is none of anything else.
        key: Signs the head; then no other head counts. None neither signs nor asks for a signature.
        trusted: Further keys whose heads count, such as the one before.
        remedy: The command that signs a log which somebody trusts.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        schema: str,
        head_schema: str,
        context: bytes,
        *,
        key: Ed25519PrivateKey | None = None,
        trusted: TrustedKeys | None = None,
        remedy: str,
    ) -> None:
        self._path, self._name, self._schema, self._remedy = path, name, schema, remedy
        self._log, self._head_schema, self._context, self._key = ChainedLog(path, schema), head_schema, context, key
        own = {} if key is None else {key_id(key.public_key()): key.public_key()}
        self._trusted: TrustedKeys = {**(trusted or {}), **own}
        self._head_path = path.with_name(f"{path.stem}.head.json")
        self._lock_path = path.with_name(f"{path.stem}.lock")

    def append(self, entry: Mapping[str, Any]) -> Head:
        """Append an entry; entry and head are on disk when the call returns.

        Raises:
            DataError: The log or its head was altered.
            UnavailableError: The folder takes no entry.
        """
        with self._alone():
            before = self.glance()
            if before is None:
                before = self._checked(self._log.documents())
                self._log.keep(before.entries)  # without the line that a crash kept out of the head
            if not self._head_path.is_file():  # from now on, a missing head is one that somebody took away
                self._write_head(before)
            digest = self._log.append(entry, after=before.digest)
            made = Head(before.entries + 1, digest, left=FileState.of(self._path), name=self._name)
            self._write_head(made)
            return made

    def glance(self) -> Head | None:
        """The head, where the file is as a trusted head left it: O(1). None where only a full check can tell.

        Raises:
            DataError: The head was altered, or no trusted key signed it.
        """
        if not self._head_path.is_file():
            return None
        head = self._read_head()
        return head if head.left is not None and head.left == FileState.of(self._path) else None

    def head(self) -> Head:
        """The head, after a full check of the hash chain and of the head.

        Raises:
            DataError: The log or its head was altered.
        """
        with self._undisturbed():
            return self._checked(self._log.documents())

    def documents(self) -> list[dict[str, Any]]:
        """All lines, oldest first, with schema and digests, after the same check.

        A last line that a crash cut off, or that a crash kept out of the head, is ignored: its append never returned.
        The next :meth:`append` removes it.

        Raises:
            DataError: A line was altered, removed or inserted, or the head was.
        """
        with self._undisturbed():
            documents = self._log.documents()
            return documents[: self._checked(documents).entries]

    def entries(self) -> list[dict[str, Any]]:
        """The same as they were appended."""
        return [_entry(document) for document in self.documents()]

    def newest(self, count: int) -> list[dict[str, Any]]:
        """The last entries, newest first; no more of the file is read where it is as a trusted head left it.

        Raises:
            DataError: The log or its head was altered.
        """
        with self._undisturbed():
            head = self.glance()
            known = None if head is None else self._log.tail(min(count, head.entries), head.digest)
        documents = self.documents()[-count:] if known is None else known
        return [_entry(document) for document in reversed(documents)]

    def seal(self) -> Head:
        """Write the head anew, signed where there is a key: once, where a log that somebody trusts gets a key.

        Raises:
            DataError: The log was altered.
        """
        with self._alone():
            trusting = SealedLog(
                self._path, self._name, self._schema, self._head_schema, self._context, remedy=self._remedy
            )
            found = trusting._checked(trusting._log.documents())
            self._write_head(Head(found.entries, found.digest, left=FileState.of(self._path), name=self._name))
        return self.head()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """While somebody reads log and head, nobody writes one of them; who may not take the lock reads as it is."""
        with ExitStack() as held:
            with suppress(OSError):
                fcntl.flock(held.enter_context(self._lock_path.open("r")), fcntl.LOCK_SH)
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While one process writes, the others wait."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock_path.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UnavailableError(
                f"{self._path}: the {self._name} takes no entry ({os.strerror(error.errno or 0)}); see to its folder"
            ) from error

    def _checked(self, documents: list[dict[str, Any]]) -> Head:
        if not self._head_path.is_file():
            if any(document["schema"] == self._schema for document in documents):
                raise DataError(f"{self._head_path}: the head of the {self._name} is gone; restore it from a backup")
            return Head(len(documents), documents[-1]["digest"] if documents else START, name=self._name)
        head = self._read_head()
        missing = head.entries - len(documents)
        if missing > 0:
            raise DataError(
                f"{self._path}: the last entries are missing ({missing} of {head.entries}): the {self._name} was "
                "altered; restore it"
            )
        last = documents[head.entries - 1]["digest"] if head.entries else START
        if last != head.digest or missing < -1:
            raise DataError(f"{self._path}: its last entries are not those of its head: it was altered; restore it")
        return head

    def _read_head(self) -> Head:
        try:
            document = read_json(self._head_path)
            left = FileState(**document["left"]) if "left" in document else None
            head = Head(int(document["entries"]), str(document["digest"]), left=left, name=self._name)
            signature: Any = document.get(SIGNATURE)
            if self._trusted:
                value = base64.b64decode(str(signature["ed25519"]), validate=True)
                self._trusted[str(signature["key"])].verify(value, self._message(head))
        except (OSError, ValueError, KeyError, TypeError, InvalidSignature) as error:
            raise DataError(
                f"{self._head_path}: the head is not signed with the {self._name}'s key, or cannot be read "
                f"({type(error).__name__}); restore it, or sign a {self._name} that you trust: {self._remedy}"
            ) from error
        signed_by = str(signature["key"]) if isinstance(signature, Mapping) else ""
        return Head(head.entries, head.digest, signed_by, left, self._name)

    def _write_head(self, head: Head) -> None:
        document: dict[str, Any] = {"schema": self._head_schema, "entries": head.entries, "digest": head.digest}
        if head.left is not None:
            document["left"] = vars(head.left)
        if self._key is not None:
            value = base64.b64encode(self._key.sign(self._message(head))).decode()
            document[SIGNATURE] = {"key": key_id(self._key.public_key()), "ed25519": value}
        write_json(self._head_path, document)

    def _message(self, head: Head) -> bytes:
        """What is signed; of a head of before how the file was left was not part of it."""
        left = head.left
        state = "" if left is None else f" {left.inode} {left.size} {left.changed_ns}"
        return self._context + f"{head.entries} {head.digest}{state}".encode()


def _entry(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in CHAIN}
