"""The tables, and opening a file that holds them.

There is no log of changes. A watch needs only the last change of each key, which the entry itself tells, or the
tombstone in `gone` if it was deleted. So a put costs one row, and what is bounded is the number of tombstones.
"""

from __future__ import annotations

import enum
import sqlite3
from pathlib import Path

from leasekit.backends.sqlite.failures import failure_of
from leasekit.errors import ConfigError, ProtocolError

APPLICATION_ID = 0x6C656173  # "leas"
VERSION = 1

# How long SQLite itself waits for another's transaction. Longer waits leave the thread free for reads meanwhile.
_BUSY_MS = 5

_TABLES = """
CREATE TABLE state (
    file_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    compacted INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    time_namespace TEXT NOT NULL
);
INSERT INTO state VALUES (randomblob(16), 0, 0, '', '');
CREATE TABLE leases (id TEXT PRIMARY KEY, ttl_s REAL NOT NULL, ends_s REAL NOT NULL);
CREATE INDEX leases_by_end ON leases (ends_s);
CREATE TABLE entries (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    lease_id TEXT
);
CREATE INDEX entries_by_revision ON entries (revision);
CREATE INDEX entries_by_lease ON entries (lease_id) WHERE lease_id IS NOT NULL;
CREATE TABLE gone (key TEXT PRIMARY KEY, revision INTEGER NOT NULL);
CREATE INDEX gone_by_revision ON gone (revision);
"""


class State(enum.Enum):
    """What a file that may be opened is."""

    NEW = enum.auto()
    GOOD = enum.auto()
    NAMELESS = enum.auto()
    """Made before files had an id of their own."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making the tables if it is new.

    Raises:
        Busy: another process is making them or is writing: try again.
        ConfigError: it is not leasekit's.
        ProtocolError: it is damaged, or written by a newer leasekit.
        StoreUnavailable: it cannot be read or written now.
    """
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise failure_of(error, path) from error
    try:
        state = _state(connection, path)
        _log_ahead(connection, path)
        if state is not State.GOOD:
            _bring_up(connection, path)
        # Full: a commit that was answered survives a loss of power, else a token could be given twice.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error as error:
        connection.close()
        raise failure_of(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _state(connection: sqlite3.Connection, path: Path) -> State:
    """What the file is. Looks before anything is written: it may be another program's."""
    application_id, version, tables, file_ids = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master), "
        "(SELECT count(*) FROM pragma_table_info('state') WHERE name = 'file_id') "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if (application_id, version, tables) == (0, 0, 0):
        return State.NEW
    if application_id != APPLICATION_ID:
        raise ConfigError("store URL", f"{path} is the database of another program: choose another file")
    if version != VERSION:
        raise ProtocolError(
            f"{path} was written by a newer leasekit (schema {version}, this one knows {VERSION}): upgrade leasekit"
        )
    return State.GOOD if file_ids else State.NAMELESS


def _log_ahead(connection: sqlite3.Connection, path: Path) -> None:
    """With a write-ahead log, readers and the one writer do not wait for each other."""
    # Its answer is the mode now in force: a file system without shared memory keeps another one.
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise ConfigError("store URL", f"{path} is on a file system where SQLite cannot use its write-ahead log")


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or add what earlier versions did not have and go on without."""
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have been faster.
    state = _state(connection, path)
    if state is State.NEW:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    elif state is State.NAMELESS:
        connection.execute("ALTER TABLE state ADD COLUMN file_id BLOB NOT NULL DEFAULT x''")
        connection.execute("UPDATE state SET file_id = randomblob(16)")
    connection.execute("COMMIT")
