"""Keys, revisions and transactions."""

from __future__ import annotations

import random

import pytest

from leasekit.errors import ConfigError, LeaseLost
from leasekit.store import Absent, At, Compare, Delete, Get, NoneUnder, Op, Put
from leasekit.testing.conformance.base import ConformanceBase
from leasekit.testing.model import compare_with_model

# Keys are printable ASCII without spaces, in parts joined by single slashes.
ODD_KEYS = [
    "a%2Fb",
    "q?x=1&y=2",
    "hash#tag",
    "plus+",
    "til~de",
    "c:o@l,o;n",
    "quo'te\"s",
    "back\\slash",
    "[]{}()",
    "$*!|<>^`",
]
ODD_VALUES = [b"", b"\x00", bytes(range(256)), b"\xff\xfe", "blåbær".encode(), b"x" * 100_000]


class TransactionTests(ConformanceBase):
    async def test_a_key_that_was_never_put_is_none(self) -> None:
        async with self.client() as store:
            assert await store.get("missing", timeout_s=self.timeout_s) is None
            assert (await store.scan("", timeout_s=self.timeout_s)).entries == ()

    async def test_a_key_reads_back_as_it_was_put(self) -> None:
        async with self.client() as store:
            revision = await self.put(store, "key", b"value")
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert entry is not None
            assert (entry.key, entry.value, entry.lease_id) == ("key", b"value", None)
            assert entry.create_revision == entry.revision == revision

    async def test_any_bytes_read_back(self) -> None:
        async with self.client() as store:
            for number, value in enumerate(ODD_VALUES):
                await self.put(store, f"v/{number}", value)
            entries = (await store.scan("v/", timeout_s=self.timeout_s)).entries
            assert [entry.value for entry in entries] == ODD_VALUES
            for number, value in enumerate(ODD_VALUES):
                assert await self.value(store, f"v/{number}") == value

    async def test_any_printable_key_reads_back(self) -> None:
        async with self.client() as store:
            for key in ODD_KEYS:
                await self.put(store, f"odd/{key}", key.encode())
            entries = (await store.scan("odd/", timeout_s=self.timeout_s)).entries
            assert [entry.key for entry in entries] == sorted(f"odd/{key}" for key in ODD_KEYS)
            for key in ODD_KEYS:
                assert await self.value(store, f"odd/{key}") == key.encode()

    async def test_a_prefix_is_taken_literally(self) -> None:
        async with self.client() as store:
            for key in ["a_b", "axb", "A_b", "a_", "a", "a%b", "b"]:
                await self.put(store, key, b"")
            snapshot = await store.scan("a_", timeout_s=self.timeout_s)
            assert [entry.key for entry in snapshot.entries] == ["a_", "a_b"]

    async def test_a_scan_is_in_key_order_whatever_the_order_of_puts(self) -> None:
        async with self.client() as store:
            keys = ["b", "a/10", "a/9", "a", "a/B", "a/b", "c/d/e"]
            for key in keys:
                await self.put(store, key, b"")
            snapshot = await store.scan("", timeout_s=self.timeout_s)
            assert [entry.key for entry in snapshot.entries] == sorted(keys)

    async def test_the_revision_of_a_scan_covers_its_entries(self) -> None:
        async with self.client() as store:
            revision = await self.put(store, "key", b"1")
            snapshot = await store.scan("key", timeout_s=self.timeout_s)
            assert snapshot.revision >= revision == snapshot.entries[0].revision

    async def test_revisions_strictly_rise(self) -> None:
        async with self.client() as store:
            revisions = [await self.put(store, f"k{n % 3}", b"%d" % n) for n in range(10)]
            assert revisions == sorted(set(revisions))

    async def test_revisions_rise_over_a_deletion(self) -> None:
        async with self.client() as store:
            first = await self.put(store, "key", b"1")
            await store.transact([], [Delete("key")], timeout_s=self.timeout_s)
            second = await self.put(store, "key", b"1")
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert second > first
            assert entry is not None and entry.create_revision == second

    async def test_an_update_raises_the_revision_and_may_keep_the_create_revision(self) -> None:
        async with self.client() as store:
            first = await self.put(store, "key", b"1")
            second = await self.put(store, "key", b"2")
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert entry is not None
            assert entry.revision == second > first
            assert entry.create_revision in (first, second)

    async def test_all_puts_of_a_transaction_have_its_revision(self) -> None:
        async with self.client() as store:
            await self.put(store, "old", b"0")
            committed = await self.commit(store, Put("old", b"1"), Put("new", b"1"))
            for key in ["old", "new"]:
                entry = await store.get(key, timeout_s=self.timeout_s)
                assert entry is not None and entry.revision == committed.revision

    async def test_a_transaction_reads_its_own_writes(self) -> None:
        async with self.client() as store:
            await self.put(store, "q/gone", b"0")
            ops: list[Op] = [
                Get("q/", prefix=True),
                Put("q/new", b"1"),
                Get("q/new"),
                Delete("q/gone"),
                Get("q/gone"),
                Get("q/", prefix=True),
            ]
            committed = await store.transact([], ops, timeout_s=self.timeout_s)
            assert committed is not None
            before, new, gone, after = committed.reads
            assert [entry.key for entry in before] == ["q/gone"]
            assert [(entry.value, entry.revision) for entry in new] == [(b"1", committed.revision)]
            assert gone == ()
            assert [entry.key for entry in after] == ["q/new"]

    async def test_a_transaction_of_reads_tells_the_revision_as_of_which_it_read(self) -> None:
        async with self.client() as store:
            revision = await self.put(store, "q/a", b"1")
            committed = await store.transact([], [Get("q/", prefix=True), Get("q/none")], timeout_s=self.timeout_s)
            assert committed is not None and committed.revision >= revision
            assert [[entry.key for entry in read] for read in committed.reads] == [["q/a"], []]
            again = await store.transact([], [Get("q/a")], timeout_s=self.timeout_s)
            assert again is not None and again.revision >= committed.revision

    async def test_deleting_a_missing_key_is_no_failure(self) -> None:
        async with self.client() as store:
            assert await store.transact([], [Delete("missing")], timeout_s=self.timeout_s) is not None
            await self.put(store, "here", b"1")
            committed = await store.transact([], [Delete("missing"), Delete("here")], timeout_s=self.timeout_s)
            assert committed is not None
            assert await self.value(store, "here") is None

    async def test_each_compare_alone(self) -> None:
        async with self.client() as store:
            old = await self.put(store, "key", b"1")
            now = await self.put(store, "key", b"2")
            hold: list[Compare] = [Absent("missing"), At("key", now)]
            fail: list[Compare] = [
                Absent("key"),
                At("key", old),
                At("key", now + 1),
                At("missing", now),
                At("missing", 0),
            ]
            for compare in hold:
                assert await store.transact([compare], [Get("key")], timeout_s=self.timeout_s) is not None, compare
                assert await store.transact([compare], [], timeout_s=self.timeout_s) is not None, compare
            for compare in fail:
                assert await store.transact([compare], [Get("key")], timeout_s=self.timeout_s) is None, compare
                assert await store.transact([compare], [], timeout_s=self.timeout_s) is None, compare

    async def test_compares_are_all_or_nothing(self) -> None:
        async with self.client() as store:
            now = await self.put(store, "key", b"1")
            good: list[Compare] = [Absent("missing"), At("key", now)]
            ops: list[Op] = [Put("new", b"1"), Put("key", b"2"), Get("key")]
            for bad in (Absent("key"), At("missing", now)):
                for compares in ([bad, *good], [good[0], bad, good[1]], [*good, bad]):
                    assert await store.transact(compares, ops, timeout_s=self.timeout_s) is None
            assert await self.value(store, "new") is None
            assert await self.value(store, "key") == b"1"
            assert await store.transact(good, ops, timeout_s=self.timeout_s) is not None
            assert await self.value(store, "new") == b"1"
            assert await self.value(store, "key") == b"2"

    async def test_a_recreated_key_is_not_at_its_old_revision(self) -> None:
        async with self.client() as store:
            first = await self.put(store, "key", b"1")
            await store.transact([At("key", first)], [Delete("key")], timeout_s=self.timeout_s)
            second = await self.put(store, "key", b"1")
            assert await store.transact([At("key", first)], [Delete("key")], timeout_s=self.timeout_s) is None
            assert await store.transact([At("key", second)], [Delete("key")], timeout_s=self.timeout_s) is not None
            assert await self.value(store, "key") is None

    async def test_a_compare_may_look_at_a_key_that_is_written(self) -> None:
        async with self.client() as store:
            created = await store.transact([Absent("key")], [Put("key", b"1")], timeout_s=self.timeout_s)
            assert created is not None
            updated = await store.transact([At("key", created.revision)], [Put("key", b"2")], timeout_s=self.timeout_s)
            assert updated is not None and updated.revision > created.revision

    async def test_comparing_that_nothing_has_a_prefix(self) -> None:
        async with self.client() as store:
            compares = [NoneUnder("queue/")]
            if not store.capabilities.compares_empty:
                with pytest.raises(ConfigError):
                    await store.transact(compares, [Put("won", b"1")], timeout_s=self.timeout_s)
                assert await self.value(store, "won") is None
                return
            await self.put(store, "queue", b"")
            await self.put(store, "queuf", b"")
            assert await store.transact(compares, [Put("won", b"1")], timeout_s=self.timeout_s) is not None
            await self.put(store, "queue/one", b"")
            assert await store.transact(compares, [Put("won", b"2")], timeout_s=self.timeout_s) is None
            assert await self.value(store, "won") == b"1"

    async def test_a_put_on_a_dead_lease_applies_nothing(self) -> None:
        async with self.client() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            await self.put(store, "key", b"1")
            ops: list[Op] = [Put("first", b"1"), Put("bound", b"1", lease.id), Delete("key")]
            with pytest.raises(LeaseLost) as lost:
                await store.transact([Absent("bound")], ops, timeout_s=self.timeout_s)
            assert lost.value.lease_id == lease.id
            entries = (await store.scan("", timeout_s=self.timeout_s)).entries
            assert [(entry.key, entry.value) for entry in entries] == [("key", b"1")]

    async def test_random_transactions_agree_with_the_memory_model(self) -> None:
        for seed in range(5):
            async with self.client(f"{self.prefix}-{seed}") as store:
                await compare_with_model(store, random.Random(seed), steps=40, timeout_s=self.timeout_s)
