"""With which ttl `leasekit demo` plays."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from leasekit.backends.memory.store import MemoryStore
from leasekit.cli.demo import _ttl_s
from leasekit.cli.session import Session
from leasekit.errors import ConfigError, LeaseLost
from leasekit.store import Lease


class Picky(MemoryStore):
    """Grants no lease below `shortest_s`, as Consul's servers do not below their `session_ttl_min`."""

    def __init__(self, shortest_s: float, field: str = "ttl_s") -> None:
        super().__init__(None)
        self._shortest_s, self._field = shortest_s, field
        self.granted: list[Lease] = []

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        if ttl_s < self._shortest_s:
            raise ConfigError(self._field, f"is {ttl_s}")
        self.granted.append(await super().grant(ttl_s, timeout_s=timeout_s))
        return self.granted[-1]


def session(store: MemoryStore) -> Session:
    def run(work: Coroutine[Any, Any, object]) -> object:
        return asyncio.run(work)

    return cast("Session", SimpleNamespace(connection=SimpleNamespace(store=store), timeout_s=1.0, run=run))


def test_waits_are_short_where_the_store_grants_short_leases() -> None:
    store = Picky(2)
    assert _ttl_s(session(store)) == 2
    (lease,) = store.granted
    with pytest.raises(LeaseLost):  # it was given back
        asyncio.run(store.renew(lease.id, timeout_s=1))


def test_a_store_that_refuses_a_short_lease_is_played_with_a_longer_one() -> None:
    assert _ttl_s(session(Picky(10))) == 10


def test_any_other_refusal_is_told() -> None:
    with pytest.raises(ConfigError, match="token"):
        _ttl_s(session(Picky(10, field="token")))
