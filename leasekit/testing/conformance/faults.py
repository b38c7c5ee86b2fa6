"""How the store fares when replies are lost, requests arrive late and watches break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from leasekit.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, At, Changed, Compare, Delete, Put, Resync
from leasekit.testing.conformance.base import ConformanceBase
from leasekit.testing.faults import Fault
from leasekit.testing.faulty_store import FaultyStore

_LATE_S = 2.0
"""How late a request is applied: what is done meanwhile must come before it."""
_QUIET_S = 0.1


class FaultTests(ConformanceBase):
    async def test_a_claim_whose_reply_was_lost_is_found_by_claiming_again(self) -> None:
        async with self._faulty() as store:
            store.inject(Fault.lose_reply(), on="transact")
            with pytest.raises(OutcomeUnknown):
                await store.transact([Absent("leader")], [Put("leader", b"me")], timeout_s=self.timeout_s)
            again = await store.transact([Absent("leader")], [Put("leader", b"me")], timeout_s=self.timeout_s)
            assert again is None
            assert await self.value(store, "leader") == b"me"

    async def test_a_claim_that_never_arrived_is_won_by_claiming_again(self) -> None:
        async with self._faulty() as store:
            store.inject(Fault.lose_request(), on="transact")
            with pytest.raises(OutcomeUnknown):
                await store.transact([Absent("leader")], [Put("leader", b"me")], timeout_s=self.timeout_s)
            assert await self.value(store, "leader") is None
            again = await store.transact([Absent("leader")], [Put("leader", b"me")], timeout_s=self.timeout_s)
            assert again is not None

    async def test_a_late_claim_fails_once_its_candidate_is_deleted(self) -> None:
        async with self._faulty() as store:
            mine = await self.put(store, "candidate", b"me")
            claim: list[Compare] = [Absent("leader"), At("candidate", mine)]
            store.inject(Fault.apply_late(_LATE_S), on="transact")
            with pytest.raises(OutcomeUnknown):
                await store.transact(claim, [Put("leader", b"me")], timeout_s=self.timeout_s)
            # A read settles nothing: the claim is still under way. Deleting what it compares does.
            assert await self.value(store, "leader") is None
            assert await store.transact([], [Delete("candidate")], timeout_s=self.timeout_s) is not None
            await store.settled()
            assert await self.value(store, "leader") is None

    async def test_a_late_write_takes_effect_after_it_was_given_up(self) -> None:
        async with self._faulty() as store:
            store.inject(Fault.apply_late(_LATE_S), on="transact")
            with pytest.raises(OutcomeUnknown):
                await store.transact([], [Put("key", b"late")], timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None
            await store.settled()
            assert await self.value(store, "key") == b"late"

    async def test_a_reply_later_than_the_time_out_leaves_the_outcome_open(self) -> None:
        async with self._faulty() as store:
            store.inject(Fault.delay_reply(self.timeout_s), on="transact")
            with pytest.raises(OutcomeUnknown):
                await store.transact([], [Put("key", b"1")], timeout_s=min(_LATE_S, self.timeout_s / 2))
            assert await self.value(store, "key") == b"1"

    async def test_a_refused_request_was_not_applied(self) -> None:
        async with self._faulty() as store:
            store.inject(Fault.refuse(), on="transact")
            with pytest.raises(StoreUnavailable):
                await store.transact([], [Put("key", b"1")], timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None

    async def test_a_renewal_after_a_lost_reply_counts(self) -> None:
        async with self._faulty() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            store.inject(Fault.lose_reply(), on="renew")
            with pytest.raises(OutcomeUnknown):
                await store.renew(lease.id, timeout_s=self.timeout_s)
            assert await store.renew(lease.id, timeout_s=self.timeout_s) == lease.ttl_s

    async def test_a_revocation_whose_reply_was_lost_can_be_repeated(self) -> None:
        async with self._faulty() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            await self.put(store, "key", b"1", lease.id)
            store.inject(Fault.lose_reply(), on="revoke")
            with pytest.raises(OutcomeUnknown):
                await store.revoke(lease.id, timeout_s=self.timeout_s)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") is None

    async def test_a_late_put_on_a_lease_that_ended_meanwhile_leaves_no_key(self) -> None:
        async with self._faulty() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            store.inject(Fault.apply_late(_LATE_S), on="transact")
            with pytest.raises(OutcomeUnknown):
                await store.transact([], [Put("key", b"1", lease.id)], timeout_s=self.timeout_s)
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            await store.settled()
            assert await self.value(store, "key") is None
            with pytest.raises(LeaseLost):
                await store.renew(lease.id, timeout_s=self.timeout_s)

    async def test_a_broken_watch_resumes_without_missing_anything(self) -> None:
        async with self._faulty() as store:
            after = await self.revision(store)
            async with self.watching(store, "k/", prefix=True, after=after) as seen:
                for n in range(20):
                    await self.put(store, f"k/{n}", b"%d" % n)
                    if n % 5 == 0:
                        store.drop_watches()
                for n in range(20):
                    await seen.told(f"k/{n}", b"%d" % n, since=after)

    async def test_a_stalled_watch_tells_later_what_it_held_back(self) -> None:
        async with self._faulty() as store:
            after = await self.revision(store)
            async with self.watching(store, "key", after=after) as seen:
                store.stall_watches()
                await self.put(store, "key", b"1")
                await asyncio.sleep(_QUIET_S)
                assert seen.events == []
                store.resume_watches()
                await seen.told("key", b"1", since=after)

    async def test_a_watch_goes_on_after_missing_changes(self) -> None:
        async with self._faulty() as store:
            after = await self.put(store, "key", b"0")
            async with self.watching(store, "key", after=after) as seen:
                store.stall_watches()
                missed = await self.put(store, "key", b"1")
                store.resync_watches()
                store.resume_watches()
                resync = await seen.first(lambda event: isinstance(event, Resync))
                assert resync.revision >= missed
                await self.put(store, "key", b"2")
                change = await seen.told("key", b"2", since=resync.revision)
                assert isinstance(change, Changed)

    async def test_a_store_that_was_down_goes_on_as_it_was(self) -> None:
        async with self._faulty() as store:
            after = await self.put(store, "key", b"1")
            async with self.watching(store, "key", after=after) as seen:
                store.go_down()
                with pytest.raises(StoreUnavailable):
                    await store.get("key", timeout_s=self.timeout_s)
                store.come_up()
                await self.put(store, "key", b"2")
                await seen.told("key", b"2", since=after)

    @asynccontextmanager
    async def _faulty(self) -> AsyncIterator[FaultyStore]:
        async with self.client() as store:
            faulty = FaultyStore(store)
            try:
                yield faulty
            finally:
                await faulty.aclose()
