"""The SQL fence against the contract of guards, on every database, driver and isolation level that it names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from leasekit.errors import ConfigError, FencingRejected
from leasekit.fencing import SqlFence
from leasekit.testing.conformance import GuardConformance
from support.databases import MariaDB, Postgres
from support.sql import Sql, mariadb_ways, must_be_tried_again, postgres_ways, sqlite_ways, value, write

WAYS = {
    "sqlite": ["sqlite3", "sqlalchemy-sqlite"],
    "postgres": [
        "psycopg, read uncommitted",
        "psycopg, read committed",
        "psycopg, repeatable read",
        "psycopg, serializable",
        "sqlalchemy-postgresql",
    ],
    "mariadb": [
        "pymysql, read uncommitted",
        "pymysql, read committed",
        "pymysql, repeatable read",
        "pymysql, serializable",
        "sqlalchemy-mariadb",
    ],
}


@pytest.fixture(params=[way for ways in WAYS.values() for way in ways])
def sql(request: pytest.FixtureRequest, tmp_path: Path) -> Sql:
    """Each way into each database."""
    if request.param in WAYS["sqlite"]:
        way = sqlite_ways(tmp_path / "work.db")[request.param]
    elif request.param in WAYS["postgres"]:
        way = postgres_ways(request.getfixturevalue("postgres"))[request.param]
    else:
        way = mariadb_ways(request.getfixturevalue("mariadb"))[request.param]
    way.prepare()
    with way.connection() as connection:
        SqlFence("any").create_table(connection)
        connection.commit()
    return way


@pytest.fixture
def fence(prefix: str) -> SqlFence:
    """A fence of the test's own resource."""
    return SqlFence(prefix)


class TestSql(GuardConformance):
    @pytest.fixture(autouse=True)
    def _on(self, sql: Sql) -> None:
        self.sql = sql

    async def write(
        self, resource: str, token: int, value: str, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        fence = SqlFence(resource, election=election, also=also)
        await asyncio.to_thread(self._write, fence, token, value)

    def _write(self, fence: SqlFence, token: int, value: str) -> None:
        while True:
            with self.sql.connection() as connection:
                try:
                    fence.check(connection, token)
                    write(connection, fence.resource, token, value)
                    connection.commit()
                except Exception as error:
                    if not must_be_tried_again(error):
                        raise
                else:
                    return

    async def read(self, resource: str) -> str | None:
        with self.sql.connection() as connection:
            return value(connection, resource)

    async def highest(self, resource: str) -> int | None:
        with self.sql.connection() as connection:
            return SqlFence(resource).highest(connection)

    def unfinished(self, resource: str, token: int, value: str) -> AbstractAsyncContextManager[None]:
        return self._unfinished(resource, token, value)

    @asynccontextmanager
    async def _unfinished(self, resource: str, token: int, value: str) -> AsyncIterator[None]:
        with self.sql.connection() as connection:
            SqlFence(resource).check(connection, token)
            yield
            write(connection, resource, token, value)
            connection.commit()

    async def restart(self) -> None:
        if self.sql.server is not None:
            await asyncio.to_thread(self.sql.server.kill)
            await asyncio.to_thread(self.sql.server.start)

    def admission(self, resource: str, token: int) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def admitted() -> AsyncIterator[Any]:
            with SqlFence(resource).over(self.sql.connect).admit(token) as connection:
                yield connection

        return admitted()


def test_mark_and_writes_are_rolled_back_together(sql: Sql, fence: SqlFence) -> None:
    with sql.connection() as connection:
        fence.check(connection, 5)
        write(connection, fence.resource, 5, "five")
        connection.rollback()
        assert fence.highest(connection) is None
        connection.rollback()
        fence.check(connection, 4)


def test_a_refusal_leaves_the_transaction_to_the_caller(sql: Sql, fence: SqlFence) -> None:
    with sql.connection() as connection:
        fence.check(connection, 9)
        connection.commit()
        write(connection, fence.resource, 0, "mine to keep or not")
        with pytest.raises(FencingRejected):
            fence.check(connection, 8)
        assert value(connection, fence.resource) == "mine to keep or not"


def test_a_missing_table_is_named(sql: Sql) -> None:
    with sql.connection() as connection, pytest.raises(ConfigError, match=r"'nowhere' is missing: call create_table"):
        SqlFence("reports", table="nowhere").check(connection, 1)


def test_creating_the_table_again_keeps_the_marks(sql: Sql, fence: SqlFence) -> None:
    with sql.connection() as connection:
        fence.check(connection, 9)
        connection.commit()
        fence.create_table(connection)
        connection.commit()
        assert fence.highest(connection) == 9


def test_a_guard_over_a_database_commits_what_ends_well_and_nothing_else(sql: Sql, fence: SqlFence) -> None:
    guard = fence.over(sql.connect)
    assert guard.resource == fence.resource
    with guard.admit(3) as connection:
        write(connection, fence.resource, 3, "kept")

    def fail() -> None:
        with guard.admit(4) as connection:
            write(connection, fence.resource, 4, "not kept")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with sql.connection() as connection:
        assert (value(connection, fence.resource), fence.highest(connection)) == ("kept", 3)


@pytest.fixture
def engine(postgres: Postgres) -> sqlalchemy.Engine:
    """PostgreSQL by SQLAlchemy."""
    engine = sqlalchemy.create_engine(postgres.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        SqlFence("any").create_table(connection)
    return engine


def test_an_engine_will_do_for_a_guard(engine: sqlalchemy.Engine, fence: SqlFence) -> None:
    with fence.over(engine).admit(3) as connection:
        assert connection.scalar(sqlalchemy.text("SELECT 1")) == 1
    with engine.connect() as connection:
        assert fence.highest(connection) == 3


def test_an_orm_session_will_do_for_a_connection(engine: sqlalchemy.Engine, fence: SqlFence) -> None:
    with Session(engine) as session:
        fence.check(session, 3)
        session.commit()
        assert fence.highest(session) == 3


async def test_an_asynchronous_connection_is_told_how(postgres: Postgres, fence: SqlFence) -> None:
    engine = create_async_engine(postgres.url, poolclass=sqlalchemy.NullPool)
    async with engine.begin() as connection:
        with pytest.raises(ConfigError, match=r"run_sync\(fence.check, token\)"):
            fence.check(connection, 3)
        await connection.run_sync(fence.create_table)
        await connection.run_sync(fence.check, 3)
        assert await connection.run_sync(fence.highest) == 3


@pytest.mark.parametrize("how", ["option", "engine"])
@pytest.mark.parametrize("server", ["postgres", "mariadb", "sqlite"])
def test_autocommit_of_sqlalchemy_is_refused(
    request: pytest.FixtureRequest, server: str, how: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/work.db" if server == "sqlite" else request.getfixturevalue(server).url
    options = {"isolation_level": "AUTOCOMMIT"} if how == "engine" else {}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **options)
    with engine.connect() as connection:
        if how == "option":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(ConfigError, match="commits each statement by itself"):
            SqlFence("reports").check(connection, 1)


def test_autocommit_of_psycopg_is_refused_unless_in_a_transaction(postgres: Postgres, fence: SqlFence) -> None:
    with closing(psycopg.connect(postgres.conninfo, autocommit=True)) as connection:
        fence.create_table(connection)
        with pytest.raises(ConfigError, match="commits each statement by itself"):
            fence.check(connection, 1)
        with connection.transaction():
            fence.check(connection, 1)
        assert fence.highest(connection) == 1


def test_autocommit_of_pymysql_is_refused_unless_in_a_transaction(mariadb: MariaDB, fence: SqlFence) -> None:
    with closing(
        pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root", database="leasekit", autocommit=True)
    ) as connection:
        fence.create_table(connection)
        with pytest.raises(ConfigError, match="commits each statement by itself"):
            fence.check(connection, 1)
        connection.begin()
        fence.check(connection, 1)
        connection.commit()
        assert fence.highest(connection) == 1


def test_rows_that_are_mappings_are_read_as_well(mariadb: MariaDB, postgres: Postgres, fence: SqlFence) -> None:
    by_name: Any = pymysql.connect(
        host="127.0.0.1",
        port=mariadb.port,
        user="root",
        database="leasekit",
        cursorclass=pymysql.cursors.DictCursor,
    )
    for connection in (by_name, psycopg.connect(postgres.conninfo, row_factory=psycopg.rows.dict_row)):
        with closing(connection):
            fence.create_table(connection)
            fence.check(connection, 7)
            connection.commit()
            assert fence.highest(connection) == 7


@pytest.mark.parametrize("thing", [object(), "sqlite:///work.db", sqlalchemy.create_engine("sqlite://")])
def test_what_is_no_connection_is_refused(thing: object) -> None:
    with pytest.raises(ConfigError, match="connection"):
        SqlFence("reports").check(thing, 1)


def test_an_unknown_driver_wants_its_dialect(tmp_path: Path) -> None:
    class Connection:
        """As another SQLite driver's."""

        def __init__(self) -> None:
            self._inner = sqlite_ways(tmp_path / "work.db")["sqlite3"].connect()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    with closing(Connection()) as connection:
        with pytest.raises(ConfigError, match="dialect"):
            SqlFence("reports").check(connection, 1)
        fence = SqlFence("reports", dialect="sqlite")
        fence.create_table(connection)
        fence.check(connection, 1)
        assert fence.highest(connection) == 1
