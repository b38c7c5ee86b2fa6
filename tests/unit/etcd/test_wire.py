"""What is said to etcd, and what its answers mean."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd import wire
from leasekit.errors import ConfigError, LeaseLost, ProtocolError
from leasekit.store import Absent, At, Changed, Committed, Delete, Entry, Get, Lease, NoneUnder, Put

KEYS = wire.Keys("team/prod")
LEASE = "00000000000000ab"


def pair(key: bytes, *, lease: int = 0, revision: int = 7) -> rpc.KeyValue:
    return rpc.KeyValue(key=key, value=b"v", create_revision=3, mod_revision=revision, version=2, lease=lease)


# Keys.


def test_a_key_lives_under_the_prefix() -> None:
    assert KEYS.encode("reports/leader") == b"team/prod/reports/leader"
    assert KEYS.decode(b"team/prod/reports/leader") == "reports/leader"


@given(st.text())
def test_every_text_is_a_key_and_comes_back(key: str) -> None:
    assert KEYS.decode(KEYS.encode(key)) == key


def test_a_foreign_key_that_is_not_utf8_comes_back_too() -> None:
    assert KEYS.encode(KEYS.decode(b"team/prod/\xff\xfe")) == b"team/prod/\xff\xfe"


@given(st.binary(min_size=1, max_size=5), st.binary(max_size=5))
def test_the_end_of_a_range_divides_what_starts_with_its_beginning_from_the_rest(start: bytes, other: bytes) -> None:
    end = wire.range_end(start)
    for key in (other, start + other, start):
        within = start <= key and (end == b"\0" or key < end)
        assert within == key.startswith(start)


def test_the_span_of_nothing_is_the_whole_prefix_and_no_neighbour() -> None:
    assert KEYS.span("") == (b"team/prod/", b"team/prod0")


# Leases.


def test_a_lease_is_called_as_etcdctl_calls_it() -> None:
    assert wire.lease_text(0x694D8A2B8B7E4C0A) == "694d8a2b8b7e4c0a"
    assert wire.lease_text(0xAB) == LEASE
    assert wire.lease_number(LEASE) == 0xAB


@pytest.mark.parametrize("text", ["", "no-such-lease", "0", "-1", "8000000000000000", "1" * 40])
def test_what_can_be_no_lease_is_none(text: str) -> None:
    assert wire.lease_number(text) is None


@pytest.mark.parametrize(("asked_s", "sent_s"), [(1, 1), (1.01, 2), (15, 15), (9_000_000_000, 9_000_000_000)])
def test_a_ttl_is_asked_for_in_whole_seconds_rounded_up(asked_s: float, sent_s: int) -> None:
    assert wire.grant_request(asked_s) == rpc.LeaseGrantRequest(TTL=sent_s)


@pytest.mark.parametrize("ttl_s", [0, -1, 0.99, 9_000_000_001, math.inf, math.nan])
def test_a_ttl_out_of_range_is_refused(ttl_s: float) -> None:
    with pytest.raises(ConfigError, match="ttl_s"):
        wire.grant_request(ttl_s)


def test_the_granted_ttl_counts() -> None:
    assert wire.granted(rpc.LeaseGrantResponse(ID=0xAB, TTL=8)) == Lease(LEASE, 8.0)


@pytest.mark.parametrize("answer", [rpc.LeaseGrantResponse(ID=1), rpc.LeaseGrantResponse(ID=1, TTL=5, error="no")])
def test_a_grant_that_grants_nothing_is_no_lease(answer: rpc.LeaseGrantResponse) -> None:
    with pytest.raises(ProtocolError):
        wire.granted(answer)


# Transactions.


def test_what_is_compared() -> None:
    request = wire.transaction(KEYS, [Absent("a"), At("b", 9), NoneUnder("c/")], [])
    assert list(request.compare) == [
        rpc.Compare(result="EQUAL", target="CREATE", key=b"team/prod/a", create_revision=0),
        rpc.Compare(result="EQUAL", target="MOD", key=b"team/prod/b", mod_revision=9),
        rpc.Compare(result="EQUAL", target="CREATE", key=b"team/prod/c/", range_end=b"team/prod/c0", create_revision=0),
    ]


def test_a_comparison_with_zero_is_sent_although_zero_is_the_default() -> None:
    [compare] = wire.transaction(KEYS, [Absent("a")], []).compare
    assert compare.WhichOneof("target_union") == "create_revision"


@pytest.mark.parametrize("revision", [0, -5])
def test_no_key_is_at_a_revision_that_never_was(revision: int) -> None:
    # Sent as 0, etcd would find a missing key to match.
    [compare] = wire.transaction(KEYS, [At("a", revision)], []).compare
    assert compare.mod_revision == -1


def test_what_is_done() -> None:
    request = wire.transaction(
        KEYS, [], [Put("a", b"1", LEASE), Put("b", b"2"), Delete("c"), Get("d"), Get("e/", prefix=True)]
    )
    assert list(request.success) == [
        rpc.RequestOp(request_put=rpc.PutRequest(key=b"team/prod/a", value=b"1", lease=0xAB)),
        rpc.RequestOp(request_put=rpc.PutRequest(key=b"team/prod/b", value=b"2")),
        rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"team/prod/c")),
        rpc.RequestOp(request_range=rpc.RangeRequest(key=b"team/prod/d")),
        rpc.RequestOp(request_range=rpc.RangeRequest(key=b"team/prod/e/", range_end=b"team/prod/e0")),
    ]


def test_a_put_on_what_can_be_no_lease_is_refused_rather_than_put_on_none() -> None:
    with pytest.raises(LeaseLost):
        wire.transaction(KEYS, [], [Put("a", b"1", "no-such-lease")])


def test_more_than_etcd_takes_is_refused_before_it_is_sent() -> None:
    assert wire.transaction(KEYS, [], [Get("a")] * 128)
    with pytest.raises(ConfigError, match="ops: 129"):
        wire.transaction(KEYS, [], [Get("a")] * 129)
    with pytest.raises(ConfigError, match="compares: 129"):
        wire.transaction(KEYS, [Absent("a")] * 129, [])


def test_a_failed_compare_is_a_result() -> None:
    assert wire.committed(KEYS, rpc.TxnResponse(header=rpc.ResponseHeader(revision=5))) is None


def test_the_reads_come_in_order_one_for_each() -> None:
    answer = rpc.TxnResponse(
        header=rpc.ResponseHeader(revision=12),
        succeeded=True,
        responses=[
            rpc.ResponseOp(response_range=rpc.RangeResponse(kvs=[pair(b"team/prod/a", lease=0xAB)])),
            rpc.ResponseOp(response_put=rpc.PutResponse()),
            rpc.ResponseOp(response_range=rpc.RangeResponse()),
        ],
    )
    assert wire.committed(KEYS, answer) == Committed(12, ((Entry("a", b"v", 3, 7, LEASE),), ()))


def test_only_reads_may_be_asked_twice() -> None:
    assert wire.reads_only([Get("a"), Get("b", prefix=True)])
    assert not wire.reads_only([Get("a"), Delete("b")])
    assert not wire.reads_only([Put("a", b"")])


def test_each_lease_that_is_put_on_is_named_once() -> None:
    assert wire.puts_on([Put("a", b"", "2"), Put("b", b"", "1"), Put("c", b"", "2"), Put("d", b""), Delete("e")]) == [
        "2",
        "1",
    ]


# Watches.


def test_a_put_is_told_with_what_the_key_is_now() -> None:
    event = rpc.Event(type="PUT", kv=pair(b"team/prod/a", revision=9))
    assert wire.change(KEYS, event) == Changed("a", Entry("a", b"v", 3, 9, None), 9)


def test_a_deletion_is_told_with_its_revision() -> None:
    event = rpc.Event(type="DELETE", kv=rpc.KeyValue(key=b"team/prod/a", mod_revision=11))
    assert wire.change(KEYS, event) == Changed("a", None, 11)
