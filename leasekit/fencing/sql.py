"""A fence inside an SQL database: the check is a part of the transaction that does the fenced writes.

The highest token seen for each resource is a row of one table. The check raises that row to the caller's token, unless it
is higher already; row and writes are committed, or rolled back, together. Works with `sqlite3` connections.
"""

from __future__ import annotations

import re
import sqlite3

from leasekit.errors import ConfigError, FencingRejected

TABLE = "leasekit_fence"

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class SqlFence:
    """Guards one resource (any name: what the token stands for, usually the election's name) in a database.

        fence = SqlFence("reports")
        fence.create_table(connection)                      # once
        with connection:                                    # one transaction
            fence.check(connection, leadership.token)       # FencingRejected: a later leader was here
            connection.execute("UPDATE ...")

    `table` is where the highest tokens are kept; several resources share it.
    """

    def __init__(self, resource: str, *, table: str = TABLE) -> None:
        if not resource:
            raise ConfigError("resource", "is empty: name what is guarded, for example after the election")
        if not _IDENTIFIER.fullmatch(table):
            raise ConfigError("table", f"{table!r} will not do: letters, digits and _, at most 63, no digit first")
        self.resource = resource
        self._table = table

    def create_table(self, connection: sqlite3.Connection) -> None:
        """Make the table unless it is there. In an open transaction it becomes a part of that."""
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table} (resource TEXT PRIMARY KEY, token INTEGER NOT NULL)"
        )

    def check(self, connection: sqlite3.Connection, token: int) -> None:
        """Let this token pass if none higher has been seen, and remember it, within the caller's transaction.

        Call it first in the transaction: it takes the database's write lock, so no other writer comes in between.
        Nothing is committed here. An autocommit connection must have begun a transaction (`BEGIN IMMEDIATE`).

        Raises:
            FencingRejected: a higher token was here. Roll back, and stop: another leads.
            ConfigError: no transaction would hold check and writes together, or the table is missing.
        """
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < 2**63:
            raise ConfigError("token", f"{token!r} is no fencing token: pass `leadership.token`")
        self._require_transaction(connection)
        try:
            changed = connection.execute(
                f"INSERT INTO {self._table} (resource, token) VALUES (?, ?) "
                "ON CONFLICT (resource) DO UPDATE SET token = excluded.token "
                f"WHERE excluded.token >= {self._table}.token",
                (self.resource, token),
            ).rowcount
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise ConfigError("table", f"{self._table!r} is missing: call create_table() once") from error
            raise
        if changed == 0:
            highest = self.highest(connection)
            assert highest is not None, "refused, so a higher token is there"
            raise FencingRejected(token, highest, resource=self.resource)

    def highest(self, connection: sqlite3.Connection) -> int | None:
        """The highest token seen so far, None if there was none."""
        row = connection.execute(f"SELECT token FROM {self._table} WHERE resource = ?", (self.resource,)).fetchone()
        return None if row is None else int(row[0])

    @staticmethod
    def _require_transaction(connection: sqlite3.Connection) -> None:
        """Refuse a connection on which the check would be committed by itself."""
        if connection.in_transaction:
            return
        # `autocommit` exists from Python 3.12 on; where it is not a bool, isolation_level decides, as before.
        autocommit = getattr(connection, "autocommit", None)
        if autocommit is True or (not isinstance(autocommit, bool) and connection.isolation_level is None):
            raise ConfigError(
                "connection",
                "commits each statement by itself, so the check could not guard the writes after it: "
                "execute BEGIN IMMEDIATE first",
            )
