"""What a fence needs to know of an SQL connection: its dialect, how to ask it, and whether it is in a transaction.

Plain DB-API connections and SQLAlchemy's are asked through one small interface. Nothing is imported that the caller has
not imported already: what a connection is, is read off its type.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, cast, get_args

from leasekit.errors import ConfigError

T = TypeVar("T")
Dialect = Literal["sqlite", "postgresql", "mysql"]

_DIALECT_OF_DRIVER: dict[str, Dialect] = {
    "sqlite3": "sqlite",
    "pysqlite3": "sqlite",
    "sqlcipher3": "sqlite",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "pg8000": "postgresql",
    "pymysql": "mysql",
    "MySQLdb": "mysql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
_DIALECT_OF_NAME: dict[str, Dialect] = {"mariadb": "mysql", "cockroachdb": "postgresql"}
_IN_TRANSACTION = 1
"""A flag of MySQL's server status."""


class Asked(Protocol):
    """A connection that can be asked. Statements have `?` for their parameters."""

    dialect: Dialect

    def execute(self, statement: str, *parameters: object) -> int:
        """Run it; how many rows it changed."""
        ...

    def row(self, statement: str, *parameters: object) -> tuple[Any, ...] | None:
        """Its first row, None if it has none."""
        ...

    def commits_each_statement(self) -> bool:
        """Whether what is executed next would be committed by itself."""
        ...


def asked(connection: Any, dialect: Dialect | None) -> Asked:
    """The connection, ready to be asked. Raises ConfigError if it is of no known kind, or asynchronous."""
    roots = {kind.__module__.partition(".")[0] for kind in type(connection).__mro__}
    if "sqlalchemy" in roots:
        return _OfSqlAlchemy(_core_connection(connection), dialect)
    if not callable(getattr(connection, "cursor", None)):
        raise ConfigError("connection", f"{type(connection).__qualname__} is no DB-API or SQLAlchemy connection")
    driver = next((name for name in _DIALECT_OF_DRIVER if name in roots), None)
    found = dialect or (_DIALECT_OF_DRIVER[driver] if driver else None)
    if found is None:
        raise ConfigError(
            "connection",
            f"is of the driver {type(connection).__module__!r}, which is not known here: "
            f"say SqlFence(..., dialect=...), one of {', '.join(get_args(Dialect))}",
        )
    return _OfDbapi(connection, found)


def is_missing_table(error: BaseException) -> bool:
    """Whether a driver (or SQLAlchemy, for it) says that a table does not exist."""
    error = getattr(error, "orig", None) or error
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    first = error.args[0] if error.args else None
    if isinstance(first, dict):  # pg8000
        state = first.get("C")
    return state == "42P01" or first == 1146 or (isinstance(first, str) and "no such table" in first)


class _OfDbapi:
    """A plain DB-API connection."""

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self.dialect = dialect
        self._connection = connection
        style = getattr(sys.modules.get(type(connection).__module__.partition(".")[0]), "paramstyle", None)
        self._marker = "?" if style == "qmark" or (style is None and dialect == "sqlite") else "%s"

    def execute(self, statement: str, *parameters: object) -> int:
        return self._asked(statement, parameters, lambda cursor: cast(int, cursor.rowcount))

    def row(self, statement: str, *parameters: object) -> tuple[Any, ...] | None:
        return self._asked(statement, parameters, _first_row)

    def _asked(self, statement: str, parameters: tuple[object, ...], answer: Callable[[Any], T]) -> T:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement.replace("?", self._marker), parameters)
            return answer(cursor)
        finally:
            cursor.close()

    def commits_each_statement(self) -> bool:
        return _driver_commits_each_statement(self._connection)


class _OfSqlAlchemy:
    """A connection of SQLAlchemy Core."""

    def __init__(self, connection: Any, dialect: Dialect | None) -> None:
        name = connection.dialect.name
        found = dialect or _DIALECT_OF_NAME.get(name, name)
        if found not in get_args(Dialect):
            raise ConfigError("connection", f"is to {name}; a fence stands in one of {', '.join(get_args(Dialect))}")
        self.dialect = cast(Dialect, found)
        self._connection = connection

    def execute(self, statement: str, *parameters: object) -> int:
        return cast(int, self._result(statement, parameters).rowcount)

    def row(self, statement: str, *parameters: object) -> tuple[Any, ...] | None:
        found = self._result(statement, parameters).first()
        return None if found is None else tuple(found)

    def _result(self, statement: str, parameters: tuple[object, ...]) -> Any:
        import sqlalchemy

        first, *rest = statement.split("?")
        named = first + "".join(f":p{number}{part}" for number, part in enumerate(rest))
        return self._connection.execute(
            sqlalchemy.text(named), {f"p{number}": value for number, value in enumerate(parameters)}
        )

    def commits_each_statement(self) -> bool:
        if self._connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return True
        # What `create_engine(isolation_level="AUTOCOMMIT")` has set stands in the driver's connection alone.
        return _driver_commits_each_statement(self._connection.connection.dbapi_connection)


def _core_connection(connection: Any) -> Any:
    """The Core connection of what the caller has: that itself, or an ORM session's."""
    kinds = {kind.__name__ for kind in type(connection).__mro__}
    if kinds & {"AsyncConnection", "AsyncSession"}:
        raise ConfigError("connection", "is asynchronous: write `await connection.run_sync(fence.check, token)`")
    if "Session" in kinds:
        return connection.connection()
    if "Connection" in kinds:
        return connection
    raise ConfigError("connection", f"is a {type(connection).__qualname__}: pass a connection, or a session")


def _first_row(cursor: Any) -> tuple[Any, ...] | None:
    found = cursor.fetchone()
    if found is None:
        return None
    # Row factories make mappings of rows.
    return tuple(found.values()) if isinstance(found, dict) else tuple(found)


def _driver_commits_each_statement(connection: Any) -> bool:
    """Autocommit is on, and no transaction was begun by hand."""
    if getattr(connection, "in_transaction", None) is True:  # sqlite3, mysql.connector
        return False
    if (
        status := getattr(getattr(connection, "info", None), "transaction_status", None)
    ) is not None:  # psycopg, 2 and 3
        return bool(connection.autocommit) and int(status) == 0
    if callable(asked := getattr(connection, "get_autocommit", None)):  # PyMySQL, MySQLdb
        return bool(asked()) and not getattr(connection, "server_status", 0) & _IN_TRANSACTION
    # sqlite3 has `autocommit` from Python 3.12 on; where it is not a bool, isolation_level decides, as before.
    autocommit = getattr(connection, "autocommit", None)
    if isinstance(autocommit, bool):
        return autocommit
    return getattr(connection, "isolation_level", "") is None
