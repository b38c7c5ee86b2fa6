"""The conformance suite notices a store that breaks the contract: each kind of breach, and by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from leasekit.backends.memory import MemoryStore
from leasekit.backends.memory.watch import MemoryWatch
from leasekit.errors import LeaseLost
from leasekit.store import Committed, Compare, Entry, Lease, Op, Put, Snapshot, Store
from leasekit.testing import ManualClock, run_virtual
from leasekit.testing.conformance import StoreConformance


class ForgetsToCompare(MemoryStore):
    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        return await super().transact(compares[:1], ops, timeout_s=timeout_s)


class AppliesOneByOne(MemoryStore):
    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        done = await super().transact(compares, ops[:1], timeout_s=timeout_s)
        for op in ops[1:]:
            more = await super().transact([], [op], timeout_s=timeout_s)
            done = done and more and Committed(more.revision, done.reads + more.reads)
        return done


class ComparesBeforeItWrites(MemoryStore):
    """A race between the comparison and the writing."""

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        if await super().transact(compares, [], timeout_s=timeout_s) is None:
            return None
        return await super().transact([], ops, timeout_s=timeout_s)


class KeepsTheOldBinding(MemoryStore):
    """A put without a lease leaves the key on its old one."""

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        kept: list[Op] = []
        for op in ops:
            if isinstance(op, Put) and op.lease_id is None:
                old = await self.get(op.key, timeout_s=timeout_s)
                kept.append(replace(op, lease_id=old.lease_id if old else None))
            else:
                kept.append(op)
        return await super().transact(compares, kept, timeout_s=timeout_s)


class ReadsFromTheCache(MemoryStore):
    """Answers reads from what this handle saw last."""

    _cached: dict[str, Entry | None]

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        cache = self.__dict__.setdefault("_cached", {})
        if key not in cache:
            cache[key] = await super().get(key, timeout_s=timeout_s)
        entry: Entry | None = cache[key]
        return entry


class ExpiresEarly(MemoryStore):
    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        return replace(await super().grant(0.9 * ttl_s, timeout_s=timeout_s), ttl_s=ttl_s)


class ExpiresLate(MemoryStore):
    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        return replace(await super().grant(2 * ttl_s, timeout_s=timeout_s), ttl_s=ttl_s)


class NeverRenews(MemoryStore):
    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        return 1.0


class RenewsTheDead(MemoryStore):
    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        try:
            return await super().renew(lease_id, timeout_s=timeout_s)
        except LeaseLost:
            return 1.0


class GrantsAnything(MemoryStore):
    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        return await super().grant(min(max(ttl_s, 1.0), 100.0), timeout_s=timeout_s)


class LooseLimits(MemoryStore):
    capabilities = replace(MemoryStore.capabilities, server_time=False, compares_empty=False)


class LosesHistory(MemoryStore):
    """A watch that begins now, whatever revision it was given."""

    def watch(self, key: str, *, prefix: bool = False, after: int) -> MemoryWatch:
        return super().watch(key, prefix=prefix, after=self._data.state.revision)


class TellsTooMuch(MemoryStore):
    def watch(self, key: str, *, prefix: bool = False, after: int) -> MemoryWatch:
        return super().watch(key, prefix=True, after=max(0, after - 1))


class SharesPrefixes(MemoryStore):
    """One prefix that begins like another sees the other's keys."""

    def __init__(self, name: str | None, clock: ManualClock, *, prefix: str) -> None:
        super().__init__(name, clock, prefix=prefix)
        self._root = prefix


class ScansUnsorted(MemoryStore):
    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        found = await super().scan(prefix, timeout_s=timeout_s)
        return Snapshot(found.entries[::-1], found.revision)


class OpenAfterClosing(MemoryStore):
    async def aclose(self) -> None:
        pass


BREACHES: list[tuple[type[MemoryStore], str]] = [
    (ForgetsToCompare, "test_compares_are_all_or_nothing"),
    (ForgetsToCompare, "test_a_late_claim_fails_once_its_candidate_is_deleted"),
    (ForgetsToCompare, "test_random_transactions_agree_with_the_memory_model"),
    (AppliesOneByOne, "test_all_puts_of_a_transaction_have_its_revision"),
    (AppliesOneByOne, "test_a_transaction_is_seen_whole_or_not_at_all"),
    (AppliesOneByOne, "test_a_put_on_a_dead_lease_applies_nothing"),
    (ComparesBeforeItWrites, "test_exactly_one_of_many_claims_wins"),
    (ComparesBeforeItWrites, "test_no_increment_is_lost"),
    (KeepsTheOldBinding, "test_a_put_without_a_lease_frees_the_key_from_it"),
    (KeepsTheOldBinding, "test_a_key_outlives_the_lease_that_it_was_taken_from"),
    (ReadsFromTheCache, "test_reads_show_every_write_that_was_acknowledged_before"),
    (ExpiresEarly, "test_an_expiry_comes_neither_early_nor_late"),
    (ExpiresEarly, "test_an_expiry_is_told_to_watches_in_time"),
    (ExpiresLate, "test_an_expiry_comes_neither_early_nor_late"),
    (ExpiresLate, "test_an_expiry_is_told_to_watches_in_time"),
    (NeverRenews, "test_renewing_starts_the_time_to_live_anew"),
    (RenewsTheDead, "test_a_revoked_lease_cannot_be_renewed"),
    (RenewsTheDead, "test_a_lease_without_keys_expires_too"),
    (GrantsAnything, "test_a_time_to_live_out_of_range_is_refused"),
    (GrantsAnything, "test_the_longest_time_to_live_is_granted"),
    (LooseLimits, "test_server_time_answers_where_declared"),
    (LooseLimits, "test_comparing_that_nothing_has_a_prefix"),
    (LosesHistory, "test_a_watch_opened_late_tells_what_it_missed"),
    (LosesHistory, "test_a_broken_watch_resumes_without_missing_anything"),
    (TellsTooMuch, "test_nothing_at_or_before_the_revision_is_told"),
    (TellsTooMuch, "test_neighbouring_keys_are_not_told"),
    (SharesPrefixes, "test_prefixes_do_not_see_each_other"),
    (SharesPrefixes, "test_a_watch_does_not_see_another_prefix"),
    (ScansUnsorted, "test_a_scan_is_in_key_order_whatever_the_order_of_puts"),
    (OpenAfterClosing, "test_a_closed_store_is_unavailable"),
    (OpenAfterClosing, "test_closing_the_store_ends_its_watches"),
]


def suite_for(kind: type[MemoryStore], clock: ManualClock) -> StoreConformance:
    class Suite(StoreConformance):
        async def open(self, prefix: str) -> Store:
            # Prefixes are unique, so the name may be shared.
            return kind("breaches", clock, prefix=prefix)

    return Suite()


def run(kind: type[MemoryStore], test: str) -> None:
    clock = ManualClock()
    run_virtual(getattr(suite_for(kind, clock), test)(), clock)


@pytest.mark.parametrize(("kind", "test"), BREACHES, ids=[f"{kind.__name__}-{test}" for kind, test in BREACHES])
def test_a_breach_is_caught(kind: type[MemoryStore], test: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, LeaseLost)):
        run(kind, test)


@pytest.mark.parametrize("test", sorted({test for _, test in BREACHES}))
def test_the_memory_store_passes_the_same_on_virtual_time(test: str) -> None:
    run(MemoryStore, test)
