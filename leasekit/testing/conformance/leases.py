"""Leases: how long they live, and what lives with them."""

from __future__ import annotations

import asyncio

import pytest

from leasekit.errors import ConfigError, LeaseLost
from leasekit.store import At, Changed, Delete, Lease, NoneUnder, Put, Store
from leasekit.testing.conformance.base import ConformanceBase, now_s

_POLL_S = 0.01


class LeaseTests(ConformanceBase):
    async def test_a_lease_is_granted_for_what_was_asked_or_more(self) -> None:
        async with self.client() as store:
            asked_s = self.ttl_of(store)
            first = await store.grant(asked_s, timeout_s=self.timeout_s)
            second = await store.grant(asked_s, timeout_s=self.timeout_s)
            assert first.ttl_s >= asked_s and second.ttl_s >= asked_s
            assert first.id != second.id

    async def test_a_time_to_live_out_of_range_is_refused(self) -> None:
        async with self.client() as store:
            limits = store.capabilities
            out_of_range = [0.0, -1.0, float("nan"), float("inf"), limits.ttl_min_s * 0.9, limits.ttl_max_s * 1.1]
            for ttl_s in out_of_range:
                with pytest.raises(ConfigError):
                    await store.grant(ttl_s, timeout_s=self.timeout_s)

    async def test_the_longest_time_to_live_is_granted(self) -> None:
        async with self.client() as store:
            lease = await store.grant(store.capabilities.ttl_max_s, timeout_s=self.timeout_s)
            assert lease.ttl_s >= store.capabilities.ttl_max_s
            await store.revoke(lease.id, timeout_s=self.timeout_s)

    async def test_a_bound_key_names_its_lease(self) -> None:
        async with self.client() as store:
            lease = await self._lease(store)
            await self.put(store, "key", b"1", lease.id)
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert entry is not None and entry.lease_id == lease.id

    async def test_a_revoked_lease_takes_its_keys_along(self) -> None:
        async with self.clients(2) as [store, other]:
            lease, survivor = await self._lease(store), await self._lease(store)
            await self.commit(store, Put("a", b"1", lease.id), Put("b", b"1", lease.id))
            await self.commit(store, Put("free", b"1"), Put("kept", b"1", survivor.id))
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            entries = (await other.scan("", timeout_s=self.timeout_s)).entries
            assert [entry.key for entry in entries] == ["free", "kept"]

    async def test_revoking_twice_is_no_failure(self) -> None:
        async with self.client() as store:
            lease = await self._lease(store)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            await store.revoke(lease.id, timeout_s=self.timeout_s)

    async def test_a_revoked_lease_cannot_be_renewed(self) -> None:
        async with self.client() as store:
            lease = await self._lease(store)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            with pytest.raises(LeaseLost) as lost:
                await store.renew(lease.id, timeout_s=self.timeout_s)
            assert lost.value.lease_id == lease.id

    async def test_another_client_may_renew_and_revoke(self) -> None:
        async with self.clients(2) as [store, other]:
            lease = await self._lease(store)
            await self.put(store, "key", b"1", lease.id)
            assert await other.renew(lease.id, timeout_s=self.timeout_s) >= lease.ttl_s
            await other.revoke(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None

    async def test_a_put_without_a_lease_frees_the_key_from_it(self) -> None:
        async with self.client() as store:
            lease = await self._lease(store)
            await self.put(store, "key", b"1", lease.id)
            await self.put(store, "key", b"2")
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert entry is not None and (entry.value, entry.lease_id) == (b"2", None)

    async def test_a_free_key_can_be_bound(self) -> None:
        async with self.client() as store:
            lease = await self._lease(store)
            await self.put(store, "key", b"1")
            await self.put(store, "key", b"2", lease.id)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None

    async def test_a_key_can_be_handed_to_another_lease(self) -> None:
        async with self.client() as store:
            old, new = await self._lease(store), await self._lease(store)
            first = await self.put(store, "key", b"1", old.id)
            handed = await store.transact([At("key", first)], [Put("key", b"2", new.id)], timeout_s=self.timeout_s)
            assert handed is not None and handed.revision > first
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert entry is not None and (entry.lease_id, entry.revision) == (new.id, handed.revision)
            await store.revoke(old.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") == b"2"
            await store.revoke(new.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None

    async def test_an_update_on_the_same_lease_keeps_the_binding(self) -> None:
        async with self.client() as store:
            lease = await self._lease(store)
            first = await self.put(store, "key", b"1", lease.id)
            second = await self.put(store, "key", b"2", lease.id)
            assert second > first
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert entry is not None and (entry.value, entry.lease_id) == (b"2", lease.id)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None

    async def test_a_deleted_key_is_free_of_its_lease(self) -> None:
        async with self.client() as store:
            lease = await self._lease(store)
            await self.put(store, "key", b"1", lease.id)
            await store.transact([], [Delete("key")], timeout_s=self.timeout_s)
            await self.put(store, "key", b"2")
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") == b"2"

    async def test_an_expiry_comes_neither_early_nor_late(self) -> None:
        async with self.clients(2) as [store, other]:
            asked = now_s()
            lease = await self._short_lease(store)
            granted = now_s()
            await self.commit(store, Put("a", b"1", lease.id), Put("b", b"1", lease.id), Put("free", b"1"))
            seen, gone = await self._wait_gone(other, "a")
            assert gone - asked >= lease.ttl_s, "the key went early"
            assert seen - granted <= self._expires_within_s(store, lease), "the key went late"
            entries = (await store.scan("", timeout_s=self.timeout_s)).entries
            assert [entry.key for entry in entries] == ["free"]

    async def test_a_lease_without_keys_expires_too(self) -> None:
        async with self.client() as store:
            lease = await self._short_lease(store)
            granted = now_s()
            await asyncio.sleep(store.capabilities.expires_within_s(lease.ttl_s))
            while await self._lives(store, lease):
                assert now_s() - granted <= self._expires_within_s(store, lease), "the lease went late"
                await asyncio.sleep(_POLL_S)
            with pytest.raises(LeaseLost):
                await store.renew(lease.id, timeout_s=self.timeout_s)
            with pytest.raises(LeaseLost):
                await store.transact([], [Put("key", b"1", lease.id)], timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None
            await store.revoke(lease.id, timeout_s=self.timeout_s)

    async def test_renewing_starts_the_time_to_live_anew(self) -> None:
        async with self.clients(2) as [store, other]:
            lease = await self._short_lease(store)
            await self.put(store, "key", b"1", lease.id)
            until = now_s() + 1.5 * store.capabilities.expires_within_s(lease.ttl_s)
            while now_s() < until:
                asked = now_s()
                assert await store.renew(lease.id, timeout_s=self.timeout_s) == lease.ttl_s
                granted = now_s()
                assert await self.value(other, "key") == b"1"
                await asyncio.sleep(lease.ttl_s / 5)
            seen, gone = await self._wait_gone(other, "key")
            assert gone - asked >= lease.ttl_s, "the key went early"
            assert seen - granted <= self._expires_within_s(store, lease), "the key went late"

    async def test_writing_a_bound_key_does_not_renew_its_lease(self) -> None:
        async with self.client() as store:
            lease = await self._short_lease(store)
            granted = now_s()
            for n in range(4):
                await self.put(store, "key", b"%d" % n, lease.id)
                await asyncio.sleep(lease.ttl_s / 5)
            seen, _ = await self._wait_gone(store, "key")
            assert seen - granted <= self._expires_within_s(store, lease)

    async def test_a_key_outlives_the_lease_that_it_was_taken_from(self) -> None:
        async with self.client() as store:
            lease, longer = (
                await self._short_lease(store),
                await store.grant(self._long_s(store), timeout_s=self.timeout_s),
            )
            for key in ["freed", "handed", "left"]:
                await self.put(store, key, b"1", lease.id)
            await self.put(store, "freed", b"2")
            await self.put(store, "handed", b"2", longer.id)
            await self._wait_gone(store, "left")
            assert await self.value(store, "freed") == b"2"
            assert await self.value(store, "handed") == b"2"

    async def test_an_expiry_is_told_to_watches_in_time(self) -> None:
        async with self.clients(2) as [store, other]:
            asked = now_s()
            lease = await self._short_lease(store)
            granted = now_s()
            revision = await self.put(store, "q/key", b"1", lease.id)
            within_s = self._expires_within_s(store, lease)
            async with self.watching(other, "q/", prefix=True, after=revision) as seen:
                change = await seen.first(lambda event: True, timeout_s=within_s + self.timeout_s)
                told = now_s()
            assert isinstance(change, Changed) and (change.key, change.entry) == ("q/key", None)
            assert change.revision > revision
            assert told - asked >= lease.ttl_s, "told early"
            assert told - granted <= within_s, "told late"

    async def test_a_claim_succeeds_when_the_holder_has_expired(self) -> None:
        async with self.clients(2) as [store, other]:
            lease = await self._short_lease(store)
            await self.put(store, "queue/leader", b"1", lease.id)
            await self._wait_gone(other, "queue/leader")
            compares = [NoneUnder("queue/")] if store.capabilities.compares_empty else []
            assert await other.transact(compares, [Put("queue/leader", b"2")], timeout_s=self.timeout_s) is not None
            with pytest.raises(LeaseLost):
                await store.renew(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "queue/leader") == b"2"

    async def _lease(self, store: Store) -> Lease:
        """One that does not end by itself."""
        return await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)

    async def _short_lease(self, store: Store) -> Lease:
        """One to see the end of."""
        return await store.grant(self.ttl_of(store), timeout_s=self.timeout_s)

    async def _lives(self, store: Store, lease: Lease) -> bool:
        """Whether a key can still be bound to it: unlike a renewal, that does not lengthen its life."""
        try:
            await store.transact([], [Put("bound", b"1", lease.id)], timeout_s=self.timeout_s)
        except LeaseLost:
            return False
        return True

    def _long_s(self, store: Store) -> float:
        return min(20 * self.ttl_of(store), store.capabilities.ttl_max_s)

    def _expires_within_s(self, store: Store, lease: Lease) -> float:
        return store.capabilities.expires_within_s(lease.ttl_s) + self.slack_s

    async def _wait_gone(self, store: Store, key: str) -> tuple[float, float]:
        """Poll until the key is gone: when it was surely still there, and when it surely was no more."""
        seen = asked = now_s()
        while await self.value(store, key) is not None:
            seen = asked
            await asyncio.sleep(_POLL_S)
            asked = now_s()
        return seen, now_s()
