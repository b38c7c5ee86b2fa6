"""How a writer writes: through each guard, and the same without it.

Every writer calls `between` at the last moment at which a pause can come between the guard's check and the write. SQL, files and the
HTTP service let one in there. Redis and StoreFence decide and write in one request, so there it comes before that is sent:
between the writer's own look at its leadership and the write.
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

Between = Callable[[], None]
TIMEOUT_S = 2.0
LOCK_TIMEOUT_S = 0.5
"""Who holds a lock may be paused: give up soon and try again."""
INSERT = "INSERT INTO accepted (round, writer, number, token) VALUES "


class NotWritten(Exception):
    """Surely not written, though no guard refused it."""


class Writer(Protocol):
    """Writes to one resource."""

    def write(self, write: Held, between: Between) -> None:
        """Returns if the write was taken. Raises FencingRejected or LeadershipLost if the guard refused it,
        NotWritten or StoreUnavailable if it was surely not made, anything else if that is not known."""
        ...


class SqlWriter:
    """A row per write, in the guard's transaction."""

    def __init__(self, name: str, guarded: bool, database: Literal["postgresql", "sqlite"], where: str) -> None:
        self._name = name
        self._fence = SqlFence(name) if guarded else None
        self._database = database
        self._where = where
        self._connection: Any = None

    def write(self, write: Held, between: Between) -> None:
        try:
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            if self._database == "sqlite":
                connection.execute("BEGIN IMMEDIATE")
            if self._fence is not None:
                self._fence.check(connection, write.token)
            between()
            values = "(?, ?, ?, ?)" if self._database == "sqlite" else "(%s, %s, %s, %s)"
            connection.execute(INSERT + values, (self._name, write.writer, write.number, write.token))
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

    def __init__(self, name: str, guarded: bool, where: str) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._key = f"accepted:{name}"
        # Tried once: a repeated push would be held twice.
        self._client = redis.Redis.from_url(where, socket_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0))
        self._fence = RedisFence(name, self._client) if guarded else None

    def write(self, write: Held, between: Between) -> None:
        between()
        if self._fence is None:
            self._client.rpush(self._key, write.text)
        else:
            self._fence.execute(write.token, ("RPUSH", self._key, write.text))


class FileWriter:
    """A line per write at the end of a file, under the guard's lock."""

    def __init__(self, name: str, guarded: bool, where: str) -> None:
        self._file = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._fence = FileFence(name, where, lock_timeout_s=LOCK_TIMEOUT_S) if guarded else None

    def write(self, write: Held, between: Between) -> None:
        with contextlib.nullcontext() if self._fence is None else self._fence.admit(write.token):
            between()
            os.write(self._file, f"{write.text}\n".encode())


class HttpWriter:
    """A request per write. Its head is what the guard checks, its body is what is written: they can be sent apart."""

    def __init__(self, name: str, guarded: bool, where: str) -> None:
        self._url = f"{where}/{'guarded' if guarded else 'plain'}/{name}"
        self._client: Any = None

    def write(self, write: Held, between: Between) -> None:
        import httpx

        from leasekit.fencing import httpx_hooks

        if self._client is None:
            self._client = httpx.Client(event_hooks=httpx_hooks(write.token), timeout=TIMEOUT_S, trust_env=False)
        body = write.text.encode()

        def after_the_head() -> Iterator[bytes]:
            between()
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

    def __init__(self, guarded: bool, election: leasekit.Election) -> None:
        self._store = election._core.connection.store
        self._fence = StoreFence(election, timeout_s=TIMEOUT_S)
        self._guarded = guarded

    def write(self, write: Held, between: Between) -> None:
        key, value = f"{write.writer}-{write.number}", write.text.encode()
        between()
        if self._guarded:
            self._fence.put(key, value, write.token)
        else:
            put = Put(self._fence._writes.key(key), value)
            engine.get().run(self._store.transact((), (put,), timeout_s=TIMEOUT_S))


def writer_for(guard: str, told: dict[str, Any], election: leasekit.Election) -> Writer:
    """The writer for a resource, from what `adversary.resources` tells of it."""
    if guard == "store":
        return StoreWriter(told["guarded"], election)
    kinds: dict[str, Callable[..., Writer]] = {
        "sql": SqlWriter,
        "redis": RedisWriter,
        "file": FileWriter,
        "http": HttpWriter,
    }
    return kinds[guard](**told)
