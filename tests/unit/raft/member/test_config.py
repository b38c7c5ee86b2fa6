"""What a member is told, and what of it will not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from leasekit.backends.raft.member import MemberConfig, Timing
from leasekit.backends.raft.member.config import split_address
from leasekit.errors import ConfigError

THREE = {"m1": "127.0.0.1:7001", "m2": "127.0.0.1:7002", "m3": "127.0.0.1:7003"}


def config(**given: object) -> MemberConfig:
    return MemberConfig(**{"id": "m1", "data_dir": Path("/nowhere"), "initial": THREE, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("heartbeat_ms", "election_ms", "tick_s", "heartbeat_ticks", "election_ticks"),
    [(100, 1000, 0.020, 5, 50), (50, 250, 0.010, 5, 25), (10, 100, 0.005, 2, 20), (1, 4, 0.001, 1, 4)],
)
def test_time_is_counted_in_ticks_of_a_fifth_of_a_heartbeat(
    heartbeat_ms: int, election_ms: int, tick_s: float, heartbeat_ticks: int, election_ticks: int
) -> None:
    timing = Timing(heartbeat_ms=heartbeat_ms, election_ms=election_ms)
    assert timing.tick_s == tick_s
    assert (timing.core.heartbeat_ticks, timing.core.election_ticks) == (heartbeat_ticks, election_ticks)


def test_an_election_takes_four_heartbeats_at_least() -> None:
    with pytest.raises(ConfigError, match="400 ms here") as refused:
        Timing(heartbeat_ms=100, election_ms=399)
    assert refused.value.field == "election_ms"


def test_all_members_that_begin_together_know_their_cluster_by_the_same_id() -> None:
    backwards = dict(reversed(THREE.items()))
    ids = {config(id=member, initial=initial).cluster_id for member in THREE for initial in (THREE, backwards)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    "other", [{"cluster": "another"}, {"initial": {**THREE, "m3": "127.0.0.1:7004"}}, {"initial": {"m1": THREE["m1"]}}]
)
def test_other_beginnings_are_other_clusters(other: dict[str, object]) -> None:
    assert config(**other).cluster_id != config().cluster_id


def test_a_member_listens_where_the_others_look_for_it_unless_told_otherwise() -> None:
    assert config(id="m2").address == "127.0.0.1:7002"
    assert config(id="m2", listen="127.0.0.2:9").address == "127.0.0.2:9"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"])
def test_loopback_needs_no_tls(address: str) -> None:
    assert config(listen=address).address == address


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "localhost.example:1"])
def test_whatever_is_not_surely_loopback_does(address: str) -> None:
    with pytest.raises(ConfigError, match="without TLS") as refused:
        config(listen=address)
    assert refused.value.field == "listen"
    assert config(listen=address, insecure=True).address == address


@pytest.mark.parametrize(
    "address", ["", "h", "h:", ":1", "h:0", "h:65536", "h:x", "h:1,i:2", "u:p@h:1", "h:1/x", "::1:1"]
)
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(ConfigError):
        split_address(address)


def test_an_address_taken_apart() -> None:
    assert split_address("h:7001") == ("h", 7001)
    assert split_address("[::1]:9") == ("::1", 9)


@pytest.mark.parametrize("member", ["", "a b", "a,b", "a=b", "a/b", "é", "x" * 65])
def test_an_id_is_short_and_plain(member: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        config(id=member, initial={member: "127.0.0.1:1"})
