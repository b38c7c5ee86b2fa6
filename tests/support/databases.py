"""Real databases for tests of fencing guards: PostgreSQL, MariaDB and Redis, on loopback and gone with the test run.

Tests end processes, not machines, so nothing here waits for a disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

from support import binaries
from support.ports import Reservation
from support.processes import ServerProcess

_READY_S = 60
_MADE_S = 110
_BIND_ATTEMPTS = 4
_NOBODY = 65534


class Database(ABC):
    """One server with one empty database, `leasekit`. Use as a context manager."""

    name: str

    def __init__(self) -> None:
        self._reservation: Reservation | None = None
        self._folder: Path | None = None
        self._server: ServerProcess | None = None

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """The server's command line; makes its data if there is none."""

    @abstractmethod
    def _ask(self) -> None:
        """One request. Raises while the server does not serve."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, as its client writes it."""

    @property
    def port(self) -> int:
        assert self._reservation is not None, "the database is not open"
        return self._reservation.ports[0]

    @property
    def folder(self) -> Path:
        """Where it keeps its data."""
        assert self._folder is not None, "the database is not open"
        return self._folder

    def __enter__(self) -> Self:
        for attempt in range(_BIND_ATTEMPTS):
            self._folder = Path(tempfile.mkdtemp(prefix=f"leasekit-{self.name}-"))
            self._reservation = Reservation(1)
            try:
                self.start()
            except BaseException as error:
                self.__exit__()
                if attempt == _BIND_ATTEMPTS - 1 or "in use" not in str(error):
                    raise
            else:
                break
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._reservation is not None:
            self._reservation.release()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it with the data it has, and wait until it serves."""
        assert self._server is None, "it runs"
        self._server = ServerProcess(self._command(), self.folder.with_suffix(".log"))
        give_up_s = time.monotonic() + _READY_S
        while True:
            try:
                return self._ask()
            except Exception as error:
                if not self._server.running or time.monotonic() > give_up_s:
                    raise TimeoutError(f"{self.name} does not serve: {error}\n{self._server.output()}") from error
                time.sleep(0.02)

    def kill(self) -> None:
        """End it by SIGKILL; its data stays."""
        if self._server is not None:
            self._server.kill()
            self._server.log.unlink(missing_ok=True)
            self._server = None


class Postgres(Database):
    """A PostgreSQL server that trusts whoever comes from this host."""

    name = "postgresql"

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def conninfo(self) -> str:
        """For psycopg itself."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def kill(self) -> None:
        # An immediate shutdown ends its other processes too, which would keep a new server from starting.
        if self._server is not None and self._server.running:
            self._server.signal(signal.SIGQUIT)
            give_up_s = time.monotonic() + _READY_S
            while self._server.running and time.monotonic() < give_up_s:
                time.sleep(0.005)
        super().kill()

    def _ask(self) -> None:
        import psycopg

        psycopg.connect(self.conninfo, connect_timeout=5).close()

    def _command(self) -> list[str | Path]:
        programs: tuple[Path, ...] = tuple(binaries.require(self.name, program) for program in ("initdb", "postgres"))
        data = self.folder / "data"
        prefix: list[str | Path] = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            prefix, programs = self._as_nobody(programs)
        initdb, postgres = programs
        if not data.exists():
            options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"]
            made = [*prefix, initdb, *options, f"--pgdata={data}"]
            subprocess.run(made, check=True, capture_output=True, timeout=_MADE_S, cwd="/")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 50,
            "shared_buffers": "16MB",
            "jit": "off",
        }
        return [*prefix, postgres, "-D", data, *(f"--{name}={value}" for name, value in settings.items())]

    def _as_nobody(self, programs: tuple[Path, ...]) -> tuple[list[str | Path], tuple[Path, ...]]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            binaries.refuse("setpriv", "PostgreSQL does not run as root; run the tests as another user")
        # The signal at the parent's death is forgotten when the user changes, so it is asked for once more.
        user = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--pdeathsig=KILL"]
        prefix: list[str | Path] = [setpriv, *user, "--"]
        os.chown(self.folder, _NOBODY, _NOBODY)
        if subprocess.run([*prefix, programs[0], "--version"], capture_output=True, check=False, cwd="/").returncode:
            # They stand in a folder that only root may enter.
            copy = self.folder / "programs"
            if not copy.exists():
                shutil.copytree(programs[0].parent, copy, symlinks=True)
            programs = tuple(copy / program.name for program in programs)
        return prefix, programs


class MariaDB(Database):
    """A MariaDB server without accounts."""

    name = "mariadb"

    @property
    def url(self) -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/leasekit"

    def _ask(self) -> None:
        import pymysql

        with pymysql.connect(host="127.0.0.1", port=self.port, user="root", connect_timeout=5) as connection:
            connection.cursor().execute("CREATE DATABASE IF NOT EXISTS leasekit")

    def _command(self) -> list[str | Path]:
        program = binaries.require(self.name, "mariadbd")
        data = self.folder / "data"
        # Without accounts it needs none of the tables that installing it would make.
        settings = {
            "skip-grant-tables": "ON",
            "skip-networking": "OFF",
            "skip-name-resolve": "ON",
            "bind-address": "127.0.0.1",
            "port": self.port,
            "datadir": data,
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "plugin-dir": data,
            "innodb-log-file-size": "4M",
            "innodb-temp-data-file-path": "ibtmp1:2M:autoextend",
            "innodb-flush-method": "nosync",
            "innodb-flush-log-at-trx-commit": 2,
        }
        unpacked = program.parent / "usr" / "share" / "mysql"
        if unpacked.exists():
            settings |= {"lc-messages-dir": unpacked, "character-sets-dir": unpacked / "charsets"}
        if os.geteuid() == 0:
            settings["user"] = "root"
        command: list[str | Path] = [
            program,
            "--no-defaults",
            *(f"--{name}={value}" for name, value in settings.items()),
        ]
        if not data.exists():
            # A run that ends by itself: killed while it makes its first files, a server cannot read them any more.
            data.mkdir()
            subprocess.run(
                [*command, "--bootstrap"], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=_MADE_S
            )
        return command


class Redis(Database):
    """A Redis server that writes each command to its log file."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _ask(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(64) != b"+PONG\r\n":
                raise ConnectionError("it is loading its data")

    def _command(self) -> list[str | Path]:
        program = binaries.require(self.name, "redis-server")
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self.folder,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        return [program, *options]


KINDS: dict[str, Callable[[], Database]] = {kind.name: kind for kind in (Postgres, MariaDB, Redis)}
