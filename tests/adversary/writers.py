"""How a writer writes: through each guard, and the same without it.

Every writer calls `between` at each moment at which a pause may come between the guard's check and the write: SQL after the
check and before the commit, files under the lock, HTTP between a request's head and its body. Redis and StoreFence are to
decide and write in one request; they call it before each request that they send, so that a guard which took two would be
caught between them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import leasekit
from adversary.record import Held
from leasekit import engine
from leasekit.fencing import FileFence, RedisFence, SqlFence, StoreFence
from leasekit.store import Put
from leasekit.testing import FaultyStore
from leasekit.testing.faults import Request

Between = Callable[[], None]
TIMEOUT_S = 2.0
LOCK_TIMEOUT_S = 0.5
"""Who holds a lock may be paused: give up soon and try again."""
INSERT = "INSERT INTO accepted (round, writer, number, token) VALUES "


class NotWritten(Exception):
    """Surely not written, though no guard refused it."""


class Writer(Protocol):
    """Writes to one resource."""

    def write(self, write: Held) -> None:
        """Returns if the write was taken. Raises FencingRejected or LeadershipLost if the guard refused it,
        NotWritten or StoreUnavailable if it was surely not made, anything else if that is not known."""
        ...


class SqlWriter:
    """A row per write, in the guard's transaction."""

    def __init__(
        self, between: Between, name: str, guarded: bool, database: Literal["postgresql", "sqlite"], where: str
    ) -> None:
        self._between = between
        self._name = name
        self._fence = SqlFence(name) if guarded else None
        self._database = database
        self._where = where
        self._connection: Any = None

    def write(self, write: Held) -> None:
        try:
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            if self._database == "sqlite":
                connection.execute("BEGIN IMMEDIATE")
            if self._fence is not None:
                self._fence.check(connection, write.token)
            self._between()
            values = "(?, ?, ?, ?)" if self._database == "sqlite" else "(%s, %s, %s, %s)"
            connection.execute(INSERT + values, (self._name, write.writer, write.number, write.token))
            self._between()
        except Exception as error:
            self._roll_back()
            if isinstance(error, leasekit.LeasekitError):
                raise
            raise NotWritten(str(error)) from error  # nothing was committed
        try:
            connection.commit()
        except Exception:
            self._roll_back()
            raise

    def _connect(self) -> Any:
        if self._database == "sqlite":
            return sqlite3.connect(self._where, timeout=LOCK_TIMEOUT_S, isolation_level=None)
        import psycopg

        limits = f"-c lock_timeout={LOCK_TIMEOUT_S}s"
        return psycopg.connect(self._where, connect_timeout=5, options=limits)

    def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except Exception:  # noqa: BLE001 - then the connection is of no use any more
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None


class RedisWriter:
    """A line per write at the end of a list, by the guard's script."""

    def __init__(self, between: Between, name: str, guarded: bool, where: str) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        class Announced(redis.Connection):
            def send_packed_command(self, command: Any, check_health: bool = True) -> None:
                between()
                send: Any = super().send_packed_command
                send(command, check_health)

        self._key = f"accepted:{name}"
        # Tried once: a repeated push would be held twice.
        once = Retry(NoBackoff(), 0)
        pool = redis.ConnectionPool.from_url(where, connection_class=Announced, socket_timeout=TIMEOUT_S, retry=once)
        self._client = redis.Redis(connection_pool=pool)
        self._fence = RedisFence(name, self._client) if guarded else None

    def write(self, write: Held) -> None:
        if self._fence is None:
            self._client.rpush(self._key, write.text)
        else:
            self._fence.execute(write.token, ("RPUSH", self._key, write.text))


class FileWriter:
    """A line per write at the end of a file, under the guard's lock."""

    def __init__(self, between: Between, name: str, guarded: bool, where: str) -> None:
        self._between = between
        self._file = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._fence = FileFence(name, where, lock_timeout_s=LOCK_TIMEOUT_S) if guarded else None

    def write(self, write: Held) -> None:
        with contextlib.nullcontext() if self._fence is None else self._fence.admit(write.token):
            self._between()
            os.write(self._file, f"{write.text}\n".encode())


class HttpWriter:
    """A request per write. Its head is what the guard checks, its body is what is written: they can be sent apart."""

    def __init__(self, between: Between, name: str, guarded: bool, where: str) -> None:
        self._between = between
        self._url = f"{where}/{'guarded' if guarded else 'plain'}/{name}"
        self._client: Any = None
        self._token = -1

    def write(self, write: Held) -> None:
        import httpx

        from leasekit.fencing import httpx_hooks

        if self._token != write.token:
            self._token = write.token
            self._client = httpx.Client(event_hooks=httpx_hooks(self._token), timeout=TIMEOUT_S, trust_env=False)
        body = write.text.encode()

        def after_the_head() -> Iterator[bytes]:
            self._between()
            yield body

        try:
            answer = self._client.post(self._url, content=after_the_head(), headers={"Content-Length": str(len(body))})
        except httpx.ConnectError as error:
            raise NotWritten(str(error)) from error
        if answer.status_code == 503:
            raise NotWritten(answer.json()["error"])
        answer.raise_for_status()


class StoreWriter:
    """A key per write, in the election's own store."""

    def __init__(self, between: Between, guarded: bool, election: leasekit.Election) -> None:
        connection = election._core.connection
        # A connection opens its store from a URL alone; only a test puts another in its place.
        connection._store = FaultyStore(connection._store, self._announce)
        self._store = connection._store
        self._fence = StoreFence(election, timeout_s=TIMEOUT_S)
        self._guarded = guarded
        self._between = between

    def write(self, write: Held) -> None:
        key, value = f"{write.writer}-{write.number}", write.text.encode()
        if self._guarded:
            self._fence.put(key, value, write.token)
        else:
            put = Put(self._fence._writes.key(key), value)
            engine.get().run(self._store.transact((), (put,), timeout_s=TIMEOUT_S))

    def _announce(self, request: Request) -> None:
        """A plan without faults. What the election itself asks is not concerned, save that it looks who leads."""
        if request.kind == "get" or any("/data/" in op.key for op in request.ops):
            self._between()


def writer_for(guard: str, told: dict[str, Any], election: leasekit.Election, between: Between) -> Writer:
    """The writer for a resource, from what `adversary.resources` tells of it. Make it before the election is used."""
    if guard == "store":
        return StoreWriter(between, told["guarded"], election)
    kinds: dict[str, Callable[..., Writer]] = {
        "sql": SqlWriter,
        "redis": RedisWriter,
        "file": FileWriter,
        "http": HttpWriter,
    }
    return kinds[guard](between, **told)
