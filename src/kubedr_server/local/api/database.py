"""The SQLite file below the store: one thread, one connection, several changes per transaction.

WAL with synchronous=FULL: a change that was answered survives a killed process and a power cut.
A commit costs one fsync, shared by all changes that wait for it.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  revision INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER PRIMARY KEY, type TEXT NOT NULL,
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  body BLOB NOT NULL, previous BLOB
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
FORMAT = "1"
_LOCK_SECONDS = 0.5

T = TypeVar("T")
EventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Key:
    """Where an object is stored; `resource` is the qualified name, such as `jobs.batch`."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the log: a change as it was committed."""

    revision: int
    type: EventType
    key: Key
    body: bytes
    previous: bytes | None


class Database:
    """Loads everything once, then appends changes. All calls run in one thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kubedr-api-sqlite")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or create the file, readable by its owner only."""
        await self._run(self._open)

    def _open(self) -> None:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=_LOCK_SECONDS)
        self._connection = connection
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            connection.close()
            self._connection = None
            if "locked" not in str(error):
                raise
            raise RuntimeError(
                f"{self._path} is in use by another process: stop that one, or take another state directory"
            ) from None
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (FORMAT,))
        (found,) = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        if found != FORMAT:
            raise RuntimeError(
                f"{self._path} is in format {found}, this version reads {FORMAT}: "
                "start with another state directory, or with the version that wrote this one"
            )

    async def load(self) -> tuple[list[tuple[Key, int, bytes]], list[Row], int]:
        """Return all objects, the log, and the newest revision."""
        return await self._run(self._load)

    def _load(self) -> tuple[list[tuple[Key, int, bytes]], list[Row], int]:
        db = self._db
        objects = [
            (Key(resource, namespace, name), revision, bytes(body))
            for resource, namespace, name, revision, body in db.execute("SELECT * FROM objects")
        ]
        log = [
            Row(revision, type_, Key(resource, namespace, name), bytes(body), previous)
            for revision, type_, resource, namespace, name, body, previous in db.execute(
                "SELECT * FROM log ORDER BY revision"
            )
        ]
        row = db.execute("SELECT value FROM meta WHERE key = 'revision'").fetchone()
        return objects, log, int(row[0]) if row else 0

    async def commit(self, rows: Iterable[Row], keep_from: int) -> None:
        """Write changes in one transaction, and forget the log before `keep_from`."""
        await self._run(self._commit, list(rows), keep_from)

    def _commit(self, rows: list[Row], keep_from: int) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                where = (row.key.resource, row.key.namespace, row.key.name)
                if row.type == "DELETED":
                    db.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", where)
                else:
                    db.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?)", (*where, row.revision, row.body)
                    )
                db.execute(
                    "INSERT INTO log VALUES (?,?,?,?,?,?,?)",
                    (row.revision, row.type, *where, row.body, row.previous),
                )
            db.execute("DELETE FROM log WHERE revision < ?", (keep_from,))
            if rows:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('revision', ?)", (str(rows[-1].revision),))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    async def close(self) -> None:
        """Close the file and end the thread."""
        await self._run(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the database is not open")
        return self._connection

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
