"""What the etcd backend's server tests share."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from leasekit import urls
from leasekit.backends.etcd import open_store
from leasekit.backends.etcd.store import EtcdStore
from leasekit.errors import StoreUnavailable
from leasekit.store import Store
from support.servers import EtcdCluster

Open = Callable[[str], Store]

PATIENCE_S = 30.0
"""What a busy machine may take for anything. Nothing lasts so long, save what fails."""


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
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port(index, 2)}/metrics", timeout=PATIENCE_S) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
    return 0


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that the store's side does in its own time."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)


async def connected(store: Store, address: str) -> None:
    """Wait until `store` is connected to `address`. It asks that server from then on, if it is the URL's first.

    A server that is slow to connect is passed over, and on a busy machine any is.
    """
    assert isinstance(store, EtcdStore)
    [server] = (server for server in store._endpoints.servers if server.address == address)
    async with asyncio.timeout(PATIENCE_S):
        await store._endpoints.wait_for(server)


async def complaint(request: Callable[[], Awaitable[object]], pattern: str) -> str:
    """What `request` raises as StoreUnavailable, once `pattern` is found in it.

    Why a server cannot be connected to is found out beside the request. On a busy machine that takes longer than the
    request, which then says no more than that nobody answers.
    """
    said = ""
    give_up_s = asyncio.get_running_loop().time() + PATIENCE_S
    while not re.search(pattern, said):
        assert asyncio.get_running_loop().time() < give_up_s, said
        with pytest.raises(StoreUnavailable) as caught:
            await request()
        said = str(caught.value)
    return said


async def takes_less(limit_s: float, work: Callable[[], Awaitable[None]], tries: int = 8) -> None:
    """Do `work` until it has been done within `limit_s` once: a busy machine makes quick things slow, not slow ones quick."""
    loop, took_s = asyncio.get_running_loop(), []
    for _ in range(tries):
        began_s = loop.time()
        await work()
        took_s.append(loop.time() - began_s)
        if took_s[-1] < limit_s:
            return
    pytest.fail(f"it took {took_s} s")
