"""`leasekit fence`: let a script's token be checked, and raise the tokens of a store that was restored."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager, closing
from typing import Any

import click

from leasekit.cli.options import store_options
from leasekit.cli.session import note, session
from leasekit.errors import ConfigError, FencingRejected, StoreUnavailable
from leasekit.fencing.contract import ELECTION_VARIABLE, TOKEN_VARIABLE, parse_token, token_from_environment
from leasekit.fencing.rebase import rebase as raise_base
from leasekit.fencing.sql import TABLE, SqlFence

URL_VARIABLE = "LEASEKIT_FENCE_URL"
LOCK_TIMEOUT_S = 10.0

_SQLITE = "sqlite:///"


class Token(click.ParamType[int]):
    """A fencing token."""

    name = "token"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_token(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


@click.group()
def fence() -> None:
    """Refuse stale leaders, also from shell scripts."""


@fence.command(short_help="exit 1 if a higher token was seen")
@click.option("--resource", required=True, metavar="R", help="What is guarded, by any name.")
@click.option("--token", type=Token(), metavar="N", help=f"The token.  [default: {TOKEN_VARIABLE}]")
@click.option("--election", metavar="NAME", help=f"Whose token it is.  [default: {ELECTION_VARIABLE}, else R]")
@click.option("--also", metavar="NAME", multiple=True, help="Another election that may write to R as well.")
@click.option("--table", default=TABLE, show_default=True, metavar="T", help="Where the marks are kept.")
@click.option("--create-table", is_flag=True, help="Make the table first, unless it is there.")
@click.pass_context
def check(
    ctx: click.Context,
    resource: str,
    token: int | None,
    election: str | None,
    also: tuple[str, ...],
    table: str,
    create_table: bool,
) -> None:
    """Exit with 0 if no higher token of resource R was seen, 1 if one was.

    The token is remembered in the database that LEASEKIT_FENCE_URL names: sqlite:////path, or what SQLAlchemy reads
    (postgresql+psycopg://user:password@host/db).

    A script that checks first and writes afterwards can still be paused in between. Check right before each write, or
    better: write in SQL and join the check to the transaction (docs/fencing.md).
    """
    token = token_from_environment() if token is None else token
    guard = SqlFence(resource, table=table, election=election or os.environ.get(ELECTION_VARIABLE) or None, also=also)
    with _connection() as connection:
        try:
            if create_table:
                guard.create_table(connection)
            guard.check(connection, token)
            connection.commit()
        except FencingRejected:
            connection.rollback()
            raise
        except ConfigError:
            raise
        except Exception as error:
            raise _refused(error) from error


@fence.command(short_help="raise tokens, after a store was restored")
@click.option("--above", required=True, type=Token(), metavar="TOKEN", help="The highest token that a guard has seen.")
@store_options
@click.pass_context
def rebase(ctx: click.Context, above: int) -> None:
    """Make all tokens from now on higher than TOKEN, for every election under the store's prefix.

    For a store that was restored from a backup or replaced: its revisions may have restarted, and guards refuse the lower
    tokens that come of them. The refusal names TOKEN.

    Who leads already keeps its token, and is refused until it is elected anew: this names them.
    """
    with session(ctx) as store:
        done = store.run(raise_base(store.connection.store, above, timeout_s=store.timeout_s))
        if done.base == done.before:
            note(f"the token base is {done.base} already; nothing had to be done")
        else:
            note(f"the token base is {done.base} now (it was {done.before}); later tokens are higher than {above}")
        for election, leader, token in done.stale:
            note(f"{leader} still leads {election!r} with token {token}: leasekit resign {election}")


def _connection() -> AbstractContextManager[Any]:
    """The database that LEASEKIT_FENCE_URL names; an SQLite file without SQLAlchemy."""
    url = os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigError(URL_VARIABLE, "is not set: where are the marks? for example sqlite:////var/lib/fence.db")
    if url.startswith(_SQLITE):
        path = url.removeprefix(_SQLITE)
        try:
            return closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S))
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{URL_VARIABLE}: {path}: {error}") from error
    try:
        import sqlalchemy
    except ImportError:
        raise ConfigError(URL_VARIABLE, "needs SQLAlchemy: pip install 'leasekit[sqlalchemy]'") from None
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError):
        # What SQLAlchemy says may quote the password.
        raise ConfigError(
            URL_VARIABLE, "is no URL that SQLAlchemy reads: dialect+driver://user@host/database"
        ) from None
    except ImportError as error:
        raise ConfigError(URL_VARIABLE, f"names a driver that is not installed: {error.name}") from None
    try:
        return engine.connect()
    except sqlalchemy.exc.DBAPIError as error:
        raise _refused(error) from error


def _refused(error: Exception) -> Exception:
    """What a driver says, as what it means to a script: the database could not be asked."""
    module = type(error).__module__.partition(".")[0]
    if module == "sqlite3" or module == "sqlalchemy":
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        return StoreUnavailable(f"the database of {URL_VARIABLE}: {said[0] if said else type(error).__name__}")
    return error
