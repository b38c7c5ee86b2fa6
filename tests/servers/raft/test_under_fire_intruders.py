"""Whoever reaches the port and speaks no sense, or is nobody, is refused, logged once, and harms nothing."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leasekit.backends.raft.core.messages import Heartbeat, TimeoutNow, Vote
from leasekit.backends.raft.wire import (
    CODEC,
    MAX_FRAME_BYTES,
    Frames,
    Hello,
    Purpose,
    Rejected,
    Welcome,
    decode_answer,
    encode_handshake,
    frame,
)
from support.raft_certificates import Authority, Pem
from support.raft_cluster import RaftCluster
from support.raft_load import Load
from support.team import SLACK_S, wait_until

_HELLO = frame(encode_handshake(Hello(oldest=CODEC.oldest, newest=CODEC.newest, cluster="", purpose=Purpose.CLIENT)))
_TIMES = 30
_KINDS = ("protocol", "version", "cluster", "id", "silent", "tls")
"""Of what may be wrong with a stranger. Each is told once, however often it happens."""
_FLOOD = 150
"""More than a member keeps of connections that have not said yet who they are."""
_PATIENCE_S = 60.0
"""So long it may take until an intruder is hung up on: the member gives it 5 s to say who it is, and may be busy."""


@pytest.fixture
def cluster() -> Iterator[RaftCluster]:
    with RaftCluster(3) as cluster:
        yield cluster


def _nonsense(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(1, 5000))


def _nonsense_in_a_frame(rng: random.Random) -> bytes:
    return frame(rng.randbytes(rng.randint(1, 4000)))


def _too_long_before_the_hello(rng: random.Random) -> bytes:
    return rng.randint(5000, 2**32 - 1).to_bytes(4, "big") + rng.randbytes(100)


def _too_long_after_the_hello(rng: random.Random) -> bytes:
    return _HELLO + rng.randint(MAX_FRAME_BYTES + 1, 2**32 - 1).to_bytes(4, "big") + rng.randbytes(100)


def _nonsense_after_the_hello(rng: random.Random) -> bytes:
    return _HELLO + frame(b"\x01" + rng.randbytes(rng.randint(0, 500)))


def _a_request_with_flipped_bits(rng: random.Random) -> bytes:
    hello = bytearray(_HELLO)
    hello[rng.randrange(4, len(hello))] ^= 1 << rng.randrange(8)
    return bytes(hello) + rng.randbytes(50)


@pytest.mark.parametrize(
    "say",
    [
        _nonsense,
        _nonsense_in_a_frame,
        _too_long_before_the_hello,
        _too_long_after_the_hello,
        _nonsense_after_the_hello,
        _a_request_with_flipped_bits,
    ],
)
def test_bytes_without_sense_harm_their_own_connection_alone(
    cluster: RaftCluster, say: Callable[[random.Random], bytes]
) -> None:
    rng = random.Random(1)
    with Load(cluster.url("fire")) as load:
        for _ in range(_TIMES):
            for index in range(3):
                _intrude(cluster.endpoints[index], say(rng))
        load.goes_on()
    _assert_refused_and_unharmed(cluster)


def test_a_flood_of_connections_that_say_nothing_does_not_keep_clients_out(cluster: RaftCluster) -> None:
    with Load(cluster.url("fire")) as load, contextlib.ExitStack() as stack:
        for _ in range(_FLOOD):
            for index in range(3):
                address = ("127.0.0.1", cluster.port(index))
                stack.enter_context(socket.create_connection(address, timeout=_PATIENCE_S))
        load.goes_on()
        cluster.kill(cluster.leader_index())
        load.goes_on()
        cluster.start_all()


def test_a_member_of_another_cluster_is_refused(cluster: RaftCluster) -> None:
    # Without TLS this keeps accidents out, not attackers.
    before = _term(cluster)
    with Load(cluster.url("fire")) as load:
        for _ in range(_TIMES):
            vote = Vote(sender="m1", to="m0", term=before + 1000, last_index=10**9, last_term=before + 1000)
            said = _as_member("another") + frame(CODEC.encode_message(vote))
            assert _rejected(_intrude(cluster.endpoints[0], said))
        load.goes_on()
        assert _term(cluster) < before + 1000
    assert len(re.findall("refused: ", cluster.output(0))) == 1


def test_with_tls_nobody_gets_in_without_the_right_certificate(tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger").issue("127.0.0.1", "localhost")
    with RaftCluster(3, tls="mutual") as cluster, Load(cluster.url("fire")) as load:
        for _ in range(_TIMES // 3):
            for index in range(3):
                # None of them is answered: not even who it talks to is told.
                assert _intrude(cluster.endpoints[index], _HELLO) == b""
                assert _intrude(cluster.endpoints[index], _HELLO, _unverified(None)) == b""
                assert _intrude(cluster.endpoints[index], _HELLO, _unverified(stranger)) == b""
        load.goes_on()
        for index in range(3):
            _wait_said(cluster, index, "TLS failed")
            assert len(re.findall("TLS failed", cluster.output(index))) == 1


def test_with_tls_a_client_does_not_pass_for_a_member() -> None:
    with RaftCluster(3, tls="mutual") as cluster, Load(cluster.url("fire")) as load:
        assert cluster.certificates is not None
        context = cluster.certificates.client_context()
        term = _term(cluster) + 1000
        hello = _as_member(_cluster_id(cluster.endpoints[0], context))
        for message in (
            Vote(sender="m1", to="m0", term=term, last_index=10**9, last_term=term),
            Heartbeat(sender="m1", to="m0", term=term, commit=0, round=0),
            TimeoutNow(sender="m1", to="m0", term=term),
        ):
            assert _rejected(_intrude(cluster.endpoints[0], hello + frame(CODEC.encode_message(message)), context))
        load.goes_on()
        assert _term(cluster) < term
        assert len(re.findall("refused: ", cluster.output(0))) == 1


def _as_member(cluster: str) -> bytes:
    """How member m1 of that cluster introduces itself."""
    hello = Hello(oldest=CODEC.oldest, newest=CODEC.newest, cluster=cluster, purpose=Purpose.MEMBER, member="m1")
    return frame(encode_handshake(hello))


def _intrude(address: str, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Say this, and wait until hung up on; what was answered. Raises TimeoutError if the member never hangs up."""
    host, _, port = address.rpartition(":")
    answered = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError), contextlib.ExitStack() as stack:
        line = stack.enter_context(socket.create_connection((host, int(port)), timeout=_PATIENCE_S))
        if context is not None:
            line = stack.enter_context(context.wrap_socket(line, server_hostname=host))
        line.sendall(data)
        if context is None:
            line.shutdown(socket.SHUT_WR)
        while more := line.recv(65536):
            answered += more
    return answered


def _rejected(answered: bytes) -> bool:
    [body] = Frames().feed(answered)
    return isinstance(decode_answer(body), Rejected)


def _unverified(certificate: Pem | None) -> ssl.SSLContext:
    """For an intruder, who does not care whom it talks to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate.cert, certificate.key)
    return context


def _cluster_id(address: str, context: ssl.SSLContext) -> str:
    host, _, port = address.rpartition(":")
    frames = Frames()
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection((host, int(port)), timeout=_PATIENCE_S))
        line = stack.enter_context(context.wrap_socket(plain, server_hostname=host))
        line.sendall(_HELLO)
        while not (bodies := frames.feed(data := line.recv(65536))):
            assert data, "it hung up"
    answer = decode_answer(bodies[0])
    assert isinstance(answer, Welcome)
    return answer.cluster


def _term(cluster: RaftCluster) -> int:
    return cluster.certain_status(cluster.leader_index()).raft.term


def _wait_said(cluster: RaftCluster, index: int, what: str) -> None:
    """It may hang up before it says why."""
    wait_until(lambda: what in cluster.output(index), SLACK_S, f"{what!r}", lambda: cluster.output(index))


def _assert_refused_and_unharmed(cluster: RaftCluster) -> None:
    """Each member runs, and has said once of each kind of trouble that it had it."""
    for index in range(3):
        assert cluster.certain_status(index).failure is None
        _wait_said(cluster, index, "WARNING 127.0.0.1: ")
        output = cluster.output(index)
        assert "CRITICAL" not in output and "Traceback" not in output
        assert 1 <= len(re.findall(r"WARNING 127\.0\.0\.1: ", output)) <= len(_KINDS), output
