"""`leasekit doctor` where not all is well."""

from __future__ import annotations

from support.command import Command
from support.proxy import Proxy
from support.servers import ConsulCluster, EtcdCluster


def test_an_unreachable_store_is_said_for_each_endpoint(cli: Command, unused_port: int) -> None:
    url = f"etcd://127.0.0.1:{unused_port},127.0.0.1:{unused_port}"
    done = cli("--store", url, "--timeout", "2", "doctor")
    assert done.code == 69
    assert done.out.count("FAILED") == 3
    assert cli("--store", url, "--timeout", "2", "doctor", "-o", "json").json["ok"] is False


def test_one_dead_endpoint_of_two_is_told_and_survived(
    cli_without_store: Command, etcd: EtcdCluster, prefix: str, unused_port: int
) -> None:
    url = etcd.url(prefix, endpoints=[*etcd.endpoints, f"127.0.0.1:{unused_port}"])
    found = cli_without_store("--store", url, "doctor", "-o", "json").json
    assert found["ok"] is True
    assert sorted(endpoint["error"] is None for endpoint in found["endpoints"]) == [False, True]


def test_a_ttl_that_etcds_own_failover_outlasts_is_warned_of(
    cli_without_store: Command, etcd: EtcdCluster, prefix: str
) -> None:
    warned = cli_without_store("--store", etcd.url(prefix), "doctor", "--ttl", "2")
    assert warned.code == 0
    assert "failover of etcd's own leader" in warned.out
    assert "failover of etcd's own leader" not in cli_without_store("--store", etcd.url(prefix), "doctor").out


def test_renewals_too_slow_to_count_are_warned_of(cli_without_store: Command, etcd: EtcdCluster, prefix: str) -> None:
    with Proxy(etcd.endpoints[0]) as proxy:
        proxy.delay_s = 0.1
        url = etcd.url(prefix, endpoints=[proxy.address])
        slow = cli_without_store("--store", url, "doctor", "--ttl", "2", "-o", "json").json
        assert slow["ok"] is True
        assert slow["renewal_s"] > 2 / 6
        assert any("will be lost at their deadlines" in warning for warning in slow["warnings"])
        quick = cli_without_store("--store", url, "doctor", "--ttl", "60", "-o", "json").json
        assert not any("deadlines" in warning for warning in quick["warnings"])


def test_consul_needs_twice_the_ttl(cli_without_store: Command, consul: ConsulCluster, prefix: str) -> None:
    found = cli_without_store("--store", consul.url(prefix), "doctor", "--ttl", "10", "-o", "json").json
    assert 20 <= found["failover_within_s"] < 25


def test_a_ttl_that_the_store_refuses_is_bad_configuration(cli: Command) -> None:
    done = cli("doctor", "--ttl", "1000000000h")
    assert done.code == 78
    assert "lease      FAILED" in done.out


def test_the_clocks_in_use_are_named(cli: Command) -> None:
    found = cli("doctor", "-o", "json").json
    assert "CLOCK" in found["clock"]["source"]
    assert 0 < found["clock"]["margin_s"] < 1
