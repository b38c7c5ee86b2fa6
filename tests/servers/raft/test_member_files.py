"""Clients' connections take the files of the process, which the log needs as well."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from leasekit.backends.raft.requests import Done, Request, Response, TakeSnapshot
from leasekit.backends.raft.wire import CODEC, Frames, Hello, Purpose, Welcome, decode_answer, encode_handshake, frame
from support.raft_cluster import RaftCluster

_FILES = 256
_CLIENTS = 300
_ATTEMPTS = 5
"""One is enough, unless another is elected meanwhile, or nobody answers in time: the machine may be busy."""
_PATIENCE_S = 60.0


class Limited(RaftCluster):
    """Its members may have few files open: at first (`-Sn`), or at most (`-n`)."""

    def __init__(self, limit: str, size: int = 1) -> None:
        super().__init__(size)
        self._limit = limit

    def serving(self, index: int) -> list[str | Path]:
        return ["bash", "-c", f'ulimit {self._limit} {_FILES}; exec "$@"', "bash", *super().serving(index)]


class Client:
    """One connection that says Hello and stays."""

    def __init__(self, address: tuple[str, int], until: contextlib.ExitStack) -> None:
        self._line = until.enter_context(socket.create_connection(address, timeout=_PATIENCE_S))
        self._frames = Frames()
        hello = Hello(oldest=CODEC.oldest, newest=CODEC.newest, cluster="", purpose=Purpose.CLIENT)
        self._line.sendall(frame(encode_handshake(hello)))

    @property
    def welcome(self) -> bool:
        """Whether it was welcomed, asked once."""
        return isinstance(decode_answer(self._body()), Welcome)

    def ask(self, request: Request) -> Response:
        self._line.sendall(frame(CODEC.encode_request(request)))
        return CODEC.decode_response(self._body())

    def _body(self) -> bytes:
        while True:
            data = self._line.recv(65536)
            assert data, "it hung up"
            if bodies := self._frames.feed(data):
                return bodies[0]


@pytest.mark.parametrize(("limit", "all_welcome"), [("-Sn", True), ("-n", False)])
def test_however_many_clients_come_there_is_a_file_left_for_the_log(limit: str, all_welcome: bool) -> None:
    with Limited(limit) as cluster, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", cluster.port(0))
        first = Client(address, stack)
        assert first.welcome
        # One after the other, so that who is welcome is not hung up on as one of too many strangers.
        welcome = [Client(address, stack).welcome for _ in range(_CLIENTS)]
        assert all(welcome) if all_welcome else not all(welcome)
        assert isinstance(first.ask(TakeSnapshot(id=1)), Done), "a snapshot is a new file"
        assert list(cluster.folder(0).glob("snapshot-*1-*.snap"))


def test_a_leader_that_takes_no_more_clients_is_still_named() -> None:
    with Limited("-n", 3) as cluster:
        command = [sys.executable, "-P", "-m", "leasekit", "--store", cluster.url("test"), "raft", "status"]
        for _ in range(_ATTEMPTS):
            with contextlib.ExitStack() as stack:
                leader = cluster.leader_index()
                while Client(("127.0.0.1", cluster.port(leader)), stack).welcome:
                    pass
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if f"m{leader} leads, as others say, but does not answer" in done.stderr:
                break
        else:
            pytest.fail(f"m{leader} is not named: {done.stderr}")
    assert done.returncode == 69
    assert "clients are connected already" in done.stdout
