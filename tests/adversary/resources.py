"""What the writers of a round write to, seen from outside: where it is, and what it has taken, in order."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Protocol

import leasekit
from adversary.player import PYTHONPATH
from adversary.record import Held
from leasekit import engine
from leasekit.fencing import SqlFence
from support.databases import Postgres, Redis
from support.processes import ServerProcess

Reach = Callable[[str], str]
"""An address ("host:port" on this machine) as it is reached from where a writer runs."""

ELECTION = "trial"
_TABLE = "CREATE TABLE accepted (position {serial}, round TEXT, writer TEXT, number INTEGER, token BIGINT)"
_SELECT = "SELECT writer, number, token FROM accepted WHERE round = {marker} ORDER BY position"
_SCAN_TIMEOUT_S = 20.0
_READY_S = 60.0


class Resource(Protocol):
    """One kind of resource; rounds have each their own, by name."""

    def told(self, name: str, reach: Reach) -> dict[str, Any]:
        """What a writer has to know of it, as JSON, beside whether it is guarded."""
        ...

    def held(self, name: str) -> Sequence[Held]:
        """What round `name` has left in it, in the order in which it came."""
        ...


class PostgresRows:
    """A table of a PostgreSQL server. Positions are given out under the guard's lock, so they are in order."""

    def __init__(self, stack: ExitStack, _folder: Path) -> None:
        import psycopg

        self._server = stack.enter_context(Postgres())
        with psycopg.connect(self._server.conninfo) as connection:
            connection.execute(_TABLE.format(serial="BIGSERIAL PRIMARY KEY"))
            SqlFence("any").create_table(connection)

    def told(self, name: str, reach: Reach) -> dict[str, Any]:
        host, _, port = reach(f"127.0.0.1:{self._server.port}").rpartition(":")
        where = f"host={host} port={port} user=postgres dbname=postgres"
        return {"name": name, "database": "postgresql", "where": where}

    def held(self, name: str) -> Sequence[Held]:
        import psycopg

        with psycopg.connect(self._server.conninfo) as connection:
            return [Held(*row) for row in connection.execute(_SELECT.format(marker="%s"), (name,))]


class SqliteRows:
    """A table of a SQLite file, one file per round: its write lock is the whole file's."""

    def __init__(self, _stack: ExitStack, folder: Path) -> None:
        self._folder = folder

    def told(self, name: str, reach: Reach) -> dict[str, Any]:
        path = self._folder / f"{name}.db"
        if not path.exists():
            with closing(sqlite3.connect(path)) as connection:
                connection.execute(_TABLE.format(serial="INTEGER PRIMARY KEY"))
                SqlFence(name).create_table(connection)
                connection.commit()
        return {"name": name, "database": "sqlite", "where": str(path)}

    def held(self, name: str) -> Sequence[Held]:
        with closing(sqlite3.connect(self._folder / f"{name}.db", timeout=_SCAN_TIMEOUT_S)) as connection:
            return [Held(*row) for row in connection.execute(_SELECT.format(marker="?"), (name,))]


class RedisLists:
    """A list per round."""

    def __init__(self, stack: ExitStack, _folder: Path) -> None:
        self._server = stack.enter_context(Redis())

    def told(self, name: str, reach: Reach) -> dict[str, Any]:
        return {"name": name, "where": f"redis://{reach(f'127.0.0.1:{self._server.port}')}/0"}

    def held(self, name: str) -> Sequence[Held]:
        import redis

        with closing(redis.Redis.from_url(self._server.url, decode_responses=True)) as client:
            lines: Any = client.lrange(f"accepted:{name}", 0, -1)
            return [Held.of(line) for line in lines]


class Files:
    """A file per round."""

    def __init__(self, _stack: ExitStack, folder: Path) -> None:
        self._folder = folder

    def told(self, name: str, reach: Reach) -> dict[str, Any]:
        return {"name": name, "where": str(self._folder / name)}

    def held(self, name: str) -> Sequence[Held]:
        return _lines(self._folder / name)


class HttpService:
    """A service that appends to a file per round (`adversary.service`)."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._folder = folder
        command = ["env", f"PYTHONPATH={PYTHONPATH}", sys.executable, "-P", "-m", "adversary.service", str(folder)]
        server = ServerProcess(command, folder.with_suffix(".log"))
        stack.callback(server.kill)
        address, give_up_s = folder / "address", time.monotonic() + _READY_S
        while not address.exists():
            assert server.running, server.output()
            assert time.monotonic() < give_up_s, f"the service does not serve\n{server.output()}"
            time.sleep(0.02)
        self._address = address.read_text()

    def told(self, name: str, reach: Reach) -> dict[str, Any]:
        return {"name": name, "where": f"http://{reach(self._address)}"}

    def held(self, name: str) -> Sequence[Held]:
        return _lines(self._folder / name)


KINDS: dict[str, Callable[[ExitStack, Path], Resource]] = {
    "sql": PostgresRows,
    "sqlite": SqliteRows,
    "redis": RedisLists,
    "file": Files,
    "http": HttpService,
}
"""By what stands in the way: `sqlite` is SqlFence as well. StoreFence has no resource but the round's store."""


def held_in_store(url: str) -> Sequence[Held]:
    """What StoreFence's writers have left in the store of a round, by revision."""
    with leasekit.connect(url) as connected:
        scan = connected.connection.store.scan(f"{ELECTION}/data/", timeout_s=_SCAN_TIMEOUT_S)
        entries = engine.get().run(scan).entries
    return [Held.of(entry.value.decode()) for entry in sorted(entries, key=lambda entry: entry.revision)]


def _lines(path: Path) -> Sequence[Held]:
    return [Held.of(line) for line in path.read_text().splitlines()] if path.exists() else []
