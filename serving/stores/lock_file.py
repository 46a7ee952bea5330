"""The price locks of a run folder in a SQLite file, written behind the answers.

A row is one claim: the fields that a page locked first. Rows are only added; where two name a price, the lower one
stands. A thread writes what was handed over in one transaction, ten times a second under load
(:data:`WRITE_SECONDS`): a killed process loses the locks of that last moment, a machine that loses power those of the
last seconds (``synchronous=NORMAL``).

Several processes may serve one run folder. Each holds a lock on a file of its own, by which the others notice it. Once
a process has noticed another, it reads and writes claims in the file before it answers (:meth:`LockFile.merge`). Only
then, or where locks make room, are rows looked up by key: until then there is no index to keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from fairtag.base.errors import UnavailableError
from serving.stores.mailbox import Mailbox
from serving.stores.price_locks import Claim, Row, Trust, lower
from serving.stores.seal import FORGED, UNREADABLE, Ignored, Seal, Value

logger = logging.getLogger(__name__)

NAME = "price_locks.sqlite"
CLAIMS_WAITING = 20_000
CLAIMS_AT_A_TIME = 1_000
WRITE_SECONDS = 0.1  # between two transactions of a busy process
PURGE_SECONDS = 600.0  # between two looks for rows that have expired
LOOK_SECONDS = 0.25  # between two looks for other processes and for a failed write
BUSY_MS = 2_000  # wait for another process's transaction
PRIMARY = 0xFF  # the part of an error's code that says what kind it is
SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
  number INTEGER PRIMARY KEY, key TEXT NOT NULL, trust INTEGER NOT NULL, expires INTEGER NOT NULL, fields TEXT NOT NULL
);
"""
INDEX = "CREATE INDEX IF NOT EXISTS claims_by_key ON claims (key)"
READ = "SELECT key, trust, expires, fields FROM claims"
ADD = "INSERT INTO claims (key, trust, expires, fields) VALUES (?, ?, ?, ?)"


class LockFile:
    """The file, its writer, and who else writes it.

    Args:
        folder: Where it lies; it is made.
        seal: Authenticates each row.
        ignored: Told why a row was ignored.
        clock: Unix seconds.

    Raises:
        OSError: The folder cannot be written.
        UnavailableError: Another process does not let go of the file.
    """

    def __init__(self, folder: Path, seal: Seal, ignored: Ignored, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._seal = seal
        self._ignored = ignored
        self._clock = clock
        self._path = folder / NAME
        self._purged = self._looked = clock()
        self._peers = _Peers(folder)
        self.shared = self._peers.others()
        self.failures = self.lost = 0
        self.claims: Mailbox[Row | str] = Mailbox(CLAIMS_WAITING, WRITE_SECONDS)  # rows to write, and keys to delete
        self._stopping = threading.Event()
        self._merger = ThreadPoolExecutor(1, thread_name_prefix="price-locks-merge")
        self._writer = threading.Thread(target=self._run, name="price-locks", daemon=True)
        try:
            self._database = self._opened()
        except BaseException:
            self._peers.leave()
            raise
        self._merging: sqlite3.Connection | None = None

    def rows(self) -> list[Row]:
        """The genuine rows that have not expired, the oldest first; the others are ignored, and the expired deleted.

        Where the file is damaged, those before the damage go on in a new one.
        """
        found: list[Row] = []
        try:
            now = int(self._clock())
            for key, trust, expires, signed in self._database.execute(
                f"{READ} WHERE expires >= ? ORDER BY number", (now,)
            ):
                if (row := self._row(key, trust, expires, signed)) is not None:
                    found.append(row)
            self._purge()
        except sqlite3.DatabaseError as error:
            self._database.close()
            try:
                self._database = self._renewed(error)
            except UnavailableError:
                self.close()
                raise
            self._written(list(found))
        return found

    def start(self) -> None:
        """Write in the background what is handed over."""
        self._writer.start()

    async def merge(self, row: Row) -> dict[str, Value]:
        """Add a claim to the file and read all that stands under its key, in one transaction.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        return await asyncio.get_running_loop().run_in_executor(self._merger, self._merge, row)

    def close(self, timeout: float = 10.0) -> None:
        """Write what waits, and let go."""
        self._stopping.set()
        self.claims.close()
        if self._writer.is_alive():
            self._writer.join(timeout)
        self._merger.shutdown(wait=True)
        if self._merging is not None:
            self._merging.close()
        if left := self.lost + len(self.claims):
            logger.error("%d claims of price locks could not be written; after a restart their prices may change", left)
        self._peers.leave()
        if not self._writer.is_alive():
            self._database.close()

    def _opened(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.DatabaseError as error:
            return self._renewed(error)

    def _renewed(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A new file in place of one that cannot be read.

        Raises:
            UnavailableError: It can be read, once another process is done with it.
        """
        if error.sqlite_errorcode & PRIMARY in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UnavailableError(
                f"{self._path} is locked by another process ({error}); start again when it is done, or end it"
            ) from error
        aside = self._path.with_suffix(f".broken-{int(self._clock())}")
        self._path.replace(aside)
        for end in ("-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        self._ignored(UNREADABLE)
        logger.error(
            "%s is not a readable database (%s); it was moved to %s, and price locks begin anew",
            self._path, error, aside.name,
        )  # fmt: skip
        return _connect(self._path)

    def _run(self) -> None:
        failed: list[Row | str] = []
        while True:
            stopping = self._stopping.is_set()
            if not self.shared and self._clock() - self._looked > LOOK_SECONDS:
                self._looked = self._clock()
                self.shared = self._peers.others()  # for good: another's locks may be in the file alone
            if self._clock() - self._purged > PURGE_SECONDS:
                with contextlib.suppress(sqlite3.Error):  # another process writes; the next look tries again
                    self._purge()
            batch = failed or self.claims.take(CLAIMS_AT_A_TIME, LOOK_SECONDS)
            failed = [] if self._written(batch) else batch
            if failed and not stopping:
                self._stopping.wait(LOOK_SECONDS)
            if stopping and not (batch and not failed):
                self.lost += len(failed)
                return

    def _purge(self) -> None:
        """Delete the rows that have expired; the file keeps nothing of them (``secure_delete``)."""
        self._purged = self._clock()
        with self._database as database:
            database.execute("DELETE FROM claims WHERE expires < ?", (int(self._purged),))

    def _written(self, batch: list[Row | str]) -> bool:
        if not batch:
            return True
        try:
            with self._database as database:
                for entry in batch:
                    if isinstance(entry, str):
                        database.execute(INDEX)
                        database.execute("DELETE FROM claims WHERE key = ?", (entry,))
                    else:
                        database.execute(ADD, self._columns(entry))
        except sqlite3.Error as error:
            self.failures += 1
            if self.failures in (1, 10) or not self.failures % 100:
                logger.warning("%s cannot be written (%s); it is tried again", self._path, error)
            return False
        return True

    def _merge(self, row: Row) -> dict[str, Value]:
        if self._merging is None:
            self._merging = _connect(self._path)
        with self._merging as database:
            database.execute("BEGIN IMMEDIATE" if row.fields else "BEGIN")
            database.execute(INDEX)
            standing: dict[str, Value] = {}
            for (signed,) in database.execute("SELECT fields FROM claims WHERE key = ? ORDER BY number", (row.key,)):
                standing = lower(standing, self._verified(row.key, signed) or {})
            new = {name: value for name, value in row.fields.items() if name not in standing}
            if new:
                database.execute(ADD, self._columns(row._replace(fields=new)))
        return {**standing, **new}

    def _columns(self, row: Row) -> tuple[str, int, int, str]:
        signed = self._seal.sign(row.key, "claim", orjson.dumps(row.fields).decode())
        return row.key, int(row.claim.trust), row.claim.expires, signed

    def _row(self, key: str, trust: object, expires: object, signed: object) -> Row | None:
        """A row as it was written; None where somebody else wrote it."""
        fields = self._verified(key, signed)
        if fields is None:
            return None
        level = next((level for level in Trust if level == trust), None)
        if level is None or not isinstance(expires, int):  # SQLite keeps a text in a column of numbers
            self._ignored(UNREADABLE)
            return None
        return Row(key, fields, Claim(expires, level))

    def _verified(self, key: str, signed: object) -> dict[str, Value] | None:
        text = self._seal.verified(key, "claim", signed) if isinstance(signed, str) else None
        if text is None:
            self._ignored(FORGED)
            return None
        return {name: tuple(value) for name, value in orjson.loads(text).items()}  # our own writing, hence in order


class _Peers:
    """Which processes serve the folder: each holds the lock of a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.process"
        while not self._own.exists():  # another start may take a file for a dead process's before it is locked
            self._file = io.FileIO(self._own, "w")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def others(self) -> bool:
        """Whether another process is at work here; what ended processes left is removed."""
        return any(_alive(path) for path in self._folder.glob("*.process") if path != self._own)

    def leave(self) -> None:
        """Be noticed no more."""
        self._own.unlink(missing_ok=True)
        self._file.close()


def _alive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    except OSError:  # it has just been removed
        return False
    return False


def _connect(path: Path) -> sqlite3.Connection:
    """A connection whose transactions are ours to begin; one thread at a time uses it.

    Raises:
        sqlite3.DatabaseError: The file is not a database of ours.
    """
    database = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA secure_delete=ON")
        database.executescript(SCHEMA)
        database.execute(f"{READ} LIMIT 0")  # it has our columns
    except sqlite3.Error:
        database.close()
        raise
    return database
