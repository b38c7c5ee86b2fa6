"""SQL databases as fences meet them: every kind of connection that is tested, asked alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import sqlalchemy

from leasekit.fencing.connections import asked
from support.databases import Database, MariaDB, Postgres

TIMEOUT_S = 30

_WORK = """CREATE TABLE IF NOT EXISTS work (
    resource VARCHAR(200) {collation} PRIMARY KEY, value VARCHAR(200) NOT NULL, token BIGINT NOT NULL)"""
_COLLATION = {"mysql": "CHARACTER SET ascii COLLATE ascii_bin"}


@dataclass(frozen=True)
class Sql:
    """One way into one database. `connect` gives a connection that commits when told to."""

    name: str
    connect: Callable[[], Any]
    server: Database | None = None

    def prepare(self) -> None:
        """Make the table that is written to."""
        with self.connection() as connection:
            database = asked(connection, None)
            database.execute(_WORK.format(collation=_COLLATION.get(database.dialect, "")))
            connection.commit()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of one's own, closed at the end; what was not committed is undone."""
        with closing(self.connect()) as connection:
            try:
                yield connection
            finally:
                connection.rollback()


def write(connection: Any, resource: str, token: int, value: str) -> None:
    """The work that is guarded."""
    database = asked(connection, None)
    database.execute("DELETE FROM work WHERE resource = ?", resource)
    database.execute("INSERT INTO work (resource, value, token) VALUES (?, ?, ?)", resource, value, token)


def value(connection: Any, resource: str) -> str | None:
    """What was written last."""
    row = asked(connection, None).row("SELECT value FROM work WHERE resource = ?", resource)
    return None if row is None else str(row[0])


def must_be_tried_again(error: Exception) -> bool:
    """Whether a driver says that this transaction was the victim of another at the same time."""
    error = getattr(error, "orig", None) or error
    return getattr(error, "sqlstate", None) in {"40001", "40P01"} or bool(error.args and error.args[0] in {1213, 1020})


def sqlite_ways(file: Path) -> dict[str, Sql]:
    """An SQLite file, by `sqlite3` and by SQLAlchemy."""
    engine = sqlalchemy.create_engine(
        f"sqlite:///{file}", poolclass=sqlalchemy.NullPool, connect_args={"timeout": TIMEOUT_S}
    )
    ways = [Sql("sqlite3", lambda: sqlite3.connect(file, timeout=TIMEOUT_S)), Sql("sqlalchemy-sqlite", engine.connect)]
    return {way.name: way for way in ways}


def postgres_ways(server: Postgres) -> dict[str, Sql]:
    """PostgreSQL, by psycopg at every isolation level and by SQLAlchemy."""

    def at(level: psycopg.IsolationLevel) -> Callable[[], Any]:
        def connect() -> psycopg.Connection:
            connection = psycopg.connect(server.conninfo)
            connection.isolation_level = level
            return connection

        return connect

    ways = [
        Sql(f"psycopg, {level.name.lower().replace('_', ' ')}", at(level), server) for level in psycopg.IsolationLevel
    ]
    ways.append(Sql("sqlalchemy-postgresql", _engine(server).connect, server))
    return {way.name: way for way in ways}


def mariadb_ways(server: MariaDB) -> dict[str, Sql]:
    """MariaDB, by PyMySQL at every isolation level and by SQLAlchemy."""

    def at(level: str) -> Callable[[], Any]:
        def connect() -> Any:
            return pymysql.connect(
                host="127.0.0.1",
                port=server.port,
                user="root",
                database="leasekit",
                init_command=f"SET SESSION TRANSACTION ISOLATION LEVEL {level}",
            )

        return connect

    levels = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
    ways = [Sql(f"pymysql, {level.lower()}", at(level), server) for level in levels]
    ways.append(Sql("sqlalchemy-mariadb", _engine(server).connect, server))
    return {way.name: way for way in ways}


def _engine(server: Database) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
