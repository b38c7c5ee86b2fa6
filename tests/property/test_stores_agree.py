"""The SQLite store and the memory model say the same, whatever is asked of them."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from leasekit.backends.memory import MemoryState, MemoryStore
from leasekit.backends.sqlite.database import Database
from leasekit.clock import Boot
from leasekit.errors import LeaseLost
from leasekit.store import Absent, At, Changed, Committed, Compare, Delete, Entry, Get, NoneUnder, Op, Put, Resync
from leasekit.testing import ManualClock, run_virtual
from leasekit.testing.model import compare_with_model

ROOT = "p/"
KEYS = st.sampled_from([ROOT + key for key in ("a", "a/1", "a/2", "ab", "a_", "b")])
PREFIXES = st.sampled_from([ROOT, ROOT + "a", ROOT + "a/", ROOT + "a_", ROOT + "c"])
REVISIONS = st.integers(0, 30)
COMPARES = st.lists(
    st.one_of(st.builds(Absent, KEYS), st.builds(At, KEYS, REVISIONS), st.builds(NoneUnder, PREFIXES)), max_size=2
)
READS = st.one_of(st.builds(Get, KEYS), st.builds(Get, PREFIXES, prefix=st.just(True)))


class StoresAgree(RuleBasedStateMachine):
    """Both begin empty and count their revisions alike, so that every answer must be the same to the letter."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.database = Database(Path(self.folder.name) / "leases.db", self.clock, Boot("this boot", "this namespace"))
        self.model = MemoryState()
        self.model_lease: dict[str | None, str | None] = {None: None}

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @rule(target=leases, ttl_s=st.sampled_from([1.0, 2.0, 5.0]))
    def grant(self, ttl_s: float) -> str:
        lease_id = self.database.write(lambda tables, now_s: tables.grant(ttl_s, now_s))
        self.model_lease[lease_id] = self.model.grant(ttl_s, self.now_s).id
        return lease_id

    @rule(lease_id=leases)
    def renew(self, lease_id: str) -> None:
        theirs = self.database.write(lambda tables, now_s: tables.renew(lease_id, now_s))
        try:
            ours: float | LeaseLost = self.model.renew(self.model_lease[lease_id] or "", self.now_s)
        except LeaseLost as lost:
            ours = lost
        assert theirs == ours or (isinstance(theirs, LeaseLost) and isinstance(ours, LeaseLost))

    @rule(lease_id=leases)
    def revoke(self, lease_id: str) -> None:
        self.database.write(lambda tables, now_s: tables.revoke(lease_id))
        self.model.revoke(self.model_lease[lease_id] or "", self.now_s)

    @rule(duration_s=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def let_time_pass(self, duration_s: float) -> None:
        self.clock.advance(duration_s)

    @rule(duration_s=st.sampled_from([1.0, 4.0]))
    def suspend(self, duration_s: float) -> None:
        self.clock.suspend(duration_s)

    @rule(revision=REVISIONS)
    def compact(self, revision: int) -> None:
        self.database.write(lambda tables, now_s: tables.compact(revision))
        self.model.expire(self.now_s)
        self.model.compact(revision)

    @rule(
        compares=COMPARES,
        writes=st.dictionaries(KEYS, st.one_of(st.just("delete"), st.just("put"), leases), min_size=1, max_size=3),
        reads=st.lists(READS, max_size=2),
        shuffle=st.randoms(use_true_random=False),
    )
    def transact(
        self, compares: list[Compare], writes: dict[str, str], reads: list[Get], shuffle: random.Random
    ) -> None:
        ops: list[Op] = [*reads]
        for key, what in writes.items():
            lease_id = what if what in self.model_lease else None
            ops.append(Delete(key) if what == "delete" else Put(key, what.encode(), lease_id))
        shuffle.shuffle(ops)
        theirs = self.database.write(lambda tables, now_s: tables.transact(compares, ops))
        try:
            ours: Committed | LeaseLost | None = self.model.transact(compares, [*map(self.in_model, ops)], self.now_s)
        except LeaseLost as lost:
            ours = lost
        assert type(theirs) is type(ours)
        if isinstance(theirs, Committed) and isinstance(ours, Committed):
            assert theirs.revision == ours.revision
            assert [self.plain(read) for read in theirs.reads] == [self.plain(read, model=True) for read in ours.reads]

    @invariant()
    def both_show_the_same(self) -> None:
        theirs = self.database.read(lambda tables: tables.scan(ROOT))
        ours = self.model.scan(ROOT, self.now_s)
        assert theirs.revision == ours.revision
        assert self.plain(theirs.entries) == self.plain(ours.entries, model=True)

    @rule(after=REVISIONS, prefix=PREFIXES)
    def changes(self, after: int, prefix: str) -> None:
        theirs = self.database.read(lambda tables: tables.changes(after, prefix))
        self.model.expire(self.now_s)
        ours = self.model.changes(prefix, prefix=True, after=after)
        if isinstance(theirs, Resync) or isinstance(ours, Resync):
            assert theirs == ours
            return
        last = {change.key: change for change in ours}
        assert {change.key: self.told(change) for change in theirs} == {
            key: self.told(change) for key, change in last.items()
        }
        assert len(theirs) == len(last)

    @property
    def now_s(self) -> float:
        return self.clock.now().boot_s

    def in_model(self, op: Op) -> Op:
        return Put(op.key, op.value, self.model_lease[op.lease_id]) if isinstance(op, Put) else op

    def plain(self, entries: Sequence[Entry], *, model: bool = False) -> list[Entry]:
        """Entries with the model's lease ids."""
        return [entry if model else replace(entry, lease_id=self.model_lease[entry.lease_id]) for entry in entries]

    def told(self, change: Changed) -> object:
        return change.revision, change.entry and (change.entry.value, change.entry.create_revision)


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=60, deadline=None)
@given(rng=st.randoms(use_true_random=False), steps=st.integers(1, 60))
def test_the_memory_store_agrees_with_its_own_model(rng: random.Random, steps: int) -> None:
    run_virtual(compare_with_model(MemoryStore(None), rng, steps=steps, timeout_s=5))
