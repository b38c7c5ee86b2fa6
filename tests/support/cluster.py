"""What clusters of etcd and of Consul have in common: starting, breaking, mending."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode

from support import certificates
from support.certificates import TLS, Certificates
from support.ports import Reservation
from support.processes import ServerProcess

_POLL_S = 0.02
_BIND_ATTEMPTS = 4
_ANSWER_S = 1.0
_READY_S = 60.0
"""What a busy machine may take. Nothing is ever waited for in full, save when it fails."""


class PortTaken(Exception):
    """A server could not have the port meant for it."""


class Cluster(ABC):
    """`size` servers on loopback. Use as a context manager, or call `open()` and `close()`."""

    scheme: str
    ports_per_server: int

    def __init__(self, size: int, tls: TLS | None) -> None:
        self.size = size
        self.tls = tls
        self.certificates: Certificates | None = None
        self.environment: dict[str, str] = {}
        self._servers: list[ServerProcess | None] = [None] * size
        self._reservation: Reservation | None = None
        self._folder: Path | None = None

    # What a kind of server says of itself.

    @abstractmethod
    def _command(self, index: int) -> list[str | Path]:
        """The command line of server `index`; writes its configuration if it has any."""

    @abstractmethod
    def _answers(self, index: int) -> bool:
        """Whether server `index` answers linearizable reads now."""

    @abstractmethod
    def _says_it_leads(self, index: int) -> bool:
        """Whether server `index` believes that it leads, and answers."""

    def _userinfo(self) -> str:
        return ""

    def _prepare(self) -> None:
        """Done once, when the servers run for the first time."""
        return

    # Where it is.

    def port(self, index: int, which: int = 0) -> int:
        """Port number `which` of server `index`; 0 is the clients'."""
        assert self._reservation is not None, "the cluster is not open"
        return self._reservation.ports[index * self.ports_per_server + which]

    def folder(self, index: int) -> Path:
        """Where server `index` keeps its data."""
        assert self._folder is not None, "the cluster is not open"
        return self._folder / f"s{index}"

    @property
    def endpoints(self) -> list[str]:
        """The clients' address of each server."""
        return [f"127.0.0.1:{self.port(index)}" for index in range(self.size)]

    @property
    def ca(self) -> Path:
        """The authority's certificate file."""
        assert self.certificates is not None, "the cluster has no TLS"
        return self.certificates.ca

    def url(
        self, prefix: str, *, endpoints: Sequence[str] | None = None, userinfo: bool = False, **options: object
    ) -> str:
        """A store URL. `options` are added to the query; None leaves one out that would be there."""
        query: dict[str, object] = {}
        if self.certificates is not None:
            query["ca"] = self.certificates.ca
            if self.tls == "mutual":
                query |= {"cert": self.certificates.client_cert, "key": self.certificates.client_key}
        query = {name: value for name, value in (query | options).items() if value is not None}
        scheme = f"{self.scheme}+tls" if self.tls else self.scheme
        at = f"{self._userinfo()}@" if userinfo else ""
        tail = f"?{urlencode(query, safe='/', quote_via=quote)}" if query else ""
        return f"{scheme}://{at}{','.join(endpoints or self.endpoints)}/{prefix}{tail}"

    # Life.

    def open(self) -> Self:
        """Start all servers and wait until they serve."""
        for attempt in range(_BIND_ATTEMPTS):
            self._folder = Path(tempfile.mkdtemp(prefix=f"leasekit-{self.scheme}-"))
            self._reservation = Reservation(self.size * self.ports_per_server)
            try:
                if self.tls is not None:
                    self.certificates = certificates.issue(self._folder / "tls")
                self.start_all()
                self._prepare()
            except PortTaken:
                self.close()
                if attempt == _BIND_ATTEMPTS - 1:
                    raise
            except BaseException:
                self.close()
                raise
            else:
                break
        return self

    def close(self) -> None:
        """Kill all servers and remove their data."""
        self.stop_all()
        if self._reservation is not None:
            self._reservation.release()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, index: int, *, wait: bool = True) -> None:
        """Start server `index`, with the data it had; by default wait until it serves (which takes a quorum)."""
        assert self._servers[index] is None, f"server {index} runs"
        self._servers[index] = ServerProcess(self._command(index), self.folder(index).with_suffix(".log"))
        if wait:
            self._wait_for([index], _READY_S)

    def start_all(self) -> None:
        """Start every server that does not run, and wait until all serve."""
        for index in range(self.size):
            if self._servers[index] is None:
                self.start(index, wait=False)
        self.wait_ready()

    def kill(self, index: int) -> None:
        """End server `index` by SIGKILL."""
        server = self._servers[index]
        if server is not None:
            server.kill()
            self._servers[index] = None

    def terminate(self, index: int) -> None:
        """Ask server `index` to end, by SIGTERM. See `wait_ended`."""
        self._server(index).signal(signal.SIGTERM)

    def wait_ended(self, index: int, timeout_s: float = _READY_S) -> int:
        """Wait until server `index` has ended by itself; its exit code."""
        code = self._server(index).wait(timeout_s)
        self._servers[index] = None
        return code

    def output(self, index: int) -> str:
        """All that server `index` has written since the cluster was opened."""
        return self.folder(index).with_suffix(".log").read_text(errors="replace")

    def stop_all(self) -> None:
        """Kill every server; their data stays."""
        for index in range(self.size):
            self.kill(index)

    def pid(self, index: int) -> int:
        """The process id of server `index`."""
        return self._server(index).pid

    def pause(self, index: int) -> None:
        """Freeze server `index`: it holds its connections and answers nothing."""
        self._server(index).signal(signal.SIGSTOP)

    def resume(self, index: int) -> None:
        """Let a paused server go on."""
        self._server(index).signal(signal.SIGCONT)

    def wait_ready(self, timeout_s: float = _READY_S) -> None:
        """Wait until every server that runs serves."""
        self._wait_for([index for index, server in enumerate(self._servers) if server is not None], timeout_s)

    def leader_index(self, timeout_s: float = _READY_S) -> int:
        """Which server leads, waiting until exactly one says so. Paused servers say nothing."""
        give_up_s = time.monotonic() + timeout_s
        while time.monotonic() < give_up_s:
            leaders = [i for i, server in enumerate(self._servers) if server is not None and self._says_it_leads(i)]
            if len(leaders) == 1:
                return leaders[0]
            time.sleep(_POLL_S)
        raise TimeoutError(f"no leader of {self.scheme} {self.endpoints} within {timeout_s} s\n{self._outputs()}")

    def _server(self, index: int) -> ServerProcess:
        server = self._servers[index]
        assert server is not None, f"server {index} does not run"
        return server

    def _wait_for(self, indexes: Sequence[int], timeout_s: float) -> None:
        waiting = list(indexes)
        give_up_s = time.monotonic() + timeout_s
        while waiting:
            for index in waiting:
                self._refuse_the_dead(index)
            waiting = [index for index in waiting if not self._answers(index)]
            if waiting and time.monotonic() > give_up_s:
                raise TimeoutError(f"{self.scheme} servers {waiting} not ready in {timeout_s} s\n{self._outputs()}")
            if waiting:
                time.sleep(_POLL_S)

    def _refuse_the_dead(self, index: int) -> None:
        server = self._server(index)
        if not server.running:
            output = server.output()
            kind = PortTaken if "address already in use" in output.lower() else RuntimeError
            raise kind(f"{self.scheme} server {index} ended while starting:\n{output}")

    def _outputs(self) -> str:
        return "\n".join(f"--- server {i}\n{s.output()}" for i, s in enumerate(self._servers) if s is not None)

    def _request(
        self, method: str, url: str, body: bytes | None = None, *, answer_s: float = _ANSWER_S, **headers: str
    ) -> tuple[int, bytes] | None:
        """One HTTP request by the test itself; None if there was no answer in time."""
        context = self.certificates.client_context() if self.certificates and url.startswith("https") else None
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=answer_s, context=context) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                return error.code, error.read()
        except (OSError, http.client.HTTPException):
            return None
