"""What a worker asks of the store itself, by the store contract, on the engine's loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

from leasekit import engine
from leasekit.cli.compare.candidacies import now_s
from leasekit.cli.compare.counted import CountedConnection
from leasekit.errors import LeasekitError, LeaseLost, StoreUnavailable
from leasekit.keeper import RENEWAL_SHARE
from leasekit.store import Changed, Delete, Lease, Put, Resync

T = TypeVar("T")

_REQUEST_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 1.0
_LOOK_EVERY_S = 0.02
# While a store's leader is replaced: short enough to come through soon after, and not so often that it is a load.
_TRY_TIMEOUT_S = 0.5
_TRY_EVERY_S = 0.01
_DELETES_AT_ONCE = 20


async def _on_engine(work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(engine.get().submit(work))


class Trying:
    """Writes and renewals one after the other; each kept as (began, done) if it succeeded."""

    def __init__(self, writes: str, lease: Lease) -> None:
        self.key = writes
        self.lease = lease
        self.wrote: list[tuple[float, float]] = []
        self.renewed: list[tuple[float, float]] = []
        self.tasks: list[asyncio.Task[None]] = []


class Direct:
    """Each method is a request; arguments and answers are JSON."""

    def __init__(self, connection: CountedConnection) -> None:
        self._connection = connection
        self._seen: dict[str, dict[str, float]] = {}
        self._came = asyncio.Event()
        self._watching: list[object] = []
        self._trying: Trying | None = None
        self._lease: Lease | None = None

    async def describe(self, ttl_s: float) -> dict[str, Any]:
        """What the store promises, and what it grants."""
        return await _on_engine(self._describe(ttl_s))

    async def probe(self) -> dict[str, Any]:
        """Every server that the URL names."""
        health = await _on_engine(self._connection.store.probe(timeout_s=_PROBE_TIMEOUT_S))
        return {"endpoints": [asdict(endpoint) for endpoint in health.endpoints]}

    async def ready(self, servers: int, timeout_s: float) -> dict[str, Any]:
        """Until all servers answer, one of them leads, and a lease and a write can be had."""
        last = "it was not asked yet"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while (problem := await _on_engine(self._missing(servers))) is not None:
                    last = problem
                    await asyncio.sleep(_LOOK_EVERY_S)
                return {}
        raise StoreUnavailable(f"not ready within {timeout_s:g} s: {last}")

    async def counts(self) -> dict[str, Any]:
        """Calls of the store contract so far, and this process's processor time."""
        times = os.times()
        return {"calls": self._connection.counted.calls, "cpu_s": times.user + times.system}

    async def grant(self, key: str, ttl_s: float) -> dict[str, Any]:
        """Get a lease for `renewals`, with a key on it, as a leader's has."""
        store = self._connection.store
        self._lease = await _on_engine(store.grant(ttl_s, timeout_s=_REQUEST_TIMEOUT_S))
        put = Put(key, b"x", self._lease.id)
        await _on_engine(store.transact((), (put,), timeout_s=_REQUEST_TIMEOUT_S))
        return {}

    async def renewals(self, count: int) -> dict[str, Any]:
        """Renew it again and again."""
        assert self._lease is not None
        return await _on_engine(self._renew(self._lease, count))

    async def revoke(self) -> dict[str, Any]:
        """Give it back."""
        assert self._lease is not None
        await _on_engine(self._connection.store.revoke(self._lease.id, timeout_s=_REQUEST_TIMEOUT_S))
        return {}

    async def put(self, key: str, value: str, timeout_s: float = _REQUEST_TIMEOUT_S) -> dict[str, Any]:
        """When it was sent."""
        sent_at = now_s()
        put = Put(key, value.encode())
        await _on_engine(self._connection.store.transact((), (put,), timeout_s=timeout_s))
        return {"at": sent_at}

    async def watch(self, key: str) -> dict[str, Any]:
        """Watch from now on."""
        self._seen[key] = {}
        revision = (await _on_engine(self._connection.store.scan(key, timeout_s=_REQUEST_TIMEOUT_S))).revision
        self._watching.append(asyncio.create_task(self._take(key, revision)))
        return {}

    async def seen(self, key: str, value: str, timeout_s: float) -> dict[str, Any]:
        """When the watch told this value."""
        seen = self._seen[key]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while value not in seen:
                    self._came.clear()
                    await self._came.wait()
                return {"at": seen[value]}
        raise StoreUnavailable(f"a watch has not told a put within {timeout_s:g} s")

    async def try_on(self, key: str, ttl_s: float) -> dict[str, Any]:
        """Write and renew from now on, whatever the store says."""
        lease = await _on_engine(self._connection.store.grant(ttl_s, timeout_s=_REQUEST_TIMEOUT_S))
        trying = self._trying = Trying(key, lease)
        trying.tasks = [asyncio.create_task(self._write_on(trying)), asyncio.create_task(self._renew_on(trying))]
        return {}

    async def came_through(self, since_s: float, timeout_s: float) -> dict[str, Any]:
        """Until a write and a renewal that began after that moment have succeeded."""
        trying = self._trying
        assert trying is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not all(tried and tried[-1][0] > since_s for tried in (trying.wrote, trying.renewed)):
                    await asyncio.sleep(_LOOK_EVERY_S)
                return {}
        raise StoreUnavailable(f"the store did not come back within {timeout_s:g} s")

    async def tried(self) -> dict[str, Any]:
        """Stop that, and tell what succeeded."""
        trying, self._trying = self._trying, None
        if trying is None:
            return {"wrote": [], "renewed": []}
        for task in trying.tasks:
            task.cancel()
        await asyncio.gather(*trying.tasks, return_exceptions=True)
        with contextlib.suppress(LeasekitError):
            await _on_engine(self._connection.store.revoke(trying.lease.id, timeout_s=_REQUEST_TIMEOUT_S))
        return {"wrote": trying.wrote, "renewed": trying.renewed}

    async def clean(self, prefix: str) -> dict[str, Any]:
        """Delete what has that prefix."""
        return await _on_engine(self._clean(prefix))

    async def leave(self) -> dict[str, Any]:
        """Give the leases back and disconnect."""
        await _on_engine(self._connection.aclose(timeout_s=_REQUEST_TIMEOUT_S))
        return {}

    # On the engine's loop.

    async def _describe(self, ttl_s: float) -> dict[str, Any]:
        store = self._connection.store
        can = store.capabilities
        lease = await store.grant(max(ttl_s, can.ttl_min_s), timeout_s=_REQUEST_TIMEOUT_S)
        await store.revoke(lease.id, timeout_s=_REQUEST_TIMEOUT_S)
        health = await store.probe(timeout_s=_PROBE_TIMEOUT_S)
        promises = {
            "ttl_min_s": can.ttl_min_s,
            "ttl_max_s": can.ttl_max_s,
            "ttl_s": lease.ttl_s,
            "expires_within_s": can.expires_within_s(lease.ttl_s),
            "durable": can.durable,
            "server_time": can.server_time,
            "compares_empty": can.compares_empty,
        }
        versions = sorted({endpoint.version for endpoint in health.endpoints if endpoint.version is not None})
        return {
            "promises": promises,
            "version": ", ".join(versions) or None,
            "servers": len(health.endpoints),
        }

    async def _missing(self, servers: int) -> str | None:
        """What is not as it should be yet."""
        store = self._connection.store
        health = await store.probe(timeout_s=_PROBE_TIMEOUT_S)
        silent = [
            f"{endpoint.endpoint}: {endpoint.error}" for endpoint in health.endpoints if endpoint.error is not None
        ]
        if silent or len(health.endpoints) < servers:
            return "; ".join(silent) or f"{len(health.endpoints)} of {servers} servers answer"
        leaders = sum(bool(endpoint.is_store_leader) for endpoint in health.endpoints)
        if servers > 1 and leaders != 1:
            return f"{leaders} servers say that they lead"
        try:
            lease = await store.grant(max(1.0, store.capabilities.ttl_min_s), timeout_s=_PROBE_TIMEOUT_S)
            await store.revoke(lease.id, timeout_s=_PROBE_TIMEOUT_S)
        except LeasekitError as error:
            return str(error)
        return None

    async def _renew(self, lease: Lease, count: int) -> dict[str, Any]:
        took_s = []
        for _ in range(count):
            began_at = now_s()
            await self._connection.store.renew(lease.id, timeout_s=_REQUEST_TIMEOUT_S)
            took_s.append(now_s() - began_at)
        return {"took_s": took_s}

    async def _clean(self, prefix: str) -> dict[str, Any]:
        store = self._connection.store
        keys = [entry.key for entry in (await store.scan(prefix, timeout_s=_REQUEST_TIMEOUT_S)).entries]
        for begin in range(0, len(keys), _DELETES_AT_ONCE):
            deletes = [Delete(key) for key in keys[begin : begin + _DELETES_AT_ONCE]]
            await store.transact((), deletes, timeout_s=_REQUEST_TIMEOUT_S)
        return {}

    async def _open(self, key: str, revision: int) -> AsyncIterator[Changed | Resync]:
        return self._connection.store.watch(key, after=revision)

    async def _next(self, stream: AsyncIterator[Changed | Resync]) -> Changed | Resync:
        return await anext(stream)

    # On the worker's own loop.

    async def _take(self, key: str, revision: int) -> None:
        """What the watch tells, with when it is known here, on another thread than leasekit's."""
        stream = await _on_engine(self._open(key, revision))
        while True:
            change = await _on_engine(self._next(stream))
            if isinstance(change, Changed) and change.entry is not None:
                self._seen[key][change.entry.value.decode()] = now_s()
                self._came.set()

    async def _write_on(self, trying: Trying) -> None:
        put = Put(trying.key, b"x")
        while True:
            began_at = now_s()
            with contextlib.suppress(LeasekitError):
                await _on_engine(self._connection.store.transact((), (put,), timeout_s=_TRY_TIMEOUT_S))
                trying.wrote.append((began_at, now_s()))
            await asyncio.sleep(_TRY_EVERY_S)

    async def _renew_on(self, trying: Trying) -> None:
        timeout_s = trying.lease.ttl_s / RENEWAL_SHARE
        while True:
            began_at = now_s()
            try:
                await _on_engine(self._connection.store.renew(trying.lease.id, timeout_s=timeout_s))
                trying.renewed.append((began_at, now_s()))
            except LeaseLost:
                with contextlib.suppress(LeasekitError):
                    trying.lease = await _on_engine(
                        self._connection.store.grant(trying.lease.ttl_s, timeout_s=_TRY_TIMEOUT_S)
                    )
            except LeasekitError:
                pass
            await asyncio.sleep(_TRY_EVERY_S)
