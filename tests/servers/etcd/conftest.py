"""What the etcd backend's server tests share."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from leasekit import urls
from leasekit.backends.etcd import open_store
from leasekit.store import Store
from support.servers import EtcdCluster

Open = Callable[[str], Store]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens stores by URL; the test's end closes them."""
    async with AsyncExitStack() as stack:

        def open_one(url: str) -> Store:
            store = open_store(urls.parse(url))
            stack.push_async_callback(store.aclose)
            return store

        yield open_one


def metric(cluster: EtcdCluster, name: str, index: int = 0) -> float:
    """The value of one of a server's metrics, 0 if it does not say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port(index, 2)}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
    return 0


async def until(holds: Callable[[], bool], timeout_s: float = 5) -> None:
    """Wait for something that the store's side does in its own time."""
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)
