"""Members of leasekit's own store, as processes, for tests."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

from leasekit.backends.raft.core.types import Role
from leasekit.backends.raft.requests import (
    AskStatus,
    Done,
    MemberStatus,
    NotLeader,
    Read,
    Request,
    Response,
    TakeSnapshot,
)
from leasekit.backends.raft.wire import CODEC, MAX_FRAME_BYTES, Frames, Hello, Purpose, encode_handshake, frame
from leasekit.errors import ProtocolError
from leasekit.store import Get
from support.certificates import TLS
from support.cluster import Cluster
from support.team import wait_until

_ANSWER_S = 1.0
_PATIENCE_S = 60.0
_BEGUN_S = 0.05


class RaftCluster(Cluster):
    """One or more members by `leasekit raft serve`, each in a process of its own; member `index` is `m0`, `m1`, ...

    With TLS all show the same certificate, so they are told from clients by a name that only it bears.
    """

    scheme = "raft"
    ports_per_server = 1

    def __init__(
        self, size: int = 1, *, tls: TLS | None = None, election_timeout_ms: int = 250, heartbeat_ms: int = 50
    ) -> None:
        super().__init__(size, tls)
        self.election_timeout_ms = election_timeout_ms
        self.heartbeat_ms = heartbeat_ms

    def member(self, index: int) -> str:
        """The id of member `index`."""
        return f"m{index}"

    def program(self, index: int) -> list[str | Path]:
        """What Python is to run as the `leasekit` command of member `index`."""
        return ["-m", "leasekit"]

    def serving(self, index: int) -> list[str | Path]:
        """The command line of member `index`, without how it begins or joins."""
        command: list[str | Path] = [sys.executable, "-P", *self.program(index), "raft", "serve"]
        command += ["--id", self.member(index), "--data", self.folder(index), "--listen", self.endpoints[index]]
        command += ["--heartbeat-ms", str(self.heartbeat_ms), "--election-ms", str(self.election_timeout_ms)]
        if files := self.certificates:
            command += ["--tls-ca", files.ca, "--tls-cert", files.server_cert, "--tls-key", files.server_key]
            command += ["--tls-peer-name", "localhost"]
        return command

    def status(self, index: int) -> MemberStatus | None:
        """How member `index` sees itself; None if it does not answer."""
        response = self._ask(self.endpoints[index], AskStatus(id=1))
        if not isinstance(response, Done) or not isinstance(response.result, MemberStatus):
            return None
        return response.result

    def certain_status(self, index: int) -> MemberStatus:
        """The same of a member that runs, and answers in its own time."""
        return wait_until(
            lambda: self.status(index),
            _PATIENCE_S,
            f"{self.member(index)} says how it is",
            lambda: self.output(index),
        )

    def another_leads(self, than: int) -> int:
        """Which other member leads, once that one, which cannot lead on, has noticed it too or says nothing."""
        leaders: list[int] = []

        def found() -> bool:
            leaders.append(self.leader_index())
            return leaders[-1] != than

        wait_until(found, _PATIENCE_S, f"another than {self.member(than)} leads", self._outputs)
        return leaders[-1]

    def runs(self, index: int) -> bool:
        """Whether member `index` has not ended by itself."""
        return self._server(index).running

    def snapshot(self, index: int) -> None:
        """Let member `index` snapshot its state and compact its log."""
        response = self._ask(self.endpoints[index], TakeSnapshot(id=1), answer_s=_PATIENCE_S)
        assert isinstance(response, Done), response

    def begin_snapshot(self, index: int) -> None:
        """The same without waiting for it."""
        self._ask(self.endpoints[index], TakeSnapshot(id=1), answer_s=_BEGUN_S)

    def _command(self, index: int) -> list[str | Path]:
        initial = ",".join(f"{self.member(i)}={address}" for i, address in enumerate(self.endpoints))
        return [*self.serving(index), "--initial", initial]

    def _answers(self, index: int) -> bool:
        read = Read(id=1, compares=(), ops=(Get("ready?"),))
        response = self._ask(self.endpoints[index], read)
        if isinstance(response, NotLeader) and response.leader is not None:
            response = self._ask(response.leader, read)
        return isinstance(response, Done)

    def _says_it_leads(self, index: int) -> bool:
        status = self.status(index)
        return status is not None and status.raft.role is Role.LEADER

    def _ask(self, address: str, request: Request, *, answer_s: float = _ANSWER_S) -> Response | None:
        """One question by the test itself; None if there was no answer in time."""
        host, _, port = address.rpartition(":")
        hello = Hello(oldest=CODEC.oldest, newest=CODEC.newest, cluster="", purpose=Purpose.CLIENT)
        try:
            with socket.create_connection((host, int(port)), timeout=answer_s) as plain, self._secured(plain) as line:
                line.sendall(frame(encode_handshake(hello)) + frame(CODEC.encode_request(request)))
                bodies = _bodies(line)
                next(bodies)
                return CODEC.decode_response(next(bodies))
        except (OSError, StopIteration, ProtocolError):
            return None

    def _secured(self, plain: socket.socket) -> contextlib.AbstractContextManager[socket.socket]:
        if self.certificates is None:
            return contextlib.nullcontext(plain)
        context = self.certificates.client_context()
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context.wrap_socket(plain)


def _bodies(line: socket.socket) -> Iterator[bytes]:
    frames = Frames(MAX_FRAME_BYTES)
    while data := line.recv(65536):
        yield from frames.feed(data)
