"""What several clients may see of each other."""

from __future__ import annotations

import asyncio

from leasekit.store import Absent, At, Get, Op, Put, Store
from leasekit.testing.conformance.base import ConformanceBase


class RaceTests(ConformanceBase):
    async def test_exactly_one_of_many_claims_wins(self) -> None:
        async with self.clients(4) as stores:
            for round_number in range(5):
                key = f"leader-{round_number}"
                outcomes = await asyncio.gather(
                    *(
                        stores[n % 4].transact([Absent(key)], [Put(key, b"%d" % n)], timeout_s=self.timeout_s)
                        for n in range(20)
                    )
                )
                winners = [n for n, outcome in enumerate(outcomes) if outcome is not None]
                assert len(winners) == 1
                assert await self.value(stores[0], key) == b"%d" % winners[0]

    async def test_exactly_one_of_many_updates_of_one_revision_wins(self) -> None:
        async with self.clients(4) as stores:
            revision = await self.put(stores[0], "key", b"start")
            outcomes = await asyncio.gather(
                *(
                    stores[n % 4].transact([At("key", revision)], [Put("key", b"%d" % n)], timeout_s=self.timeout_s)
                    for n in range(20)
                )
            )
            assert len([outcome for outcome in outcomes if outcome is not None]) == 1

    async def test_no_increment_is_lost(self) -> None:
        async def increment(store: Store, times: int) -> None:
            while times:
                entry = await store.get("count", timeout_s=self.timeout_s)
                assert entry is not None
                raised = Put("count", b"%d" % (int(entry.value) + 1))
                if await store.transact([At("count", entry.revision)], [raised], timeout_s=self.timeout_s):
                    times -= 1

        async with self.clients(4) as stores:
            await self.put(stores[0], "count", b"0")
            await asyncio.gather(*(increment(store, 10) for store in stores))
            assert await self.value(stores[0], "count") == b"40"

    async def test_a_transaction_is_seen_whole_or_not_at_all(self) -> None:
        done = asyncio.Event()

        async def write(store: Store) -> None:
            for n in range(50):
                await self.commit(store, Put("pair/a", b"%d" % n), Put("pair/b", b"%d" % n))
            done.set()

        async def read(store: Store) -> None:
            while not done.is_set():
                values = {entry.value for entry in (await store.scan("pair/", timeout_s=self.timeout_s)).entries}
                assert len(values) == 1
                both: list[Op] = [Get("pair/a"), Get("pair/b")]
                committed = await store.transact([], both, timeout_s=self.timeout_s)
                assert committed is not None
                (a,), (b,) = committed.reads
                assert a.value == b.value

        async with self.clients(3) as [writer, *readers]:
            await self.commit(writer, Put("pair/a", b"-"), Put("pair/b", b"-"))
            await asyncio.gather(write(writer), *(read(reader) for reader in readers))

    async def test_reads_show_every_write_that_was_acknowledged_before(self) -> None:
        acknowledged = 0
        done = asyncio.Event()

        async def write(store: Store) -> None:
            nonlocal acknowledged
            for n in range(1, 51):
                await self.put(store, "count", b"%d" % n)
                acknowledged = n
            done.set()

        async def read(store: Store) -> None:
            while not done.is_set():
                at_least = acknowledged
                entry = await store.get("count", timeout_s=self.timeout_s)
                assert entry is not None and int(entry.value) >= at_least
                at_least = acknowledged
                snapshot = await store.scan("count", timeout_s=self.timeout_s)
                assert int(snapshot.entries[0].value) >= at_least
                at_least = acknowledged
                committed = await store.transact([], [Get("count")], timeout_s=self.timeout_s)
                assert committed is not None and int(committed.reads[0][0].value) >= at_least

        async with self.clients(3) as [writer, *readers]:
            await self.put(writer, "count", b"0")
            await asyncio.gather(write(writer), *(read(reader) for reader in readers))

    async def test_a_hundred_requests_at_once(self) -> None:
        async with self.client() as store:
            revisions = await asyncio.gather(*(self.put(store, f"k/{n:03}", b"%d" % n) for n in range(100)))
            assert len(set(revisions)) == 100
            values = await asyncio.gather(*(self.value(store, f"k/{n:03}") for n in range(100)))
            assert values == [b"%d" % n for n in range(100)]
