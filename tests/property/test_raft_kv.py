"""Raft's state machine does what a plain model of it does, whatever is asked, repeated, or restored from a snapshot."""

from __future__ import annotations

from dataclasses import replace

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leasekit.backends.memory import MemoryState
from leasekit.backends.raft.kv.commands import (
    Command,
    Expire,
    Grant,
    MalformedCommand,
    OpenSession,
    Proposal,
    Renew,
    Revoke,
    Transact,
    decode,
    encode,
)
from leasekit.backends.raft.kv.leases import LeaseState
from leasekit.backends.raft.kv.machine import CannotApply, StateMachine
from leasekit.backends.raft.kv.outcomes import MalformedOutcome, SessionOpened, Transacted, from_plain, to_plain
from leasekit.backends.raft.kv.snapshot import MalformedSnapshot
from leasekit.errors import LeaseLost
from leasekit.store import Absent, At, Changed, Committed, Compare, Delete, Entry, Get, NoneUnder, Op, Put, Resync
from support.kv_model import KvModel

KEYS = st.sampled_from(["a", "a/1", "a/2", "ab", "aé", "a\U0001f600", "a\uffff", "b"])
PREFIXES = st.sampled_from(["", "a", "a/", "aé", "c"])
VALUES = st.one_of(st.binary(max_size=2), st.sampled_from([b"x" * 100, b"x" * 400]))
REVISIONS = st.integers(0, 40)
LEASES = st.integers(1, 40).map(str)
COMPARES = st.lists(
    st.one_of(st.builds(Absent, KEYS), st.builds(At, KEYS, REVISIONS), st.builds(NoneUnder, PREFIXES)), max_size=2
)
READS = st.one_of(st.builds(Get, KEYS), st.builds(Get, PREFIXES, prefix=st.just(True)))
CAPACITY_BYTES, SESSIONS_MAX, KEPT_MAX, HISTORY_MAX = 2500, 3, 3, 4


def _no_key_twice(ops: list[Op]) -> bool:
    written = [op.key for op in ops if not isinstance(op, Get)]
    return len(set(written)) == len(written)


def _ops(lease_ids: st.SearchStrategy[str | None]) -> st.SearchStrategy[list[Op]]:
    writes = st.one_of(st.builds(Put, KEYS, VALUES, lease_ids), st.builds(Delete, KEYS))
    return st.lists(st.one_of(writes, writes, READS), max_size=5).filter(_no_key_twice)


def _machine(history_max: int = 10_000) -> StateMachine:
    return StateMachine(
        capacity_bytes=CAPACITY_BYTES, sessions_max=SESSIONS_MAX, kept_max=KEPT_MAX, history_max=history_max
    )


class MachineAndModel(RuleBasedStateMachine):
    """One log, applied by a machine, by another that is now and then restored from the first's snapshot, by a model."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = _machine(HISTORY_MAX)
        self.twin = _machine()
        self.model = KvModel(CAPACITY_BYTES, SESSIONS_MAX, KEPT_MAX)
        self.log: list[Proposal] = []
        self.sessions: list[int] = [77]
        self.sequences: dict[int, int] = {}
        self.restored_at = 0

    @rule(nonce=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def open_session(self, nonce: bytes) -> None:
        outcome = self.submit(Proposal(0, 0, 0, OpenSession(nonce)))
        assert isinstance(outcome, SessionOpened)
        self.sessions.append(outcome.session)

    @rule(data=st.data(), ttl_ms=st.sampled_from([100, 5000]))
    def grant(self, data: st.DataObject, ttl_ms: int) -> None:
        self.ask(data, Grant(ttl_ms))

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self.ask(data, Renew(data.draw(self.lease_ids())))

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        self.ask(data, Revoke(data.draw(self.lease_ids())))

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        lease_id = data.draw(self.lease_ids())
        renewals = [lease.renewal for lease in self.machine.leases.values()]
        self.submit(Proposal(0, 0, 0, Expire(lease_id, data.draw(st.sampled_from([0, *renewals])))))

    @rule(data=st.data(), compares=COMPARES)
    def transact(self, data: st.DataObject, compares: list[Compare]) -> None:
        ops = data.draw(_ops(st.one_of(st.none(), self.lease_ids())))
        # A compare that holds is rare by chance: every other time it is taken from what there is.
        if data.draw(st.booleans()):
            compares = [At(entry.key, entry.revision) for entry in self.model.under("")[:1]]
        self.ask(data, Transact(tuple(compares), tuple(ops)))

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        self.submit(data.draw(st.sampled_from(self.log)))

    @rule()
    def begin_a_term(self) -> None:
        self.submit(None)

    @rule()
    def restore_the_twin(self) -> None:
        self.twin = _machine()
        self.twin.restore(self.machine.freeze().encode(), self.machine.applied)
        self.restored_at = self.machine.applied

    @rule(compares=COMPARES, gets=st.lists(READS, max_size=3))
    def read(self, compares: list[Compare], gets: list[Get]) -> None:
        expected = None
        if all(self.model.holds(compare) for compare in compares):
            found = [
                self.model.under(get.key)
                if get.prefix
                else tuple(entry for entry in self.model.under("") if entry.key == get.key)
                for get in gets
            ]
            expected = Committed(self.model.applied, tuple(found))
        assert self.machine.read(compares, gets) == expected
        assert self.twin.read(compares, gets) == expected

    @rule(key=KEYS, prefix=st.booleans(), after=REVISIONS)
    def look_back(self, key: str, prefix: bool, after: int) -> None:
        told = [
            change
            for change in self.model.changes
            if change.revision > after and (change.key.startswith(key) if prefix else change.key == key)
        ]
        revisions = sorted({change.revision for change in self.model.changes})
        compacted = revisions[-HISTORY_MAX - 1] if len(revisions) > HISTORY_MAX else 0
        assert self.machine.compacted == compacted
        known = compacted <= after <= self.model.applied
        assert self.machine.changes_since(key, prefix, after) == (tuple(told) if known else None)
        known = self.restored_at <= after <= self.model.applied
        assert self.twin.changes_since(key, prefix, after) == (tuple(told) if known else None)

    @invariant()
    def all_hold_the_same(self) -> None:
        leases = {id: LeaseState(id, ttl_ms, renewal) for id, (ttl_ms, renewal) in self.model.leases.items()}
        assert dict(self.machine.leases) == leases
        assert self.machine.scan("") == self.model.under("")
        assert self.machine.scan("a/") == self.model.under("a/")
        assert self.machine.get("a") == self.model.entries.get("a")
        assert self.machine.size_bytes == self.model.size_bytes()
        assert self.twin.size_bytes == self.machine.size_bytes
        assert self.twin.freeze().encode() == self.machine.freeze().encode()

    def lease_ids(self) -> st.SearchStrategy[str]:
        """Mostly those that live."""
        return st.sampled_from([*self.machine.leases, *self.machine.leases, "1", "unknown"])

    def ask(self, data: st.DataObject, command: Command) -> None:
        """A command of some session, under its next sequence, with some of the earlier ones acknowledged."""
        session = data.draw(st.sampled_from(self.sessions[-4:]))
        last = self.sequences.get(session, 0)
        acknowledged = data.draw(st.integers(max(0, last - 3), last))
        self.sequences[session] = last + 1
        self.submit(Proposal(session, last + 1, acknowledged, command))

    def submit(self, proposal: Proposal | None) -> object:
        """Apply it everywhere; all say the same."""
        index = self.model.applied + 1
        before, told = set(self.model.leases), len(self.model.changes)
        expected = self.model.apply(proposal)
        if proposal is not None:
            self.log.append(proposal)
        data = b"" if proposal is None else encode(proposal)
        applied = self.machine.apply(index, data)
        assert applied == self.twin.apply(index, data)
        assert applied.outcome == expected
        assert list(applied.changes) == self.model.changes[told:]
        assert set(applied.ended) == before - set(self.model.leases)
        assert [lease.id for lease in applied.granted] == [
            id for id, (_, renewal) in self.model.leases.items() if renewal == index
        ]
        if expected is not None:
            plain = msgpack.unpackb(msgpack.packb(to_plain(expected)))
            assert from_plain(plain) == expected
        return expected


TestMachineAndModel = MachineAndModel.TestCase
TestMachineAndModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class AsTheMemoryStore(RuleBasedStateMachine):
    """Transactions and leases mean the same as in the store that all others are tested against.

    The memory store's revisions count changes and Raft's count log entries: they are told apart by a map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.machine = StateMachine()
        self.memory = MemoryState()
        opened = self.machine.apply(1, encode(Proposal(0, 0, 0, OpenSession(b"n")))).outcome
        assert isinstance(opened, SessionOpened)
        self.session = opened.session
        self.theirs: dict[int, int] = {}
        """Their revision of what ours calls so, where something changed."""
        self.lease_ids: dict[str, str] = {"unknown": "unknown"}

    @rule()
    def grant(self) -> None:
        self.apply(Grant(1000))
        self.lease_ids[str(self.machine.applied)] = self.memory.grant(1.0, 0.0).id

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        lease_id = data.draw(st.sampled_from([*self.lease_ids]))
        before = self.memory.revision
        self.apply(Revoke(lease_id))
        self.memory.revoke(self.lease_ids[lease_id], 0.0)
        self.note_change(before)

    @rule(data=st.data(), compares=COMPARES)
    def transact(self, data: st.DataObject, compares: list[Compare]) -> None:
        ops = data.draw(_ops(st.one_of(st.none(), st.sampled_from([*self.lease_ids]))))
        before = self.memory.revision
        ours = self.apply(Transact(tuple(compares), tuple(ops)))
        try:
            theirs: object = self.memory.transact(
                [self.their_compare(compare) for compare in compares], [self.their_op(op) for op in ops], 0.0
            )
        except LeaseLost:
            theirs = "lease lost"
        self.note_change(before)
        if isinstance(ours, Transacted):
            committed = ours.committed
            assert theirs == (committed and replace(self.their_committed(committed), revision=self.memory.revision))
        else:
            assert theirs == "lease lost"

    @invariant()
    def they_hold_the_same_and_tell_the_same_changes(self) -> None:
        assert tuple(map(self.their_entry, self.machine.scan(""))) == self.memory.scan("", 0.0).entries
        changes = self.machine.changes_since("", True, 0)
        assert changes is not None
        told = self.memory.changes("", prefix=True, after=0)
        assert not isinstance(told, Resync)
        assert tuple(map(self.their_change, changes)) == told

    def apply(self, command: Command) -> object:
        index = self.machine.applied + 1
        return self.machine.apply(index, encode(Proposal(self.session, index, index - 1, command))).outcome

    def note_change(self, before: int) -> None:
        if self.memory.revision != before:
            self.theirs[self.machine.applied] = self.memory.revision

    def their_entry(self, entry: Entry) -> Entry:
        return replace(
            entry,
            create_revision=self.theirs[entry.create_revision],
            revision=self.theirs[entry.revision],
            lease_id=self.lease_ids[entry.lease_id] if entry.lease_id else None,
        )

    def their_change(self, change: Changed) -> Changed:
        entry = change.entry and self.their_entry(change.entry)
        return Changed(change.key, entry, self.theirs[change.revision])

    def their_committed(self, committed: Committed) -> Committed:
        return replace(committed, reads=tuple(tuple(map(self.their_entry, read)) for read in committed.reads))

    def their_compare(self, compare: Compare) -> Compare:
        # A revision of ours at which nothing changed is no revision of theirs: -1 is none either.
        return replace(compare, revision=self.theirs.get(compare.revision, -1)) if isinstance(compare, At) else compare

    def their_op(self, op: Op) -> Op:
        return replace(op, lease_id=self.lease_ids[op.lease_id]) if isinstance(op, Put) and op.lease_id else op


TestAsTheMemoryStore = AsTheMemoryStore.TestCase
TestAsTheMemoryStore.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)

PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.integers(-1, 7),
        st.floats(),
        st.binary(max_size=8),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=15,
)
PROPOSALS = st.one_of(
    st.builds(
        lambda session, sequence, behind, command: Proposal(session, sequence, max(0, sequence - 1 - behind), command),
        st.integers(1, 2**63 - 1),
        st.integers(1, 2**63 - 1),
        st.integers(0, 300),
        st.one_of(
            st.builds(Grant, st.integers(100, 10**12)),
            st.builds(Renew, LEASES),
            st.builds(Revoke, LEASES),
            st.builds(Transact, COMPARES.map(tuple), _ops(st.one_of(st.none(), LEASES)).map(tuple)),
        ),
    ),
    st.builds(
        lambda command: Proposal(0, 0, 0, command),
        st.one_of(
            st.builds(Expire, LEASES, REVISIONS),
            st.builds(OpenSession, st.binary(min_size=1, max_size=64)),
        ),
    ),
)


@settings(deadline=None)
@given(PROPOSALS)
def test_what_is_encoded_is_decoded_the_same(proposal: Proposal) -> None:
    assert decode(encode(proposal)) == proposal


def _is_refused_or_sound(data: bytes) -> None:
    """Either no command, or one that can be encoded again to the same meaning and applied."""
    machine = StateMachine()
    try:
        proposal = decode(data)
    except MalformedCommand:
        if data:
            with pytest.raises(CannotApply):
                machine.apply(1, data)
            assert machine.applied == 0
        return
    assert decode(encode(proposal)) == proposal
    assert machine.apply(1, data).outcome is not None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
@example(b"\x01\xc7\x00\xff")  # a timestamp without a time
@example(b"\x01\xd6\xff\xff\xff\xff\xff")
@example(b"\x01" + b"\x91" * 5000)
@example(b"\x01\xdd\xff\xff\xff\xff")
@example(b"\x01\x81\x90\x90")  # a map with a list for a key
def test_random_bytes_are_refused(data: bytes) -> None:
    _is_refused_or_sound(data)
    _is_refused_or_sound(b"\x01" + data)


@settings(max_examples=300, deadline=None)
@given(PLAIN, st.integers(0, 6), st.lists(PLAIN, max_size=3))
def test_well_packed_nonsense_is_refused(plain: object, kind: int, arguments: list[object]) -> None:
    _is_refused_or_sound(b"\x01" + msgpack.packb(plain))
    _is_refused_or_sound(b"\x01" + msgpack.packb([1, 1, 0, [kind, *arguments]]))
    _is_refused_or_sound(b"\x01" + msgpack.packb([0, 0, 0, [kind, *arguments]]))


@settings(max_examples=300, deadline=None)
@given(PROPOSALS, st.data())
def test_a_command_with_wrong_bytes_is_refused_or_another_command(proposal: Proposal, data: st.DataObject) -> None:
    encoded = bytearray(encode(proposal))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    _is_refused_or_sound(bytes(encoded))


@settings(deadline=None)
@given(PROPOSALS, st.data())
def test_a_command_that_is_cut_short_or_goes_on_is_refused(proposal: Proposal, data: st.DataObject) -> None:
    encoded = encode(proposal)
    with pytest.raises(MalformedCommand):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(MalformedCommand):
        decode(encoded + data.draw(st.binary(min_size=1, max_size=4)))


@settings(deadline=None)
@given(PLAIN)
def test_nonsense_is_no_outcome(plain: object) -> None:
    try:
        outcome = from_plain(plain)
    except MalformedOutcome:
        return
    assert from_plain(to_plain(outcome)) == outcome


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_snapshot_with_wrong_bytes_is_refused_whole_or_sound(data: st.DataObject) -> None:
    machine = StateMachine()
    commands: list[Command] = [
        Grant(1000),
        Transact((), (Put("a", b"1", "2"), Put("b", b"2"))),
        Transact((), (Get("a"),)),
    ]
    machine.apply(1, encode(Proposal(0, 0, 0, OpenSession(b"n"))))
    for sequence, command in enumerate(commands, 1):
        machine.apply(1 + sequence, encode(Proposal(1, sequence, 0, command)))
    encoded = bytearray(machine.freeze().encode())
    for _ in range(data.draw(st.integers(1, 2))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    other = StateMachine()
    before = other.freeze().encode()
    try:
        other.restore(bytes(encoded), 4)
    except MalformedSnapshot:
        assert other.freeze().encode() == before
    else:
        again = StateMachine()
        again.restore(other.freeze().encode(), 4)
        assert again.freeze().encode() == other.freeze().encode()
        assert again.apply(5, b"").outcome is None
