"""What is said to be unsafe about a cluster."""

from __future__ import annotations

import pytest

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd.probe import Look, details, is_loopback, warnings


def look(
    version: str = "3.5.16",
    *,
    cluster: int = 0xC1,
    leader: int = 7,
    errors: tuple[str, ...] = (),
    learner: bool = False,
    index: int = 10,
) -> Look:
    header = rpc.ResponseHeader(cluster_id=cluster, member_id=7, revision=42)
    status = rpc.StatusResponse(
        header=header, version=version, leader=leader, errors=errors, isLearner=learner, raftTerm=3, raftIndex=index
    )
    return Look(status, 0.001)


def test_a_sound_cluster_has_no_warnings() -> None:
    assert warnings({"a:1": look(), "b:1": look("3.6.1"), "c:1": look("3.4.31")}) == []


@pytest.mark.parametrize(
    ("version", "first_safe"), [("3.5.0", "3.5.13"), ("3.5.12", "3.5.13"), ("3.4.23", "3.4.31"), ("3.4.30", "3.4.31")]
)
def test_a_version_whose_stalled_leader_may_revoke_living_leases(version: str, first_safe: str) -> None:
    [warning] = warnings({"a:1": look(version)})
    assert warning.startswith(f"a:1 runs etcd {version}")
    assert first_safe in warning
    assert "revoke" in warning


@pytest.mark.parametrize("version", ["3.5.13", "3.5.30", "3.4.31", "3.4.42", "3.6.0", "4.0.0", "not a version", ""])
def test_other_versions_are_not_warned_of(version: str) -> None:
    assert warnings({"a:1": look(version)}) == []


def test_a_version_too_old_to_be_tested() -> None:
    [warning] = warnings({"a:1": look("3.3.27")})
    assert "3.4" in warning


def test_endpoints_of_different_clusters() -> None:
    [warning] = warnings({"a:1": look(cluster=1), "b:1": look(cluster=2)})
    assert "different etcd clusters" in warning


def test_a_server_without_a_leader_is_told_once() -> None:
    [warning] = warnings({"a:1": look(leader=0, errors=("etcdserver: no leader",))})
    assert warning.startswith("a:1 knows no leader")


def test_a_learner_is_told_as_such() -> None:
    [warning] = warnings({"a:1": look(learner=True)})
    assert "learner" in warning


def test_a_full_database_is_told_once_for_all_servers() -> None:
    alarm = "memberID:7 alarm:NOSPACE "
    [warning] = warnings({"a:1": look(errors=(alarm,)), "b:1": look(errors=(alarm,))})
    assert "full" in warning
    assert "defragment" in warning


def test_corrupt_data_is_told() -> None:
    [warning] = warnings({"a:1": look(errors=("memberID:7 alarm:CORRUPT ",))})
    assert "corrupt" in warning


@pytest.mark.parametrize(
    ("host", "stays"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("etcd", False),
    ],
)
def test_what_is_sent_over_loopback_stays_on_this_machine(host: str, stays: bool) -> None:
    assert is_loopback(host) is stays


def test_the_details_are_those_of_the_server_that_is_furthest() -> None:
    found = details({"a:1": look(index=5), "b:1": look(index=9)})
    assert found["raft index"] == "9"
    assert found["raft term"] == "3"
    assert found["cluster id"] == "c1"
    assert details({}) == {}
