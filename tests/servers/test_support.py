"""The test infrastructure itself: a broken link that does not break would make other tests pass for nothing."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from support.proxy import Proxy
from support.servers import ConsulCluster, EtcdCluster, RaftCluster

PATIENCE_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread or process does in its own time."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.005)


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # links are reset here on purpose
            while data := self.request.recv(100):
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that says everything back."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def link(echo: str) -> Iterator[tuple[Proxy, socket.socket]]:
    """A proxy to the echo, and a client that has used it."""
    with Proxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        yield proxy, client


def test_a_link_carries_both_directions_and_counts(link: tuple[Proxy, socket.socket]) -> None:
    proxy, _ = link
    assert (proxy.connections, proxy.bytes_sent) == (1, 5)


def test_nothing_passes_a_cut_link_until_it_is_healed(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    proxy.cut()
    client.sendall(b"later")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    assert proxy.bytes_sent == 5
    proxy.heal()
    client.settimeout(PATIENCE_S)
    assert client.recv(100) == b"later"


def test_dropped_replies_are_lost_though_requests_arrive(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    proxy.drop_replies()
    client.sendall(b"lost")
    until(lambda: (proxy.bytes_sent, proxy.bytes_lost) == (9, 4))
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    proxy.heal()
    client.settimeout(PATIENCE_S)
    # A stream with a hole in it is of no use: it is closed.
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_a_delayed_link_delays_each_direction(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    proxy.delay_s = 0.1
    sent_s = time.monotonic()
    client.sendall(b"slow")
    assert client.recv(100) == b"slow"
    assert time.monotonic() - sent_s >= 0.2


def test_closed_connections_are_reset_and_new_ones_served(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    proxy.close_connections()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S) as again:
        again.sendall(b"again")
        assert again.recv(100) == b"again"


def _send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"anybody there?")


def test_a_client_that_goes_away_does_not_leave_the_target_waiting(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Proxy(f"127.0.0.1:{listener.getsockname()[1]}") as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S)
        server, _ = listener.accept()
        with server:
            server.settimeout(PATIENCE_S)
            client.sendall(b"hello")
            assert server.recv(100) == b"hello"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            # What is still sent to it breaks the link, and then the target is told.
            with pytest.raises(ConnectionError):
                _send_for_ever(server)
    assert caplog.text == ""


def test_a_proxy_to_nowhere_closes_its_connections() -> None:
    with (
        Proxy("127.0.0.1:1") as proxy,
        pytest.raises(ConnectionResetError),  # already by the connect, or by the read
        socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S) as client,
    ):
        client.recv(100)


def test_etcd_elects_another_leader_and_keeps_its_data(etcd_cluster: EtcdCluster) -> None:
    leader = etcd_cluster.leader_index()
    etcd_cluster.etcdctl("put", "color", "green")
    etcd_cluster.kill(leader)
    assert etcd_cluster.leader_index() != leader
    etcd_cluster.stop_all()
    etcd_cluster.start_all()
    assert etcd_cluster.etcdctl("get", "color", "--print-value-only").strip() == "green"


def test_etcd_with_a_paused_leader_elects_another(etcd_cluster: EtcdCluster) -> None:
    leader = etcd_cluster.leader_index()
    etcd_cluster.pause(leader)
    assert etcd_cluster.leader_index() != leader
    etcd_cluster.resume(leader)
    etcd_cluster.wait_ready()


def test_an_isolated_etcd_leader_is_deposed_though_clients_reach_it() -> None:
    with EtcdCluster(size=3, peer_links=True) as cluster:
        old = cluster.leader_index()
        cluster.isolate(old)
        until(lambda: cluster.leader_index() != old)
        stale = cluster.etcdctl("get", "color", "--consistency=s", servers=[old])
        assert stale == ""
        with pytest.raises(subprocess.CalledProcessError):
            cluster.etcdctl("put", "color", "red", "--command-timeout=1s", servers=[old])
        cluster.reunite()
        cluster.wait_ready()
        assert cluster.etcdctl("put", "color", "green", servers=[old]).strip() == "OK"


def test_consul_elects_another_leader_and_keeps_its_data(consul_cluster: ConsulCluster) -> None:
    leader = consul_cluster.leader_index()
    assert consul_cluster.http("PUT", "/v1/kv/color", "green") == (200, b"true")
    consul_cluster.kill(leader)
    assert consul_cluster.leader_index() != leader
    consul_cluster.start(leader)
    assert consul_cluster.http("GET", "/v1/kv/color?raw", server=leader) == (200, b'"green"')


def test_a_cluster_of_leasekits_own_elects_another_leader(raft_cluster: RaftCluster) -> None:
    leader = raft_cluster.leader_index()
    raft_cluster.kill(leader)
    assert raft_cluster.status(leader) is None
    assert raft_cluster.leader_index() != leader
    raft_cluster.start(leader)

    def follows() -> bool:
        # On a busy machine they may elect again at any time, so both are asked until they agree.
        status = raft_cluster.status(leader)
        assert status is None or status.raft.id == raft_cluster.member(leader)
        return status is not None and status.raft.leader == raft_cluster.member(raft_cluster.leader_index())

    until(follows)


def test_etcd_with_tls_and_users_refuses_strangers() -> None:
    with EtcdCluster(tls="mutual", auth=("worker", "secret")) as cluster:
        assert cluster.etcdctl("put", "color", "green").strip() == "OK"
        with pytest.raises(subprocess.CalledProcessError):
            cluster.etcdctl("get", "color", user=("worker", "wrong"))


def test_consul_with_access_control_refuses_strangers() -> None:
    with ConsulCluster(tls="server", acl_token="a-token-of-the-tests") as cluster:
        assert cluster.http("PUT", "/v1/kv/color", "green") == (200, b"true")
        cluster.acl_token = None
        assert cluster.http("GET", "/v1/kv/color")[0] == 403
