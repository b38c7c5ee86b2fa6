"""A contest's watches: begun, kept, and begun anew when a read has shown what they may never tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from leasekit.core import events as e
from leasekit.core.contest import Watching
from leasekit.store import Changed, Entry, Resync, Store
from leasekit.watches import UNHURRIED_S, Watches


class Told:
    """A store of which only the watches are there; a test says what they tell."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.open: dict[str, asyncio.Queue[Changed | Resync]] = {}

    async def watch(self, key: str, *, prefix: bool = False, after: int) -> AsyncIterator[Changed | Resync]:
        self.begun.append((key, after))
        changes = self.open[key] = asyncio.Queue()
        while True:
            yield await changes.get()


@pytest.fixture
def store() -> Told:
    return Told()


@pytest.fixture
def heard() -> list[e.Event]:
    return []


@pytest.fixture
def watches(store: Told, heard: list[e.Event]) -> Watches:
    return Watches(cast(Store, store), heard.append, lambda: True, pause_s=1)


def put(key: str, revision: int) -> Changed:
    return Changed(key, Entry(key, b"", revision, revision, None), revision)


async def heard_all(store: Told) -> None:
    while any(not changes.empty() for changes in store.open.values()):
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_watch_that_knows_another_state_than_was_read_is_begun_anew(store: Told, watches: Watches) -> None:
    """Its key was put and is deleted: to a store that compares what is there with what was, that is nothing."""
    watches.follow(Watching((("k", None),), after=5), waiting=True)
    await asyncio.sleep(0)
    watches.follow(Watching((("k", 7),), after=8), waiting=True)
    await asyncio.sleep(0)
    assert store.begun == [("k", 5), ("k", 8)]


async def test_a_watch_that_told_what_was_read_is_kept(store: Told, watches: Watches, heard: list[e.Event]) -> None:
    watches.follow(Watching((("k", None), ("l", 3)), after=5), waiting=True)
    await asyncio.sleep(0)
    store.open["k"].put_nowait(put("k", 7))
    await heard_all(store)
    watches.follow(Watching((("k", 7), ("l", 3)), after=8), waiting=True)
    store.open["k"].put_nowait(Changed("k", None, 11))
    await heard_all(store)
    # Read before that was told.
    watches.follow(Watching((("k", 7), ("l", 3)), after=10), waiting=True)
    await asyncio.sleep(0)
    assert store.begun == [("k", 5), ("l", 5)]
    assert heard == [e.Seen("k", put("k", 7).entry, 7), e.Seen("k", None, 11)]


async def test_a_watch_that_has_missed_something_is_begun_anew_after_the_look(store: Told, watches: Watches) -> None:
    watches.follow(Watching((("k", 3),), after=5), waiting=True)
    await asyncio.sleep(0)
    store.open["k"].put_nowait(Resync(9))
    await heard_all(store)
    watches.follow(Watching((("k", 3),), after=9), waiting=True)
    await asyncio.sleep(0)
    assert store.begun == [("k", 5), ("k", 9)]


@pytest.mark.parametrize("told_in_time", [True, False])
async def test_a_leader_keeps_the_watch_that_told_its_election(
    store: Told, watches: Watches, told_in_time: bool
) -> None:
    watches.follow(Watching((("leader", 3), ("own", 4)), after=5), waiting=True)
    await asyncio.sleep(0)
    store.open["leader"].put_nowait(Changed("leader", None, 6))
    await heard_all(store)
    watches.follow(Watching((("leader", None), ("request", None)), after=7), waiting=False)
    if told_in_time:
        store.open["leader"].put_nowait(put("leader", 7))
    await asyncio.sleep(10 * UNHURRIED_S)
    assert ("request", 7) in store.begun
    assert (("leader", 7) in store.begun) is not told_in_time
