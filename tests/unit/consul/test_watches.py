"""How watches share blocking queries. The agent is a stand-in that answers when the test says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from leasekit.backends.consul.agents import Agents
from leasekit.backends.consul.client import Answer
from leasekit.backends.consul.view import Target
from leasekit.backends.consul.watches import FEEDS_MAX, WatchHub
from leasekit.errors import AuthError, StoreUnavailable
from leasekit.store import Changed, Entry


class Query:
    """One query under way."""

    def __init__(self, path: str, params: dict[str, str]) -> None:
        self.path = path
        self.params = params
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @property
    def blocks(self) -> bool:
        return "index" in self.params

    def reply(self, index: int, *keys: tuple[str, int]) -> None:
        pairs = [{"Key": f"p/{key}", "Value": None, "CreateIndex": at, "ModifyIndex": at} for key, at in keys]
        status = 200 if pairs else 404
        self.answer.set_result(Answer("a:1", status, {"X-Consul-Index": str(index)}, json.dumps(pairs)))


class StandIn:
    """In the place of `Agents`."""

    def __init__(self) -> None:
        self.on_move: Callable[[], None] = lambda: None
        self.queries: list[Query] = []
        self._asked = asyncio.Condition()

    async def block(self, path: str, params: Sequence[tuple[str, str]], *, timeout_s: float) -> Answer:
        query = Query(path, dict(params))
        async with self._asked:
            self.queries.append(query)
            self._asked.notify_all()
        return await query.answer

    async def asked(self, count: int) -> Query:
        """The query number `count`, once it is asked."""
        async with asyncio.timeout(30), self._asked:
            await self._asked.wait_for(lambda: len(self.queries) >= count)
        return self.queries[count - 1]


@pytest.fixture
async def agents() -> StandIn:
    return StandIn()


@pytest.fixture
async def hub(agents: StandIn) -> Any:
    hub = WatchHub(cast(Agents, agents), "p/")
    yield hub
    await hub.aclose()


def entry(key: str, revision: int) -> Entry:
    return Entry(key, b"", revision, revision, None)


async def test_the_first_query_does_not_block_and_the_next_waits_from_its_index(agents: StandIn, hub: WatchHub) -> None:
    watch = hub.watch("k", prefix=False, after=5)
    told = asyncio.ensure_future(anext(watch))
    first = await agents.asked(1)
    assert (first.path, first.blocks) == ("/v1/kv/p/k", False)
    assert "consistent" in first.params
    first.reply(5, ("k", 5))
    second = await agents.asked(2)
    assert second.params["index"] == "5"
    second.reply(9, ("k", 9))
    assert await told == Changed("k", entry("k", 9), 9)


async def test_a_watch_from_what_was_just_read_or_written_waits_at_once(agents: StandIn, hub: WatchHub) -> None:
    hub.reads.remember(Target("k", prefix=False), 5, ())
    told = asyncio.ensure_future(anext(hub.watch("k", prefix=False, after=5)))
    first = await agents.asked(1)
    assert first.params["index"] == "5"
    first.reply(8)  # a sibling was written
    second = await agents.asked(2)
    assert second.params["index"] == "8" and not told.done()
    second.reply(9, ("k", 9))
    assert await told == Changed("k", entry("k", 9), 9)


async def test_after_an_error_it_asks_for_the_present_state(agents: StandIn, hub: WatchHub) -> None:
    hub.reads.remember(Target("k", prefix=False), 5, (entry("k", 5),))
    told = asyncio.ensure_future(anext(hub.watch("k", prefix=False, after=5)))
    (await agents.asked(1)).answer.set_exception(StoreUnavailable("gone"))
    again = await agents.asked(2)
    assert not again.blocks
    again.reply(7)
    assert await told == Changed("k", None, 7)


async def test_who_joins_is_answered_from_a_query_asked_after_it_came(agents: StandIn, hub: WatchHub) -> None:
    first = hub.watch("k", prefix=False, after=5)
    told_first = asyncio.ensure_future(anext(first))
    (await agents.asked(1)).reply(5, ("k", 5))
    blocking = await agents.asked(2)
    assert blocking.blocks
    second = hub.watch("k", prefix=False, after=4)
    told_second = asyncio.ensure_future(anext(second))
    fresh = await agents.asked(3)
    assert not fresh.blocks and blocking.answer.cancelled()
    fresh.reply(6, ("k", 6))
    assert await told_second == await told_first == Changed("k", entry("k", 6), 6)


async def test_another_agent_is_asked_as_soon_as_the_present_one_is_left(agents: StandIn, hub: WatchHub) -> None:
    watch = hub.watch("k", prefix=False, after=5)
    told = asyncio.ensure_future(anext(watch))
    (await agents.asked(1)).reply(5, ("k", 5))
    hung = await agents.asked(2)
    agents.on_move()
    again = await agents.asked(3)
    assert hung.answer.cancelled() and again.params["index"] == "5"
    again.reply(7, ("k", 7))
    assert await told == Changed("k", entry("k", 7), 7)


async def test_beyond_the_limit_one_query_on_everything_serves_the_rest(agents: StandIn, hub: WatchHub) -> None:
    watches = [hub.watch(f"k{n}", prefix=False, after=1) for n in range(FEEDS_MAX + 5)]
    told = [asyncio.ensure_future(anext(watch)) for watch in watches]
    last = await agents.asked(FEEDS_MAX + 1)
    assert hub.queries == FEEDS_MAX + 1
    assert last.path == "/v1/kv/p/" and "recurse" in last.params
    last.reply(9, *((f"k{n}", 9) for n in range(FEEDS_MAX + 5)))
    for n in range(FEEDS_MAX, FEEDS_MAX + 5):
        assert await told[n] == Changed(f"k{n}", entry(f"k{n}", 9), 9)
    # A place that becomes free is taken by whoever comes next.
    await watches[0].aclose()
    told.append(asyncio.ensure_future(anext(hub.watch("new", prefix=False, after=1))))
    await asyncio.sleep(0)
    assert hub.queries == FEEDS_MAX + 1
    await hub.aclose()
    results = await asyncio.gather(*told, return_exceptions=True)
    assert all(isinstance(result, Changed | StopAsyncIteration) for result in results)


async def test_refused_credentials_and_faults_reach_every_watcher(agents: StandIn, hub: WatchHub) -> None:
    for fault in (AuthError("no"), RuntimeError("a fault of ours")):
        agents.queries.clear()
        watches = [hub.watch("k", prefix=False, after=1) for _ in range(2)]
        told = [asyncio.ensure_future(anext(watch)) for watch in watches]
        (await agents.asked(1)).answer.set_exception(fault)
        results = await asyncio.gather(*told, return_exceptions=True)
        assert results == [fault, fault]
        assert hub.queries == 0


async def test_an_unavailable_store_is_asked_again_for_its_present_state(agents: StandIn, hub: WatchHub) -> None:
    told = asyncio.ensure_future(anext(hub.watch("k", prefix=False, after=5)))
    (await agents.asked(1)).reply(5, ("k", 5))
    (await agents.asked(2)).answer.set_exception(StoreUnavailable("gone"))
    third = await agents.asked(3)
    assert not third.blocks
    third.reply(8)
    assert await told == Changed("k", None, 8)


async def test_a_watch_that_comes_as_its_query_ends_gets_another(agents: StandIn, hub: WatchHub) -> None:
    first = hub.watch("k", prefix=False, after=5)
    told = asyncio.ensure_future(anext(first))
    query = await agents.asked(1)
    [feed] = hub._feeds.values()
    # As if its last watcher had been dropped unclosed: the query ends by itself, and is still listed in that instant.
    feed.subscribers.clear()
    query.reply(5, ("k", 5))
    await asyncio.wait({feed.task})
    hub._feeds[feed.target] = feed
    late = asyncio.ensure_future(anext(hub.watch("k", prefix=False, after=4)))
    (await agents.asked(2)).reply(5, ("k", 5))
    assert await late == Changed("k", entry("k", 5), 5)
    told.cancel()
    await asyncio.wait({told})
