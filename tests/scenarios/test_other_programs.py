"""Other programs see who leads: the stores' own command lines, and the client libraries that people have in use."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import leasekit
from support import binaries, venvs
from support.servers import ConsulCluster, EtcdCluster

TTL_S = 20.0
RECORD = {"schema", "id", "host", "pid", "ttl_s", "since", "base", "meta", "clock"}

READ_WITH_ETCD3 = """
import etcd3, json, sys
host, port, key = sys.argv[1:]
value, about = etcd3.client(host, int(port)).get(key)
print(json.dumps({"record": json.loads(value), "revision": about.mod_revision, "lease": about.lease_id}))
"""


@pytest.fixture
def on_etcd(etcd: EtcdCluster, prefix: str) -> Iterator[leasekit.Leadership]:
    yield from _leader(etcd.url(prefix))


@pytest.fixture
def on_consul(consul: ConsulCluster, prefix: str) -> Iterator[leasekit.Leadership]:
    yield from _leader(consul.url(prefix))


def _leader(url: str) -> Iterator[leasekit.Leadership]:
    with leasekit.connect(url) as store:
        election = leasekit.Election("reports", store, id="me", ttl_s=TTL_S, meta={"zone": "a"})
        with election.campaign(30) as leadership:
            yield leadership


def _assert_says_who_leads(record: dict[str, Any], revision: int, leadership: leasekit.Leadership) -> None:
    assert set(record) >= RECORD
    assert record["schema"] == 1
    assert (record["id"], record["pid"], record["meta"]) == ("me", os.getpid(), {"zone": "a"})
    assert record["ttl_s"] == leadership.ttl_s
    assert record["base"] + revision == leadership.token


def test_etcdctl_gets_the_leader(etcd: EtcdCluster, prefix: str, on_etcd: leasekit.Leadership) -> None:
    answer = json.loads(etcd.etcdctl("get", f"{prefix}/reports/leader", "-w", "json"))
    (entry,) = answer["kvs"]
    value = etcd.etcdctl("get", f"{prefix}/reports/leader", "--print-value-only")
    _assert_says_who_leads(json.loads(value), entry["mod_revision"], on_etcd)
    assert entry["lease"], "the record goes with its lease"


@pytest.mark.timeout(300)
def test_python_etcd3_gets_the_leader(etcd: EtcdCluster, prefix: str, on_etcd: leasekit.Leadership) -> None:
    host, _, port = etcd.endpoints[0].partition(":")
    command = [str(venvs.python("etcd3")), "-c", READ_WITH_ETCD3, host, port, f"{prefix}/reports/leader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    seen = json.loads(done.stdout)
    _assert_says_who_leads(seen["record"], seen["revision"], on_etcd)
    assert seen["lease"]


def test_consul_kv_gets_the_leader(consul: ConsulCluster, prefix: str, on_consul: leasekit.Leadership) -> None:
    program = binaries.require("consul", "consul")
    command = [str(program), "kv", "get", f"-http-addr={consul.endpoints[0]}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=60, check=True, env=environment
        ).stdout

    details = dict(
        line.split(maxsplit=1) for line in run("-detailed", f"{prefix}/reports/leader").splitlines() if line.strip()
    )
    record = json.loads(run(f"{prefix}/reports/leader"))
    _assert_says_who_leads(record, int(details["ModifyIndex"]), on_consul)
    assert details["Session"] != "-", "the record goes with its session"


def test_py_consul_gets_the_leader(consul: ConsulCluster, prefix: str, on_consul: leasekit.Leadership) -> None:
    from consul import Consul  # type: ignore[import-untyped]

    host, _, port = consul.endpoints[0].partition(":")
    client = Consul(host, int(port))
    try:
        _, entry = client.kv.get(f"{prefix}/reports/leader")
    finally:
        client.http.session.close()
    _assert_says_who_leads(json.loads(entry["Value"]), entry["ModifyIndex"], on_consul)
    assert entry["Session"]


def test_a_leader_record_deleted_by_hand_ends_the_leadership_and_tokens_still_rise(
    etcd: EtcdCluster, prefix: str, on_etcd: leasekit.Leadership
) -> None:
    etcd.etcdctl("del", f"{prefix}/reports/leader")
    assert on_etcd.wait_lost(30) is leasekit.LossReason.SUPERSEDED
    with (
        leasekit.connect(etcd.url(prefix)) as store,
        leasekit.Election("reports", store, ttl_s=TTL_S).campaign(30) as after,
    ):
        assert after.token > on_etcd.token


def test_a_session_destroyed_by_hand_ends_the_leadership(
    consul: ConsulCluster, prefix: str, on_consul: leasekit.Leadership
) -> None:
    _, body = consul.http("GET", f"/v1/kv/{prefix}/reports/leader")
    session = json.loads(body)[0]["Session"]
    consul.http("PUT", f"/v1/session/destroy/{session}")
    assert on_consul.wait_lost(30) in (leasekit.LossReason.SUPERSEDED, leasekit.LossReason.REVOKED)
