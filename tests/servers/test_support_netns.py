"""Hosts on a switch: what is cut off is cut off in silence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.netns import Host, Network
from support.proxy import Proxy
from support.servers import EtcdCluster

_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])); print('connected')"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def _connect(host: Host, address: str, port: int, timeout_s: float = 20) -> subprocess.CompletedProcess[str]:
    return host.run([sys.executable, "-c", _CONNECT, address, str(port), str(timeout_s)], timeout=60)


def test_a_host_reaches_this_machine_until_it_is_cut_off(network: Network, etcd: EtcdCluster) -> None:
    host, other = network.host(), network.host()
    with Proxy(etcd.endpoints[0], host=network.address) as proxy:
        assert _connect(host, network.address, proxy.port).stdout == "connected\n"
        host.cut()
        # Nothing says that the host is cut off: no refusal, no unreachable network.
        assert "TimeoutError: timed out" in _connect(host, network.address, proxy.port, timeout_s=1).stderr
        assert _connect(other, network.address, proxy.port).stdout == "connected\n"
        host.heal()
        assert _connect(host, network.address, proxy.port).stdout == "connected\n"


def test_hosts_are_apart_from_this_machine_s_loopback(network: Network, etcd: EtcdCluster) -> None:
    refused = _connect(network.host(), "127.0.0.1", etcd.port(0))
    assert "ConnectionRefusedError" in refused.stderr
