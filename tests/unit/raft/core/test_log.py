"""The log of one member, against a model that keeps everything and looks everything up the slow way."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.log import Log, size_of
from leasekit.backends.raft.core.types import Entry, EntryKind, HardState, Recovered, Snapshot, SnapshotMeta
from support.raft import entries, found, members


@dataclass
class _Write:
    number: int
    snapshot: SnapshotMeta | None
    first: int
    terms: list[int]


class _LogAgainstModel(RuleBasedStateMachine):
    """`terms` is the whole log; `disk` is what the writes that are done have left there."""

    @initialize(committed=st.lists(st.integers(1, 2), max_size=3))
    def begin(self, committed: list[int]) -> None:
        self.terms = sorted(committed)
        self.disk = list(self.terms)
        self.committed = self.applied = self.base = 0
        self.restored_to = 0
        self.writes: list[_Write] = []
        self.number = 0
        self.log = Log(found("abc", *self.terms))

    @rule(data=st.data())
    def a_leader_brings_entries(self, data: st.DataObject) -> None:
        previous = data.draw(st.integers(self.committed, len(self.terms) + 1))
        here = self._term(previous)
        previous_term = data.draw(st.sampled_from([here or 1, 1, 2, 3]))
        kept = self.terms[previous : data.draw(st.integers(previous, max(previous, len(self.terms))))]
        least = max([1, previous_term, *kept])
        new = kept + sorted(data.draw(st.lists(st.integers(least, least + 3), max_size=3)))
        last = self.log.follow(previous, previous_term, entries(*new, first=previous + 1))
        if here != previous_term:
            assert last is None
            return
        assert last == previous + len(new)
        for place, term in enumerate(new):
            index = previous + 1 + place
            if self._term(index) != term:
                self.terms[index - 1 :] = new[place:]
                break

    @rule(data=st.data())
    def something_is_committed(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.terms)))
        self.log.commit_to(index)
        self.committed = max(self.committed, index)

    @precondition(lambda self: self.log.has_unwritten)
    @rule()
    def what_is_unwritten_is_handed_out(self) -> None:
        self.number += 1
        snapshot, new = self.log.take_unwritten(self.number)
        first = new[0].index if new else 0
        meta = None if snapshot is None else snapshot.meta
        self.writes.append(_Write(self.number, meta, first, [entry.term for entry in new]))
        assert not self.log.has_unwritten

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def some_writes_are_done(self, data: st.DataObject) -> None:
        done = data.draw(st.integers(1, len(self.writes)))
        for write in self.writes[:done]:
            if write.snapshot is not None:
                self.disk = [0] * (write.snapshot.index - 1) + [write.snapshot.term]
            if write.terms:
                self.disk[write.first - 1 :] = write.terms
        number = self.writes[done - 1].number
        del self.writes[:done]
        self.log.persisted(number)

    @rule(size=st.integers(1, 200))
    def what_is_committed_is_applied(self, size: int) -> None:
        restored = self.log.take_restored()
        if restored is not None:
            assert restored.meta.index == self.restored_to
            self.applied = self.restored_to
        taken = self.log.take_committed(size)
        assert [entry.index for entry in taken] == list(range(self.applied + 1, self.applied + 1 + len(taken)))
        assert [entry.term for entry in taken] == self.terms[self.applied : self.applied + len(taken)]
        self.applied += len(taken)

    @precondition(lambda self: self.applied > self.log.snapshot.meta.index and not self.log.restoring)
    @rule(keep=st.integers(0, 3))
    def what_is_applied_is_compacted(self, keep: int) -> None:
        term = self._term(self.applied)
        assert term is not None
        self.log.compact(Snapshot(SnapshotMeta(self.applied, term, members("abc"))), keep)
        self.base = max(self.base, self.applied - keep)
        assert self.log.snapshot.meta.index == self.applied

    @precondition(lambda self: len(self.terms) < 40)
    @rule(data=st.data())
    def a_snapshot_that_disagrees_replaces_all(self, data: st.DataObject) -> None:
        index, term = data.draw(st.integers(self.committed + 1, len(self.terms) + 4)), max([0, *self.terms]) + 1
        self.log.restore(Snapshot(SnapshotMeta(index, term, members("abc"))))
        self.terms = [0] * (index - 1) + [term]  # what it covers is not known one by one
        self.base = self.committed = self.restored_to = index

    @invariant()
    def it_is_as_in_the_model(self) -> None:
        log = self.log
        assert log.base.index == self.base
        assert log.last_index == len(self.terms)
        assert [log.term(index) for index in range(self.base, len(self.terms) + 2)] == [
            self._term(index) for index in range(self.base, len(self.terms) + 2)
        ]
        assert log.committed == self.committed
        assert log.applied == self.applied

    @invariant()
    def what_counts_as_durable_is_on_the_disk(self) -> None:
        agree = 0
        while agree < min(len(self.disk), len(self.terms)) and self.disk[agree] == self.terms[agree]:
            agree += 1
        if self.log.stable > self.base:
            assert self.disk[self.base : self.log.stable] == self.terms[self.base : self.log.stable]
        if not self.writes and not self.log.has_unwritten:
            assert self.log.stable == len(self.terms)
        assert self.log.restoring or self.log.applied <= agree

    @invariant()
    def indexes_are_in_order(self) -> None:
        log = self.log
        assert log.applied <= log.committed <= log.last_index
        if not log.restoring:
            assert log.base.index <= log.snapshot.meta.index <= log.applied <= log.stable <= log.last_index

    def _term(self, index: int) -> int | None:
        if index == 0:
            return 0
        return self.terms[index - 1] if index <= len(self.terms) else None


TestLogAgainstModel = _LogAgainstModel.TestCase
TestLogAgainstModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("terms", [(), (1,), (1, 1, 2, 2, 2, 5), (3, 3, 3)])
@pytest.mark.parametrize("base", [(0, 0), (4, 1)])
def test_where_logs_may_agree_is_the_last_place_of_a_term_no_later(
    terms: tuple[int, ...], base: tuple[int, int]
) -> None:
    log = Log(found("abc", *terms, base=base))
    for index in range(base[0], log.last_index + 3):
        for term in range(1, 7):
            places = [at for at in range(base[0], min(index, log.last_index) + 1) if (log.term(at) or 0) <= term]
            last = max(places, default=base[0])
            assert log.agreement(index, term) == (last, log.term(last))


def test_where_nothing_is_known_any_more_no_agreement_is_known() -> None:
    assert Log(found("abc", 5, base=(10, 4))).agreement(7, 3) == (7, 0)


def test_entries_come_as_many_as_fit_and_one_at_least() -> None:
    log = Log(found("abc", 1, 1, 1))
    one = size_of(log.entries(1, 1, 0)[0])
    assert [len(log.entries(1, 3, size)) for size in (0, one, 2 * one - 1, 2 * one, 3 * one, 99 * one)] == [
        1,
        1,
        1,
        2,
        3,
        3,
    ]


def _change(index: int, term: int, voters: str) -> Entry:
    return Entry(index, term, EntryKind.MEMBERSHIP, memberships.encode(members(voters)))


def test_a_membership_holds_once_it_is_in_the_log_and_no_longer_than_it_is() -> None:
    """Thesis section 4.1: from the append on, and back again if the entry is replaced."""
    log = Log(found("abc", 1))
    log.append([_change(2, 1, "abcd"), *entries(1, first=3)])
    assert (set(log.membership.voters), log.membership_index) == (set("abcd"), 2)
    log.append([_change(4, 1, "abcde")])
    assert set(log.membership.voters) == set("abcde")
    log.append(entries(2, first=4))
    assert (set(log.membership.voters), log.membership_index) == (set("abcd"), 2)
    log.append(entries(3, first=2))
    assert (set(log.membership.voters), log.membership_index) == (set("abc"), 0)


def test_a_membership_is_known_after_a_restart_and_after_two_compactions() -> None:
    recovered = found("abc", 1, 1, 1)
    log = Log(Recovered(HardState(1, None, 3), recovered.snapshot, (_change(1, 1, "abcd"), *entries(1, 1, 1, first=2))))
    assert set(log.membership.voters) == set("abcd")
    log.take_committed(1 << 20)
    for index in (2, 3):
        log.compact(Snapshot(SnapshotMeta(index, 1, log.membership_at(index))), 0)
        assert set(log.base.membership.voters) == set(log.membership.voters) == set("abcd")
        assert log.membership_at(index) == members("abcd")


def test_an_older_snapshot_of_its_own_is_ignored() -> None:
    log = Log(found("abc", 1, 1, 1, commit=3))
    log.take_committed(1 << 20)
    newer = Snapshot(SnapshotMeta(3, 1, members("abc")))
    log.compact(newer, 0)
    log.compact(Snapshot(SnapshotMeta(2, 1, members("abc"))), 0)
    assert log.snapshot == newer
    assert log.base.index == 3
