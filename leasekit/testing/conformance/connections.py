"""Prefixes, time-outs, declared capabilities, restarts and closing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, Get, Put, Store
from leasekit.testing.conformance.base import ConformanceBase, now_s


class ConnectionTests(ConformanceBase):
    async def test_prefixes_do_not_see_each_other(self) -> None:
        # One is the beginning of the other, and one is written like a key of the other.
        prefixes = [self.prefix, self.prefix + "b", f"{self.prefix}/sub"]
        for prefix in prefixes:
            async with self.client(prefix) as store:
                assert await store.transact([Absent("key")], [Put("key", prefix.encode())], timeout_s=self.timeout_s)
        for prefix in prefixes[1:]:
            async with self.client(prefix) as store:
                snapshot = await store.scan("", timeout_s=self.timeout_s)
                assert [(entry.key, entry.value) for entry in snapshot.entries] == [("key", prefix.encode())]
        async with self.client() as store:
            committed = await store.transact([], [Get("", prefix=True), Get("b/key")], timeout_s=self.timeout_s)
            assert committed is not None
            assert [entry.key for entry in committed.reads[0]] == ["key", "sub/key"]
            assert committed.reads[1] == ()

    async def test_a_watch_does_not_see_another_prefix(self) -> None:
        async with self.client() as store, self.client(self.prefix + "b") as neighbour:
            after = await self.revision(store)
            async with self.watching(store, "", prefix=True, after=after) as seen:
                await self.put(neighbour, "key", b"theirs")
                await self.put(store, "key", b"ours")
                await seen.told("key", b"ours", since=after)
            assert [(change.key, change.entry and change.entry.value) for change in seen.changes] == [("key", b"ours")]

    async def test_the_url_names_the_store_without_secrets(self) -> None:
        async with self.client() as store:
            assert "://" in store.url
            assert "@" not in store.url

    async def test_the_capabilities_make_sense(self) -> None:
        async with self.client() as store:
            limits = store.capabilities
            assert 0 < limits.ttl_min_s <= limits.ttl_max_s
            assert limits.expiry_factor >= 1 and limits.expiry_late_s >= 0
            assert math.isfinite(limits.expires_within_s(limits.ttl_min_s))

    async def test_server_time_answers_where_declared(self) -> None:
        async with self.client() as store:
            first = await store.server_time(timeout_s=self.timeout_s)
            if not store.capabilities.server_time:
                assert first is None
                return
            began = now_s()
            await asyncio.sleep(0.2)
            second = await store.server_time(timeout_s=self.timeout_s)
            took_s = now_s() - began
            assert first is not None and second is not None
            assert first.resolution_s >= 0 and first.unix_s > 1e9
            # Off by its resolution at either end; the first reading was taken before the stopwatch began.
            inexact_s = first.resolution_s + second.resolution_s + self.slack_s
            assert abs(second.unix_s - first.unix_s - took_s) <= inexact_s

    async def test_a_probe_says_that_the_store_answers(self) -> None:
        async with self.client() as store:
            health = await store.probe(timeout_s=self.timeout_s)
            assert health.reachable
            for endpoint in health.endpoints:
                assert endpoint.error is None
                assert endpoint.round_trip_s is not None and endpoint.round_trip_s >= 0

    async def test_opening_does_not_write(self) -> None:
        async with self.client() as store:
            before = await self.revision(store)
            async with self.client() as another:
                assert await self.revision(another) == before

    async def test_closing_twice_is_no_failure(self) -> None:
        async with self.client() as store:
            await self.put(store, "key", b"1")
            await store.aclose()
            await store.aclose()

    async def test_closing_unused_is_no_failure(self) -> None:
        async with self.client():
            pass

    async def test_a_closed_store_is_unavailable(self) -> None:
        async with self.client() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            await store.aclose()
            for call in self._calls(store, lease.id).values():
                with pytest.raises(StoreUnavailable):
                    await call(self.timeout_s)

    async def test_closing_revokes_nothing(self) -> None:
        async with self.clients(2) as [store, other]:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            await self.put(store, "key", b"1", lease.id)
            await store.aclose()
            assert await self.value(other, "key") == b"1"
            await other.revoke(lease.id, timeout_s=self.timeout_s)

    async def test_data_survives_a_restart_where_declared(self) -> None:
        async with self.client() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            revision = await self.put(store, "bound", b"1", lease.id)
            await self.put(store, "free", b"1")
            await self.restart()
            after = await self.put_patiently(store, "new", b"1")
            keys = [entry.key for entry in (await store.scan("", timeout_s=self.timeout_s)).entries]
            if not store.capabilities.durable:
                assert keys == ["new"]
                return
            assert keys == ["bound", "free", "new"]
            assert after > revision
            assert await store.renew(lease.id, timeout_s=self.timeout_s) == lease.ttl_s
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "bound") is None

    async def test_no_request_outlasts_its_time_out(self) -> None:
        async with self.client() as store:
            lease = await store.grant(self.lasting_ttl_of(store), timeout_s=self.timeout_s)
            await self.put(store, "key", b"1")
            async with self.silenced():
                for name, call in self._calls(store, lease.id).items():
                    began = now_s()
                    # An answer is as good: a store may still read while it cannot write.
                    failures = (StoreUnavailable,) if name in ("get", "scan") else (StoreUnavailable, OutcomeUnknown)
                    with suppress(*failures):
                        await call(0.3)
                    assert now_s() - began <= 0.3 + self.slack_s, name
            await self.put_patiently(store, "key", b"2")
            assert await self.value(store, "key") == b"2"

    def _calls(self, store: Store, lease_id: str) -> dict[str, Callable[[float], Awaitable[Any]]]:
        ttl_s = self.ttl_of(store)
        return {
            "get": lambda timeout_s: store.get("key", timeout_s=timeout_s),
            "scan": lambda timeout_s: store.scan("", timeout_s=timeout_s),
            "transact": lambda timeout_s: store.transact([], [Put("other", b"1")], timeout_s=timeout_s),
            "grant": lambda timeout_s: store.grant(ttl_s, timeout_s=timeout_s),
            "renew": lambda timeout_s: store.renew(lease_id, timeout_s=timeout_s),
            "revoke": lambda timeout_s: store.revoke(lease_id, timeout_s=timeout_s),
        }
