"""Rule 7: a renewal counts only when no deposed leader can have answered it."""

from __future__ import annotations

import pytest

from leasekit.backends.etcd.witnesses import Verdict, Witnesses, judge
from leasekit.store import Delete, Get, Put


@pytest.mark.parametrize(
    ("keepalive_term", "read_term", "put_at", "found_at", "verdict"),
    [
        (4, 4, 17, 17, Verdict.COUNTS),
        (4, 4, None, None, Verdict.COUNTS),
        # An isolated leader of term 4 answered the keepalive; the read went through the leader of term 5.
        (4, 5, 17, 17, Verdict.OTHER_TERM),
        (4, 5, None, None, Verdict.OTHER_TERM),
        # A restored store starts its terms anew.
        (4, 2, 17, 17, Verdict.OTHER_TERM),
        # The lease ran out, or another process deleted the key.
        (4, 4, 17, None, Verdict.WITNESS_GONE),
        # Another process put the key, perhaps on its own lease.
        (4, 4, 17, 23, Verdict.WITNESS_GONE),
        # The term is looked at first: what an older leader's world holds says nothing of the witness.
        (4, 5, 17, None, Verdict.OTHER_TERM),
    ],
)
def test_the_verdict(
    keepalive_term: int, read_term: int, put_at: int | None, found_at: int | None, verdict: Verdict
) -> None:
    assert judge(keepalive_term=keepalive_term, read_term=read_term, put_at=put_at, found_at=found_at) is verdict


def test_a_key_that_was_put_on_a_lease_bears_witness_to_it() -> None:
    witnesses = Witnesses()
    witnesses.applied([Put("leader", b"", "L1"), Put("free", b""), Get("other")], 8)
    assert witnesses.of("L1") == ("leader", 8)
    assert witnesses.of("L2") is None


def test_a_key_put_again_bears_witness_at_its_new_revision() -> None:
    witnesses = Witnesses()
    witnesses.applied([Put("leader", b"", "L1")], 8)
    witnesses.applied([Put("leader", b"", "L1")], 9)
    assert witnesses.of("L1") == ("leader", 9)


def test_a_key_moves_to_the_lease_that_it_was_put_on_last() -> None:
    witnesses = Witnesses()
    witnesses.applied([Put("leader", b"", "L1")], 8)
    witnesses.applied([Put("leader", b"", "L2")], 9)
    assert witnesses.of("L1") is None
    assert witnesses.of("L2") == ("leader", 9)


@pytest.mark.parametrize("op", [Delete("leader"), Put("leader", b"")])
def test_a_key_taken_off_its_lease_bears_witness_no_more(op: Delete | Put) -> None:
    witnesses = Witnesses()
    witnesses.applied([Put("leader", b"", "L1")], 8)
    witnesses.applied([op], 9)
    assert witnesses.of("L1") is None


def test_a_key_that_may_have_been_written_bears_witness_no_more() -> None:
    witnesses = Witnesses()
    witnesses.applied([Put("leader", b"", "L1"), Put("candidate", b"", "L1")], 8)
    witnesses.doubt([Delete("leader"), Get("candidate")])
    assert witnesses.of("L1") == ("candidate", 8)


def test_a_dropped_witness_leaves_the_others() -> None:
    witnesses = Witnesses()
    witnesses.applied([Put("leader", b"", "L1"), Put("candidate", b"", "L1")], 8)
    witnesses.drop("leader")
    witnesses.drop("never put")
    assert witnesses.of("L1") == ("candidate", 8)


def test_a_lease_that_is_over_has_no_witnesses() -> None:
    witnesses = Witnesses()
    witnesses.applied([Put("a", b"", "L1"), Put("b", b"", "L2")], 8)
    witnesses.drop_lease("L1")
    witnesses.drop_lease("never granted")
    assert witnesses.of("L1") is None
    witnesses.applied([Delete("a")], 9)
    assert witnesses.of("L2") == ("b", 8)
