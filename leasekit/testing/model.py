"""Any store, compared step by step with the memory store's model."""

from __future__ import annotations

import random
from collections.abc import Sequence

from leasekit.backends.memory import MemoryState
from leasekit.errors import LeaseLost
from leasekit.store import Absent, At, Committed, Compare, Delete, Entry, Get, NoneUnder, Op, Put, Store

_KEYS = ["a", "ab", "a/1", "a/2", "b", "b/1"]
_PREFIXES = ["", "a", "a/", "b/", "c"]
# Nothing runs out while the steps are taken: the model's clock stands still.
_TTL_S = 60.0


async def compare_with_model(store: Store, rng: random.Random, *, steps: int, timeout_s: float) -> None:
    """Do random transactions and revocations on `store`, whose data must be empty, and on the model alike.

    Raises AssertionError, naming the step, where the two differ in anything that the contract lays down.
    """
    pair = _Pair(store, timeout_s)
    for _ in range(2):
        await pair.grant()
    for step in range(steps):
        choice = rng.random()
        if choice < 0.05:
            await pair.grant()
        elif choice < 0.1:
            await pair.revoke(rng.choice(pair.leases))
        else:
            await pair.transact(*_random_transaction(rng, pair, step))
    await pair.scan()


def _random_transaction(rng: random.Random, pair: _Pair, step: int) -> tuple[list[Compare], list[Op]]:
    compares: list[Compare] = []
    for key in rng.sample(_KEYS, rng.choice([0, 0, 1, 1, 2])):
        compares.append(At(key, rng.choice(pair.revisions)) if rng.random() < 0.6 else Absent(key))
    if pair.store.capabilities.compares_empty and rng.random() < 0.1:
        compares.append(NoneUnder(rng.choice(_PREFIXES)))
    ops: list[Op] = []
    for key in rng.sample(_KEYS, rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.3:
            ops.append(Delete(key))
        else:
            # Values never repeat: some stores do not raise the revision of a key that is put as it was.
            ops.append(Put(key, f"{step} {key}".encode(), rng.choice([None, *pair.leases])))
    for _ in range(rng.choice([0, 1, 2])):
        read = Get(rng.choice(_PREFIXES), prefix=True) if rng.random() < 0.5 else Get(rng.choice(_KEYS))
        ops.insert(rng.randint(0, len(ops)), read)
    return compares, ops


class _Pair:
    """The store and the model. Steps are given in the model's revisions and leases, and translated for the store."""

    def __init__(self, store: Store, timeout_s: float) -> None:
        self.store = store
        self.model = MemoryState()
        self.leases: list[str] = []
        # The first is of no key at all.
        self.revisions: list[int] = [0]
        self._timeout_s = timeout_s
        self._store_lease: dict[str | None, str | None] = {None: None}
        self._store_revision = {0: 0}

    async def grant(self) -> None:
        asked_s = min(max(_TTL_S, self.store.capabilities.ttl_min_s), self.store.capabilities.ttl_max_s)
        lease = await self.store.grant(asked_s, timeout_s=self._timeout_s)
        ours = self.model.grant(_TTL_S, 0.0)
        self._store_lease[ours.id] = lease.id
        self.leases.append(ours.id)

    async def revoke(self, lease_id: str) -> None:
        theirs = self._store_lease[lease_id]
        assert theirs is not None
        self.model.revoke(lease_id, 0.0)
        await self.store.revoke(theirs, timeout_s=self._timeout_s)
        await self.scan()

    async def scan(self) -> None:
        theirs = await self.store.scan("", timeout_s=self._timeout_s)
        self._same(self.model.scan("", 0.0).entries, theirs.entries, "scan")

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op]) -> None:
        step = f"transact({compares}, {ops})"
        held = all(self.model.transact([compare], [], 0.0) for compare in compares)
        ours: Committed | LeaseLost | None
        try:
            ours = self.model.transact(compares, ops, 0.0)
        except LeaseLost as lost:
            ours = lost
        theirs: Committed | LeaseLost | None
        try:
            theirs = await self.store.transact(
                [*map(self._theirs, compares)], [*map(self._their_op, ops)], timeout_s=self._timeout_s
            )
        except LeaseLost as lost:
            theirs = lost
        if not held:
            # Where a lease is dead as well, either answer may come.
            assert not isinstance(theirs, Committed), f"{step}: a compare does not hold, yet it was done"
            return
        assert type(theirs) is type(ours), f"{step}: {theirs!r}, where the model says {ours!r}"
        if isinstance(ours, Committed) and isinstance(theirs, Committed):
            if any(isinstance(op, Put) for op in ops):
                assert theirs.revision > self._store_revision[self.revisions[-1]], f"{step}: the revision did not rise"
                self.revisions.append(ours.revision)
                self._store_revision[ours.revision] = theirs.revision
            assert len(theirs.reads) == len(ours.reads), step
            for our_read, their_read in zip(ours.reads, theirs.reads, strict=True):
                self._same(our_read, their_read, step)

    def _same(self, ours: Sequence[Entry], theirs: Sequence[Entry], step: str) -> None:
        expected = [(e.key, e.value, self._store_revision[e.revision], self._store_lease[e.lease_id]) for e in ours]
        assert [(e.key, e.value, e.revision, e.lease_id) for e in theirs] == expected, step
        for entry in theirs:
            assert entry.create_revision <= entry.revision, f"{step}: {entry}"

    def _theirs(self, compare: Compare) -> Compare:
        return At(compare.key, self._store_revision[compare.revision]) if isinstance(compare, At) else compare

    def _their_op(self, op: Op) -> Op:
        return Put(op.key, op.value, self._store_lease[op.lease_id]) if isinstance(op, Put) else op
