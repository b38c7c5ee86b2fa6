"""The connection to the file: transactions, reopening, and forks. Used from one thread at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from leasekit.backends.sqlite import location, schema
from leasekit.backends.sqlite.failures import failure_of
from leasekit.backends.sqlite.tables import Tables
from leasekit.clock import Boot, Clock
from leasekit.suspending import rest_with

_T = TypeVar("_T")


class Database:
    """The file, opened when first needed, and anew when something else has taken its place.

    Whoever uses it holds `lock`, so that a fork finds it closed.
    """

    def __init__(self, path: Path, clock: Clock, boot: Boot) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._clock = clock
        self._boot = boot
        self._connection: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None
        self._openings = 0
        self._commits = 0
        self._last_seen: tuple[int, int, int] | None = None
        _databases.add(self)

    def read(self, action: Callable[[Tables], _T]) -> _T:
        """Do `action` on a snapshot in which nothing has run out. Raises `Busy` if trying again may help."""
        connection = self._connected()
        try:
            connection.execute("BEGIN")
            tables = Tables(connection, self._boot)
            # The clock is read after the snapshot was taken, so what it shows has not run out by then.
            if not tables.has_due(self.now_s()):
                return action(tables)
        except sqlite3.Error as error:
            raise failure_of(error, self.path) from error
        finally:
            self._roll_back(connection)
        return self.write(lambda tables, now_s: action(tables))

    def write(self, action: Callable[[Tables, float], _T]) -> _T:
        """Do `action` alone, after ending what has run out, and commit. Raises `Busy` if trying again may help."""
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            before = connection.total_changes
            tables = Tables(connection, self._boot)
            # The clock is read once nobody else can write: what it shows is no earlier than any stamp in the file.
            now_s = self.now_s()
            tables.end_due(now_s)
            result = action(tables, now_s)
            tables.finish()
            if connection.total_changes != before:
                self._commit(connection)
        except sqlite3.Error as error:
            raise failure_of(error, self.path) from error
        finally:
            self._roll_back(connection)
        return result

    def now_s(self) -> float:
        """The present moment on the clock of the stamps."""
        return self._clock.now().boot_s

    def changed(self) -> bool:
        """Whether anything may have been committed, by whomever, since the last call."""
        connection = self._connected()
        try:
            version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise failure_of(error, self.path) from error
        seen = self._openings, version, self._commits
        changed = seen != self._last_seen
        self._last_seen = seen
        return changed

    def close(self) -> None:
        """Let go of the file. It is opened anew when needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and not self._is_current():
            self.close()
        if self._connection is None:
            self._file = location.prepare(self.path)
            self._connection = schema.connect(self.path)
            self._openings += 1
        return self._connection

    def _is_current(self) -> bool:
        # After the file was removed, one process would go on in it while others elect in a new one.
        try:
            return self._file is not None and os.path.samestat(self._file, os.stat(self.path))  # noqa: PTH116
        except OSError:
            return False

    def _commit(self, connection: sqlite3.Connection) -> None:
        self._commits += 1
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise failure_of(error, self.path, committing=True) from error

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """End the transaction, if one is open; a connection that cannot even do that is given up."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()


# SQLite's bookkeeping of file locks must not be inherited by a fork: it would make the child believe that it holds
# the parent's locks. So every connection is closed around a fork; the parent opens its own again when needed.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forking = threading.Lock()
_held: list[Database] = []


def _before_fork() -> None:
    _forking.acquire()
    for database in list(_databases):
        database.lock.acquire()
        _held.append(database)
        database.close()


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


# A process stopped within a transaction would keep everybody else from writing.
_REST_WITHIN_S = 0.5


@contextmanager
def _rest() -> Iterator[None]:
    """Within, no transaction is open, unless one hangs on its disk."""
    held = [database.lock for database in list(_databases) if database.lock.acquire(timeout=_REST_WITHIN_S)]
    try:
        yield
    finally:
        for lock in held:
            lock.release()


rest_with(_rest)
