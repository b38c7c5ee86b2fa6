"""What a failed request leaves open, and what the caller is told."""

from __future__ import annotations

import pytest

from leasekit.backends.etcd.faults import Failure, Fault, auth_not_enabled, classify
from leasekit.errors import (
    AuthError,
    ConfigError,
    LeasekitError,
    LeaseLost,
    OutcomeUnknown,
    ProtocolError,
    StoreUnavailable,
)


@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("UNAVAILABLE", "etcdserver: no leader"),
        ("UNAVAILABLE", "etcdserver: not capable"),
        ("UNAVAILABLE", "etcdserver: rpc not supported for learner"),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests"),
        ("UNKNOWN", "raft proposal dropped"),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: Connection refused"),
        ("UNAVAILABLE", "DNS resolution failed for etcd.example:2379"),
    ],
)
def test_what_never_left_or_was_refused_is_surely_not_applied(code: str, details: str) -> None:
    assert classify(code, details) is Fault.REFUSED


@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("DEADLINE_EXCEEDED", "Deadline Exceeded"),
        ("UNAVAILABLE", "Socket closed"),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer"),
        ("UNAVAILABLE", "etcdserver: request timed out"),
        ("UNAVAILABLE", "etcdserver: request timed out, possibly due to previous leader failure"),
        ("UNAVAILABLE", "etcdserver: server stopped"),
        ("UNAVAILABLE", "etcdserver: leader changed"),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (5 vs. 4)"),
        ("CANCELLED", "context canceled"),
        ("UNKNOWN", "something that no version says today"),
        ("INTERNAL", ""),
    ],
)
def test_what_was_sent_and_not_answered_may_be_applied(code: str, details: str) -> None:
    assert classify(code, details) is Fault.LOST


def test_a_full_database_leaves_it_open() -> None:
    # The request that crosses the quota is applied and answered so.
    assert classify("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded") is Fault.LOST


@pytest.mark.parametrize(
    ("code", "details", "fault"),
    [
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", Fault.TOKEN),
        ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old", Fault.TOKEN),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", Fault.TOKEN),
        ("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password", Fault.DENIED),
        ("PERMISSION_DENIED", "etcdserver: permission denied", Fault.DENIED),
        ("NOT_FOUND", "etcdserver: requested lease not found", Fault.NO_LEASE),
        ("OUT_OF_RANGE", "etcdserver: too large lease TTL", Fault.INVALID),
        ("INVALID_ARGUMENT", "etcdserver: too many operations in txn request", Fault.INVALID),
        ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", Fault.INVALID),
        ("INVALID_ARGUMENT", "etcdserver: request is too large", Fault.INVALID),
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (3000000 vs. 2097152)", Fault.INVALID),
        ("UNIMPLEMENTED", "unknown service etcdserverpb.KV", Fault.FOREIGN),
        ("DATA_LOSS", "etcdserver: corrupt cluster", Fault.FOREIGN),
    ],
)
def test_what_etcd_says_plainly(code: str, details: str, fault: Fault) -> None:
    assert classify(code, details) is fault


def test_the_reason_for_a_cancelled_watch_is_read_like_an_error() -> None:
    reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    assert classify("", reason) is Fault.DENIED


def test_a_password_where_none_is_wanted_is_no_failure() -> None:
    assert auth_not_enabled("etcdserver: authentication is not enabled")
    assert not auth_not_enabled("etcdserver: authentication failed, invalid user ID or password")


@pytest.mark.parametrize(
    ("fault", "changes", "kind"),
    [
        (Fault.LOST, True, OutcomeUnknown),
        (Fault.LOST, False, StoreUnavailable),
        (Fault.REFUSED, True, StoreUnavailable),
        (Fault.REFUSED, False, StoreUnavailable),
        (Fault.TOKEN, True, AuthError),
        (Fault.DENIED, False, AuthError),
        (Fault.INVALID, True, ConfigError),
        (Fault.FOREIGN, True, ProtocolError),
    ],
)
def test_what_the_caller_is_told(fault: Fault, changes: bool, kind: type[LeasekitError]) -> None:
    error = Failure(fault, "10.0.0.1:2379", "the words").error(changes=changes)
    assert type(error) is kind
    assert "10.0.0.1:2379" in str(error)
    assert "the words" in str(error)


def test_a_refused_password_says_where_it_came_from() -> None:
    text = str(Failure(Fault.DENIED, "h:1", "authentication failed").error(changes=False))
    assert "LEASEKIT_USERNAME" in text
    assert "LEASEKIT_PASSWORD" in text


def test_a_lost_lease_is_named() -> None:
    error = Failure(Fault.NO_LEASE, "h:1", "requested lease not found").error(changes=True, leases=["00ab"])
    assert isinstance(error, LeaseLost)
    assert error.lease_id == "00ab"


def test_of_several_leases_none_is_blamed_alone() -> None:
    error = Failure(Fault.NO_LEASE, "h:1", "requested lease not found").error(changes=True, leases=["1", "2"])
    assert isinstance(error, LeaseLost)
    assert error.lease_id not in ("1", "2")
