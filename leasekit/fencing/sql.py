"""A fence inside an SQL database: the check is a part of the transaction that does the fenced writes.

The mark of each resource is a row of one table. The check raises that row to the caller's token, unless it is higher
already; mark and writes are committed, or rolled back, together. The row stays locked until then, so fenced transactions
of one resource come one after the other, at every isolation level.

Promised, on SQLite, PostgreSQL (READ COMMITTED and above), MySQL and MariaDB (InnoDB): no write of a transaction that
passed is committed after one with a higher token has passed. Not promised: anything about tables that do not take part in
transactions (MyISAM), about statements that commit by themselves (DDL on MySQL), about a replica that is promoted
without the last transactions of its primary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from leasekit.errors import ConfigError, LeasekitError
from leasekit.fencing.connections import Asked, Dialect, asked, is_missing_table
from leasekit.fencing.contract import Mark, Rule

TABLE = "leasekit_fence"

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

_COLUMNS: dict[Dialect, str] = {
    "sqlite": "resource TEXT PRIMARY KEY, token INTEGER NOT NULL, election TEXT NOT NULL",
    "postgresql": "resource TEXT PRIMARY KEY, token BIGINT NOT NULL, election TEXT NOT NULL",
    # ascii_bin tells names apart by case.
    "mysql": "resource VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, token BIGINT NOT NULL, "
    "election VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
}
# Another engine would keep the mark and the writes of a transaction that was rolled back.
_ENGINE: dict[Dialect, str] = {"sqlite": "", "postgresql": "", "mysql": " ENGINE=InnoDB"}


class SqlFence:
    """Guards one resource (any name: what the token stands for, usually the election's name) in a database.

        fence = SqlFence("reports")
        fence.create_table(connection)                      # once
        with connection:                                    # one transaction
            fence.check(connection, leadership.token)       # FencingRejected: a later leader was here
            connection.execute("UPDATE ...")

    Connections are plain DB-API ones (tested: sqlite3, psycopg, PyMySQL; known by name: psycopg2, pg8000, mysqlclient, MySQL
    Connector, MariaDB Connector), or SQLAlchemy's: Core connections and ORM sessions. With `sqlalchemy.ext.asyncio`, write
    `await connection.run_sync(fence.check, token)`.

    Args:
        resource: the guarded resource; 1 to 200 printable ASCII characters.
        table: where the marks are kept; several resources share it.
        election: whose tokens these are; None: the election is named like the resource.
        also: other elections of the same store that may write here too (`leasekit.fencing.contract`).
        dialect: only for a driver that is not known here.
    """

    def __init__(
        self,
        resource: str,
        *,
        table: str = TABLE,
        election: str | None = None,
        also: Collection[str] = (),
        dialect: Dialect | None = None,
    ) -> None:
        self._rule = Rule.of(resource, election, also)
        if not _IDENTIFIER.fullmatch(table):
            raise ConfigError("table", f"{table!r} will not do: letters, digits and _, at most 63, no digit first")
        self._table = table
        self._dialect = dialect

    @property
    def resource(self) -> str:
        """What is guarded."""
        return self._rule.resource

    def create_table(self, connection: Any) -> None:
        """Make the table unless it is there. In an open transaction it becomes a part of that: commit it."""
        database = asked(connection, self._dialect)
        columns, engine = _COLUMNS[database.dialect], _ENGINE[database.dialect]
        database.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({columns}){engine}")

    def check(self, connection: Any, token: int) -> None:
        """Let this token pass if none higher has been seen, and remember it, within the caller's transaction.

        Call it first in the transaction: it takes the row's lock (on SQLite the database's), so no other writer comes in
        between, and what is read afterwards is not older than the check. Nothing is committed here. An autocommit
        connection must have begun a transaction (`BEGIN`; on SQLite `BEGIN IMMEDIATE`).

        What the driver raises goes through: for a lock that was not had in time, a deadlock, a serialization failure:
        roll back and try again.

        Raises:
            FencingRejected: a higher token was here. Roll back, and stop: another leads.
            ConfigError: no transaction would hold check and writes together, the table is missing, or the resource is
                guarded by the tokens of another election.
        """
        self._rule.judge(token, None)
        database = asked(connection, self._dialect)
        if database.commits_each_statement():
            begin = "BEGIN IMMEDIATE" if database.dialect == "sqlite" else "BEGIN"
            raise ConfigError(
                "connection",
                "commits each statement by itself, so the check could not guard the writes after it: "
                f"turn autocommit off, or execute {begin} first",
            )
        try:
            if database.dialect == "mysql":
                self._raise_locked(database, token)
            else:
                self._raise_at_once(database, token)
        except LeasekitError:
            raise
        except Exception as error:
            if is_missing_table(error):
                how = "call create_table() once, or run `leasekit fence check --create-table`"
                raise ConfigError("table", f"{self._table!r} is missing: {how}") from error
            raise

    def highest(self, connection: Any) -> int | None:
        """The highest token seen so far, None if there was none."""
        mark = self._mark(asked(connection, self._dialect))
        return None if mark is None else mark.token

    def over(self, connect: Any) -> SqlGuard:
        """A guard that opens its own connections: from a SQLAlchemy Engine, or by a function that returns a DB-API one."""
        return SqlGuard(self, connect)

    def _raise_at_once(self, database: Asked, token: int) -> None:
        """One statement. PostgreSQL locks the row and looks at its latest version, also where the condition fails; at
        REPEATABLE READ and above it refuses a version that the transaction cannot see (a serialization failure)."""
        elections = self._rule.elections
        changed = database.execute(
            f"INSERT INTO {self._table} (resource, token, election) VALUES (?, ?, ?) "
            "ON CONFLICT (resource) DO UPDATE SET token = excluded.token, election = excluded.election "
            f"WHERE {self._table}.token <= excluded.token "
            f"AND {self._table}.election IN ({', '.join('?' * len(elections))})",
            *(self.resource, token, self._rule.election, *elections),
        )
        if changed == 0:
            self._rule.judge(token, self._mark(database))
            raise AssertionError("the database refused what the rule accepts")

    def _raise_locked(self, database: Asked, token: int) -> None:
        """MySQL's upsert has no condition. A locking read sees the latest version at every isolation level."""
        database.execute(
            f"INSERT INTO {self._table} (resource, token, election) VALUES (?, ?, ?) "
            "ON DUPLICATE KEY UPDATE resource = resource",
            *(self.resource, token, self._rule.election),
        )
        seen = self._mark(database, " FOR UPDATE")
        mark = self._rule.judge(token, seen)
        if mark != seen:
            database.execute(
                f"UPDATE {self._table} SET token = ?, election = ? WHERE resource = ?",
                *(mark.token, mark.election, self.resource),
            )

    def _mark(self, database: Asked, lock: str = "") -> Mark | None:
        row = database.row(f"SELECT token, election FROM {self._table} WHERE resource = ?{lock}", self.resource)
        return None if row is None else Mark(int(row[0]), str(row[1]))


class SqlGuard:
    """An `SqlFence` and where its database is: for code that has no transaction of its own."""

    def __init__(self, fence: SqlFence, connect: Any) -> None:
        self._fence = fence
        self._connect: Callable[[], Any] = connect.connect if hasattr(connect, "connect") else connect

    @property
    def resource(self) -> str:
        """What is guarded."""
        return self._fence.resource

    @contextmanager
    def admit(self, token: int) -> Iterator[Any]:
        """A transaction in which this token has passed; the block gets the connection. Committed if it ends well.

        Raises as `SqlFence.check` does, and what the driver raises.
        """
        connection = self._connect()
        try:
            self._fence.check(connection, token)
            yield connection
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        finally:
            connection.close()
