"""The fence inside an SQLite database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from leasekit.errors import ConfigError
from leasekit.fencing import FencingRejected, SqlFence


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "work.db"


@pytest.fixture
def connection(database: Path, fence: SqlFence) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE report (line TEXT)")
    fence.create_table(connection)
    yield connection
    connection.close()


@pytest.fixture
def fence() -> SqlFence:
    return SqlFence("reports")


def write(connection: sqlite3.Connection, fence: SqlFence, token: int, line: str) -> None:
    with connection:
        fence.check(connection, token)
        connection.execute("INSERT INTO report VALUES (?)", (line,))


def lines(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT line FROM report")]


def test_rising_and_equal_tokens_pass(connection: sqlite3.Connection, fence: SqlFence) -> None:
    for token in (3, 3, 7, 7, 12):
        write(connection, fence, token, str(token))
    assert lines(connection) == ["3", "3", "7", "7", "12"]
    assert fence.highest(connection) == 12


def test_a_lower_token_is_refused_with_the_highest_seen(connection: sqlite3.Connection, fence: SqlFence) -> None:
    write(connection, fence, 9, "new")
    with pytest.raises(FencingRejected) as refused:
        write(connection, fence, 8, "old")
    assert (refused.value.token, refused.value.highest, refused.value.resource) == (8, 9, "reports")
    assert lines(connection) == ["new"]


def test_a_rolled_back_write_leaves_no_mark(connection: sqlite3.Connection, fence: SqlFence) -> None:
    write(connection, fence, 1, "first")
    fence.check(connection, 5)
    connection.rollback()
    assert fence.highest(connection) == 1
    write(connection, fence, 2, "second")
    assert lines(connection) == ["first", "second"]


def test_a_refusal_does_not_undo_what_the_caller_did_before(connection: sqlite3.Connection, fence: SqlFence) -> None:
    write(connection, fence, 9, "new")
    connection.execute("INSERT INTO report VALUES ('mine to keep or not')")
    with pytest.raises(FencingRejected):
        fence.check(connection, 8)
    assert connection.in_transaction
    connection.rollback()
    assert lines(connection) == ["new"]


def test_resources_are_guarded_apart(connection: sqlite3.Connection, fence: SqlFence) -> None:
    write(connection, fence, 9, "reports")
    write(connection, SqlFence("invoices"), 1, "invoices")
    assert SqlFence("nothing yet").highest(connection) is None


def test_between_check_and_commit_no_other_writer_comes_in(
    connection: sqlite3.Connection, fence: SqlFence, database: Path
) -> None:
    other = sqlite3.connect(database, timeout=0)
    fence.check(connection, 5)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        fence.check(other, 6)
    connection.commit()
    fence.check(other, 6)
    other.commit()
    other.close()
    with pytest.raises(FencingRejected):
        fence.check(connection, 5)


def test_the_mark_outlives_the_connection(connection: sqlite3.Connection, fence: SqlFence, database: Path) -> None:
    write(connection, fence, 5, "five")
    later = sqlite3.connect(database)
    with pytest.raises(FencingRejected):
        write(later, fence, 4, "four")
    later.close()


def test_a_connection_that_commits_each_statement_is_refused_unless_in_a_transaction(
    connection: sqlite3.Connection, fence: SqlFence, database: Path
) -> None:
    autocommit = sqlite3.connect(database, isolation_level=None)
    with pytest.raises(ConfigError, match="BEGIN IMMEDIATE"):
        fence.check(autocommit, 5)
    assert fence.highest(connection) is None
    autocommit.execute("BEGIN IMMEDIATE")
    fence.check(autocommit, 5)
    autocommit.execute("COMMIT")
    autocommit.close()
    assert fence.highest(connection) == 5


def test_a_missing_table_is_named(fence: SqlFence) -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(ConfigError, match="create_table"):
        fence.check(connection, 1)
    connection.close()


def test_creating_the_table_twice_keeps_the_marks(connection: sqlite3.Connection, fence: SqlFence) -> None:
    write(connection, fence, 5, "five")
    fence.create_table(connection)
    assert fence.highest(connection) == 5


def test_a_table_name_of_ones_own(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "own.db")
    fence = SqlFence("reports", table="fences")
    fence.create_table(connection)
    fence.check(connection, 2**63 - 1)
    assert fence.highest(connection) == 2**63 - 1
    connection.close()


@pytest.mark.parametrize("table", ["", "1st", "a b", 'x"; DROP TABLE report; --', "x" * 64])
def test_a_table_name_that_is_no_identifier_is_refused(table: str) -> None:
    with pytest.raises(ConfigError, match="table"):
        SqlFence("reports", table=table)


@pytest.mark.parametrize("token", [-1, 2**63, True, 1.5, "7", None])
def test_what_is_no_token_is_refused(connection: sqlite3.Connection, fence: SqlFence, token: object) -> None:
    with pytest.raises(ConfigError, match="token"):
        fence.check(connection, token)  # type: ignore[arg-type]
    assert fence.highest(connection) is None
