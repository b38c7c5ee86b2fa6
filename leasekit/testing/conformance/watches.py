"""Watches: everything after the given revision is told, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from leasekit.store import Changed, Delete, Op, Put, Resync, Store
from leasekit.testing.conformance.base import ConformanceBase
from leasekit.testing.faulty_watch import close_watch


class WatchTests(ConformanceBase):
    async def test_puts_and_deletes_of_a_key_are_told(self) -> None:
        async with self.clients(2) as [store, other]:
            after = await self.put(store, "key", b"0")
            async with self.watching(other, "key", after=after) as seen:
                second = await self.put(store, "key", b"1")
                change = await seen.told("key", b"1", since=after)
                assert isinstance(change, Changed) and change.entry is not None
                assert change.revision == change.entry.revision == second
                await store.transact([], [Delete("key")], timeout_s=self.timeout_s)
                await seen.told("key", None, since=second)
                third = await self.put(store, "key", b"2")
                change = await seen.told("key", b"2", since=second)
                assert isinstance(change, Changed) and change.entry is not None
                assert change.entry.create_revision == change.entry.revision == third

    async def test_what_is_told_is_what_a_read_shows(self) -> None:
        async with self.clients(2) as [store, other]:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            after = await self.revision(store)
            async with self.watching(other, "a/", prefix=True, after=after) as seen:
                await self.put(store, "a/key", b"1", lease.id)
                change = await seen.told("a/key", b"1", since=after)
            assert isinstance(change, Changed)
            assert change.entry == await other.get("a/key", timeout_s=self.timeout_s)

    async def test_nothing_at_or_before_the_revision_is_told(self) -> None:
        async with self.client() as store:
            await self.put(store, "key", b"0")
            after = await self.put(store, "key", b"1")
            async with self.watching(store, "key", after=after) as seen:
                await self.put(store, "key", b"2")
                await seen.told("key", b"2", since=after)
            assert all(event.revision > after for event in seen.events)
            assert [change.entry and change.entry.value for change in seen.changes] == [b"2"]

    async def test_the_revision_of_a_scan_leaves_no_gap(self) -> None:
        async with self.clients(2) as [store, other]:
            writing = asyncio.create_task(self._write_numbers(store, "n/", 60))
            await asyncio.sleep(0.02)
            snapshot = await other.scan("n/", timeout_s=self.timeout_s)
            await writing
            async with self.watching(other, "n/", prefix=True, after=snapshot.revision) as seen:
                await self.put(store, "n/end", b"")
                await seen.told("n/end", b"", since=snapshot.revision)
            keys = {entry.key for entry in snapshot.entries}
            told = {change.key for change in seen.changes}
            assert keys | told == {*(f"n/{n}" for n in range(60)), "n/end"}
            assert not keys & told

    async def test_every_key_that_changed_is_told(self) -> None:
        async with self.clients(2) as [store, other]:
            after = await self.revision(store)
            async with self.watching(other, "n/", prefix=True, after=after) as seen:
                await self._write_numbers(store, "n/", 60)
                for n in range(60):
                    await seen.told(f"n/{n}", b"%d" % n, since=after)

    async def test_every_key_of_one_transaction_is_told(self) -> None:
        async with self.client() as store:
            after = (await self.commit(store, Put("t/old", b"0"), Put("t/gone", b"0"))).revision
            async with self.watching(store, "t/", prefix=True, after=after) as seen:
                ops: list[Op] = [Put("t/old", b"1"), Put("t/new", b"1"), Delete("t/gone")]
                assert await store.transact([], ops, timeout_s=self.timeout_s) is not None
                await seen.told("t/old", b"1", since=after)
                await seen.told("t/new", b"1", since=after)
                await seen.told("t/gone", None, since=after)

    async def test_the_last_of_many_changes_of_a_key_is_told(self) -> None:
        async with self.clients(2) as [store, other]:
            after = await self.revision(store)
            async with self.watching(other, "key", after=after) as seen:
                for n in range(30):
                    await self.put(store, "key", b"%d" % n)
                await seen.told("key", b"29", since=after)
            revisions = [change.revision for change in seen.changes]
            assert revisions == sorted(set(revisions)), "a single key's changes are told in order, each once"

    async def test_neighbouring_keys_are_not_told(self) -> None:
        async with self.client() as store:
            after = await self.revision(store)
            neighbours = ["a", "a/", "a/b/c", "a/bc", "A/b", "b", "a_b"]
            async with (
                self.watching(store, "a/b", after=after) as one,
                self.watching(store, "a/b/", prefix=True, after=after) as under,
            ):
                for key in neighbours:
                    await self.put(store, key, b"1")
                await self.commit(store, Put("a/b", b"end"), Put("a/b/end", b"end"))
                await one.told("a/b", b"end", since=after)
                await under.told("a/b/end", b"end", since=after)
            assert {change.key for change in one.changes} == {"a/b"}
            assert {change.key for change in under.changes} == {"a/b/c", "a/b/end"}

    async def test_a_revoked_lease_is_told_for_each_of_its_keys(self) -> None:
        async with self.clients(2) as [store, other]:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            after = (await self.commit(store, Put("q/a", b"1", lease.id), Put("q/b", b"1", lease.id))).revision
            async with self.watching(other, "q/", prefix=True, after=after) as seen:
                await store.revoke(lease.id, timeout_s=self.timeout_s)
                await seen.told("q/a", None, since=after)
                await seen.told("q/b", None, since=after)

    async def test_a_watch_opened_late_tells_what_it_missed(self) -> None:
        async with self.client() as store:
            after = await self.put(store, "q/a", b"0")
            await self.put(store, "q/a", b"1")
            await self.put(store, "q/b", b"1")
            await store.transact([], [Delete("q/b")], timeout_s=self.timeout_s)
            await self.put(store, "q/c", b"1")
            async with self.watching(store, "q/", prefix=True, after=after) as seen:
                await seen.told("q/a", b"1", since=after)
                await seen.told("q/b", None, since=after)
                await seen.told("q/c", b"1", since=after)

    async def test_a_watch_of_a_key_that_is_gone_already_says_so(self) -> None:
        async with self.client() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            after = await self.put(store, "key", b"1", lease.id)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            async with self.watching(store, "key", after=after) as seen:
                await seen.told("key", None, since=after)

    async def test_a_key_replaced_meanwhile_shows_another_create_revision(self) -> None:
        async with self.client() as store:
            after = await self.put(store, "key", b"1")
            await store.transact([], [Delete("key")], timeout_s=self.timeout_s)
            await self.put(store, "key", b"2")
            async with self.watching(store, "key", after=after) as seen:
                change = await seen.told("key", b"2", since=after)
            assert isinstance(change, Resync) or (change.entry is not None and change.entry.create_revision > after)

    async def test_many_watches_at_once_hear_of_their_own_keys(self) -> None:
        async with self.clients(2) as [store, other]:
            after = await self.revision(store)
            async with AsyncExitStack() as stack:
                watches = [
                    await stack.enter_async_context(self.watching(other, f"w/{n}/", prefix=True, after=after))
                    for n in range(50)
                ]
                for n in range(50):
                    await self.put(store, f"w/{n}/key", b"%d" % n)
                for n, seen in enumerate(watches):
                    await seen.told(f"w/{n}/key", b"%d" % n, since=after)
                    # Or fewer: a watch may say to look again instead.
                    assert {change.key for change in seen.changes} <= {f"w/{n}/key"}

    async def test_a_closed_watch_tells_nothing_more(self) -> None:
        async with self.client() as store:
            after = await self.revision(store)
            watch = store.watch("key", after=after)
            await self.put(store, "key", b"1")
            assert isinstance(await anext(watch), Changed)
            await self.put(store, "key", b"2")
            await close_watch(watch)
            with pytest.raises(StopAsyncIteration):
                await anext(watch)
            await close_watch(watch)

    async def test_a_watch_never_begun_can_be_closed(self) -> None:
        async with self.client() as store:
            await close_watch(store.watch("key", after=0))

    async def test_cancelling_the_task_stops_the_watch(self) -> None:
        async with self.client() as store:
            watch = store.watch("key", after=await self.revision(store))

            async def read() -> None:
                async for _ in watch:
                    pass

            reading = asyncio.create_task(read())
            await asyncio.sleep(0.05)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            assert reading.cancelled()
            await close_watch(watch)

    async def test_closing_the_store_ends_its_watches(self) -> None:
        async with self.client() as store:
            after = await self.revision(store)
            watches = [store.watch("key", after=after), store.watch("", prefix=True, after=after)]
            waiting = [asyncio.create_task(_drain(watch)) for watch in watches]
            await asyncio.sleep(0.05)
            await store.aclose()
            async with asyncio.timeout(1 + self.slack_s):
                await asyncio.gather(*waiting)

    async def test_a_watch_from_before_compaction_says_to_look_again(self) -> None:
        async with self.client() as store:
            after = await self.put(store, "key", b"0")
            for n in range(5):
                last = await self.put(store, "key", b"%d" % n)
            await self.compact(store, last)
            async with self.watching(store, "key", after=after) as seen:
                resync = await seen.first(lambda event: isinstance(event, Resync))
                assert resync.revision >= last
                await self.put(store, "key", b"new")
                await seen.told("key", b"new", since=resync.revision)

    async def test_a_watch_goes_on_over_a_restart(self) -> None:
        async with self.client() as store:
            after = await self.put(store, "key", b"0")
            async with self.watching(store, "key", after=after) as seen:
                await self.put(store, "key", b"1")
                await seen.told("key", b"1", since=after)
                await self.restart()
                revision = await self.put_patiently(store, "key", b"2")
                await seen.told("key", b"2", since=revision - 1)

    async def _write_numbers(self, store: Store, prefix: str, count: int) -> None:
        for n in range(count):
            await self.put(store, f"{prefix}{n}", b"%d" % n)


async def _drain(watch: AsyncIterator[Changed | Resync]) -> None:
    async for _ in watch:
        pass
