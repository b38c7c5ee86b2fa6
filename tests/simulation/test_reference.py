"""What the reference calls a wrong answer, shown by small logs."""

from collections import Counter

import pytest

from leasekit.backends.raft.kv.commands import Command, Expire, Grant, OpenSession, Proposal, Renew, Transact, encode
from leasekit.backends.raft.kv.outcomes import Transacted
from leasekit.backends.raft.requests import Event
from leasekit.backends.raft.simulator.invariants import Violation
from leasekit.backends.raft.simulator.reference import SLOWEST, Reference
from leasekit.store import Absent, Changed, Committed, Entry, Get, Put

SESSION = 1


@pytest.fixture
def reference() -> Reference:
    """With an open session, which is named 1."""
    opened = Reference(Counter())
    opened.apply(1, encode(Proposal(0, 0, 0, OpenSession(b"nonce"))), 0.0)
    return opened


def apply(reference: Reference, sequence: int, command: Command, now_s: float = 0.0) -> int:
    index = reference.applied + 1
    reference.apply(index, encode(Proposal(SESSION, sequence, 0, command)), now_s)
    return index


def put(reference: Reference, sequence: int, key: str = "k", value: bytes = b"v", lease_id: str | None = None) -> Entry:
    index = apply(reference, sequence, Transact((), (Put(key, value, lease_id),)))
    return Entry(key, value, index, index, lease_id)


def test_a_command_that_is_there_twice_is_done_once(reference: Reference) -> None:
    written = put(reference, 1)
    apply(reference, 1, Transact((), (Put("k", b"v"),)))
    assert reference.entries() == (written,)
    reference.answered(SESSION, 1, Transacted(Committed(written.revision)), 0)


def test_a_wrong_outcome(reference: Reference) -> None:
    written = put(reference, 1)
    with pytest.raises(Violation, match="a wrong answer"):
        reference.answered(SESSION, 1, Transacted(Committed(written.revision + 1)), 0)
    with pytest.raises(Violation, match="a wrong answer"):
        reference.answered(SESSION, 1, Transacted(None), 0)


def test_an_acknowledgement_of_what_is_not_committed(reference: Reference) -> None:
    with pytest.raises(Violation, match="not committed"):
        reference.answered(SESSION, 1, Transacted(None), 0)


def test_a_command_that_was_surely_not_done_and_is_done(reference: Reference) -> None:
    reference.denied(SESSION, 1)
    with pytest.raises(Violation, match="surely was not"):
        put(reference, 1)


def test_a_command_that_is_done_before_it_was_asked_for(reference: Reference) -> None:
    written = put(reference, 1)
    with pytest.raises(Violation, match="before it was asked for"):
        reference.answered(SESSION, 1, Transacted(Committed(written.revision)), asked_at=written.revision)


def test_reads_show_the_keys_as_of_their_revision_and_no_older_one_than_is_known(reference: Reference) -> None:
    first, second = put(reference, 1), put(reference, 2, "l")
    gets = (Get("", prefix=True),)
    reference.read(gets, Committed(first.revision, ((first,),)), asked_at=0)
    reference.read(gets, Committed(second.revision, ((first, second),)), asked_at=0)
    with pytest.raises(Violation, match="a wrong read"):
        reference.read(gets, Committed(second.revision, ((first,),)), asked_at=0)
    with pytest.raises(Violation, match="a stale read"):
        reference.read(gets, Committed(first.revision, ((first,),)), asked_at=reference.horizon)
    with pytest.raises(Violation, match="not committed"):
        reference.read(gets, Committed(second.revision + 1, ((first, second),)), asked_at=0)


def test_a_compare_that_fails_changes_nothing(reference: Reference) -> None:
    written = put(reference, 1)
    apply(reference, 2, Transact((Absent("k"),), (Put("k", b"other"),)))
    assert reference.entries() == (written,)
    reference.answered(SESSION, 2, Transacted(None), 0)


@pytest.mark.parametrize("wrong", ["missing", "reversed", "other"])
def test_a_watch_that_tells_other_changes_than_there_were(reference: Reference, wrong: str) -> None:
    first, second = put(reference, 1, "k/1"), put(reference, 2, "k/2")
    put(reference, 3, "elsewhere")
    right = [Changed(entry.key, entry, entry.revision) for entry in (first, second)]
    reference.watched("k/", True, 0, Event(id=1, changes=tuple(right), revision=4))
    told = {"missing": right[1:], "reversed": right[::-1], "other": [*right, Changed("k/3", None, 4)]}[wrong]
    with pytest.raises(Violation, match=r"out of order|other changes"):
        reference.watched("k/", True, 0, Event(id=1, changes=tuple(told), revision=4))


def test_a_watch_that_skips_a_revision(reference: Reference) -> None:
    put(reference, 1)
    with pytest.raises(Violation, match="other changes"):
        reference.watched("k", False, 1, Event(id=1, changes=(), revision=2))
    reference.watched("k", False, 1, Event(id=1, changes=(), revision=2, resync=True))


def test_a_lease_that_ends_before_its_time(reference: Reference) -> None:
    granted = apply(reference, 1, Grant(1000), now_s=0.1)
    lease_id = str(granted)
    reference.renewed(lease_id, 1.0, asked_s=0.0)
    renewed = apply(reference, 2, Renew(lease_id), now_s=0.5)
    reference.renewed(lease_id, 1.0, asked_s=0.4)
    end = encode(Proposal(0, 0, 0, Expire(lease_id, renewed)))
    with pytest.raises(Violation, match="before its time"):
        reference.apply(reference.applied + 1, end, 0.4 + 0.99 / SLOWEST)


def test_a_lease_ends_in_time_with_its_keys_and_an_old_renewal_ends_nothing(reference: Reference) -> None:
    granted = apply(reference, 1, Grant(1000))
    put(reference, 2, lease_id=str(granted))
    renewed = apply(reference, 3, Renew(str(granted)))
    reference.renewed(str(granted), 1.0, asked_s=0.0)
    reference.apply(reference.applied + 1, encode(Proposal(0, 0, 0, Expire(str(granted), granted))), 5.0)
    assert reference.leases
    reference.apply(reference.applied + 1, encode(Proposal(0, 0, 0, Expire(str(granted), renewed))), 5.0)
    assert not reference.leases
    assert reference.entries() == ()


def test_an_acknowledged_renewal_of_a_lease_that_had_ended(reference: Reference) -> None:
    granted = apply(reference, 1, Grant(1000))
    reference.apply(reference.applied + 1, encode(Proposal(0, 0, 0, Expire(str(granted), granted))), 2.0)
    with pytest.raises(Violation, match="had ended before its time"):
        reference.renewed(str(granted), 1.0, asked_s=1.5)


def test_two_that_lead_at_once(reference: Reference) -> None:
    first = put(reference, 1, "e/leader", b"a")
    reference.believes("e/leader", "a", first.revision, until_s=9.0, now_s=0.0)
    with pytest.raises(Violation, match="two lead at once"):
        apply(reference, 2, Transact((), (Put("e/leader", b"b"),)), now_s=8.0)


def test_one_may_lead_when_the_other_gave_up(reference: Reference) -> None:
    first = put(reference, 1, "e/leader", b"a")
    reference.believes("e/leader", "a", first.revision, until_s=9.0, now_s=0.0)
    reference.gave_up("e/leader", first.revision)
    second = put(reference, 2, "e/leader", b"b")
    reference.believes("e/leader", "b", second.revision, until_s=9.0, now_s=1.0)
    with pytest.raises(Violation, match="not the latest"):
        reference.believes("e/leader", "a", first.revision, until_s=9.0, now_s=1.0)
