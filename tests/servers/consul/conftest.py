"""Handles on real Consul servers, closed at the end of each test."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable

import pytest

from leasekit.backends.consul import open_store
from leasekit.backends.consul.store import ConsulStore
from leasekit.store import Committed, Compare, Op
from leasekit.urls import parse
from support.servers import ConsulCluster

Open = Callable[[str], ConsulStore]

PATIENCE_S = 30.0
"""What a busy machine may take for anything. Nothing lasts so long, save what fails."""


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens stores by URL."""
    stores: list[ConsulStore] = []

    def open_url(url: str) -> ConsulStore:
        store = open_store(parse(url))
        assert isinstance(store, ConsulStore)
        stores.append(store)
        return store

    yield open_url
    for store in stores:
        await store.aclose()


@pytest.fixture
def store(opened: Open, consul: ConsulCluster, prefix: str) -> ConsulStore:
    """A store of this test's own on the shared server."""
    return opened(consul.url(prefix))


async def commit(store: ConsulStore, *ops: Op, compares: tuple[Compare, ...] = ()) -> Committed:
    """A transaction that has to be granted."""
    committed = await store.transact(compares, ops, timeout_s=PATIENCE_S)
    assert committed is not None
    return committed


def session(cluster: ConsulCluster, session_id: str, server: int = 0) -> dict[str, object] | None:
    """What Consul says of a session; None if it knows of none."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        status, body = cluster.http("GET", f"/v1/session/info/{session_id}?consistent", server=server)
        if status == 200:
            break
        assert status >= 500 and time.monotonic() < give_up_s, body  # they are electing a leader
        time.sleep(0.05)
    found: list[dict[str, object]] = json.loads(body)
    return found[0] if found else None
