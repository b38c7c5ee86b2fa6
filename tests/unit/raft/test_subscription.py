"""What a watch holds for a consumer that takes its time."""

from __future__ import annotations

import asyncio

import pytest

from leasekit.backends.raft.client.subscription import Subscription
from leasekit.errors import ConfigError
from leasekit.store import Changed, Resync


async def _all(subscription: Subscription) -> list[Changed | Resync | None]:
    taken = []
    try:
        async with asyncio.timeout(0.02):
            while True:
                taken.append(await subscription.next())
    except TimeoutError:
        return taken


async def test_of_several_changes_of_a_key_the_last_is_left_in_its_place() -> None:
    subscription = Subscription("", prefix=True, after=0)
    subscription.tell((Changed("a", None, 1), Changed("b", None, 1)), 1)
    subscription.tell((Changed("a", None, 2),), 2)
    assert await _all(subscription) == [Changed("b", None, 1), Changed("a", None, 2)]
    assert subscription.after == 2


async def test_to_have_missed_something_comes_before_what_came_later() -> None:
    subscription = Subscription("", prefix=True, after=0)
    subscription.tell((Changed("a", None, 1),), 1)
    subscription.resync(7)
    subscription.tell((Changed("b", None, 8),), 8)
    assert await _all(subscription) == [Resync(7), Changed("b", None, 8)]


async def test_progress_alone_wakes_nobody_and_moves_the_place_to_go_on_from() -> None:
    subscription = Subscription("a", prefix=False, after=3)
    subscription.tell((), 9)
    assert await _all(subscription) == []
    assert subscription.after == 9


async def test_an_end_comes_at_once() -> None:
    closed, failed = Subscription("a", prefix=False, after=0), Subscription("a", prefix=False, after=0)
    for subscription in (closed, failed):
        subscription.tell((Changed("a", None, 1),), 1)
    closed.close()
    failed.fail(ConfigError("watch", "no"))
    assert await closed.next() is None
    with pytest.raises(ConfigError):
        await failed.next()
