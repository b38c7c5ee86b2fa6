"""What could make an election hang, spin or forget: records of others, faults in a store's code, suspends, restores."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from leasekit.core import events as e
from leasekit.core import records
from leasekit.core.contest import Watching
from leasekit.core.records import HoldRecord, Keys
from leasekit.errors import LeaseLost, LossReason, NotElected, ProtocolError
from leasekit.store import Changed, Put, Resync
from leasekit.watches import Watches
from support.virtual import ELECTION, TTL_S, World, virtual

KEYS = Keys(ELECTION)
# JSON as Python reads it: a number that is no number of anything.
ENDLESS = b'{"schema":1,"id":"x","host":"h","pid":1e999,"priority":0,"ttl_s":15,"meta":{}}'


async def put(world: World, key: str, value: bytes) -> None:
    await world.store.transact((), (Put(key, value),), timeout_s=1)


# Records that no leasekit wrote.


@virtual
async def test_a_candidate_with_an_endless_number_stops_nobody(world: World) -> None:
    await put(world, KEYS.candidate("x"), ENDLESS)
    leading = world.process().candidate("a").campaign(once=False, timeout_s=None)
    assert await asyncio.wait_for(leading, timeout=60)  # out of turn: whoever that is does not claim


@pytest.mark.parametrize("value", [b"[" * 100_000, ENDLESS], ids=["bottomless", "endless"])
def test_a_leader_that_cannot_be_read_is_another(value: bytes) -> None:
    @virtual
    async def test(world: World) -> None:
        await put(world, KEYS.leader, value)
        assert await world.process().candidate("a").campaign(once=True, timeout_s=5) is None

    test()


@pytest.mark.parametrize("ttl_s", [float("nan"), float("inf"), -1.0])
def test_a_hold_that_would_never_end_cannot_be_read(ttl_s: float) -> None:
    with pytest.raises(ProtocolError, match="leader record"):
        records.load_leader(records.dump_hold(HoldRecord("A", ttl_s)))


@virtual
async def test_a_campaign_whose_record_cannot_be_written_fails_and_does_not_hang(world: World) -> None:
    candidate = world.process().candidate("a")
    candidate.setup = replace(candidate.setup, meta=(("half a character", "\ud800"),))
    with pytest.raises(UnicodeEncodeError):
        await asyncio.wait_for(candidate.campaign(once=False, timeout_s=None), timeout=60)


# Faults in the code of a store.


@virtual
async def test_a_watch_that_fails_is_begun_anew(world: World, caplog: pytest.LogCaptureFixture) -> None:
    process = world.process()
    watch = process.network.watch

    def fail(key: str, *, prefix: bool = False, after: int) -> AsyncIterator[Changed | Resync]:
        process.network.watch = watch  # type: ignore[method-assign]
        raise ZeroDivisionError

    process.network.watch = fail  # type: ignore[assignment, method-assign]
    with caplog.at_level(logging.ERROR, logger="leasekit"):
        _, tenure = await process.leader("a")
        await world.pass_time(1)
        await put(world, KEYS.leader, b"another's")
        await world.pass_time(3)
    assert tenure.loss is LossReason.SUPERSEDED
    assert "ZeroDivisionError" in caplog.text


@virtual
async def test_a_time_out_of_the_store_itself_is_no_time_out_of_the_campaign(world: World) -> None:
    process = world.process()

    async def grant(ttl_s: float, *, timeout_s: float) -> None:
        raise TimeoutError("from within")

    process.network.grant = grant  # type: ignore[assignment, method-assign]
    with pytest.raises(TimeoutError, match="from within") as raised:
        await process.candidate("a").campaign(once=False, timeout_s=None)
    assert not isinstance(raised.value, NotElected)
    world.faults.clear()  # the keeper's task tells the loop of it as well


@virtual
async def test_a_lease_that_the_store_disowns_by_another_name_is_lost(world: World) -> None:
    process = world.process()
    _, tenure = await process.leader("a")
    asked = 0

    async def renew(lease_id: str, *, timeout_s: float) -> float:
        nonlocal asked
        asked += 1
        assert asked < 100, "asked again and again"
        raise LeaseLost(lease_id.upper() + " (unknown)")

    process.network.renew = renew  # type: ignore[method-assign]
    await world.pass_time(TTL_S / 2)
    assert asked == 1
    assert tenure.loss is LossReason.REVOKED


# Campaigns that are over.


@virtual
async def test_campaigns_that_ran_out_of_time_leave_nothing_waiting_while_the_store_is_down(world: World) -> None:
    process = world.process()
    process.network.go_down()
    for number in range(20):
        with pytest.raises(NotElected):
            await process.candidate(f"a{number}").campaign(once=False, timeout_s=1)
    await world.pass_time(5)
    asked = process.network.requests["grant"]
    await world.pass_time(60)
    assert process.network.requests["grant"] == asked


# Suspends.


@virtual
async def test_a_lease_is_renewed_soon_after_a_suspend_that_it_outlived(world: World) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(0.1)
    world.clock.suspend(0.8 * TTL_S)
    await world.pass_time(1.5)
    assert tenure.remaining_s > 0.8 * TTL_S


@virtual
async def test_whoever_is_to_be_told_of_a_loss_is_told_soon_after_a_suspend(world: World) -> None:
    process = world.process()
    _, tenure = await process.leader("a")
    told: list[LossReason] = []
    tenure.on_end(told.append)
    await world.pass_time(0.1)
    process.network.go_down(silent=True)  # the network is slower to come back
    world.clock.suspend(10 * TTL_S)
    await world.pass_time(1.5)
    assert told == [LossReason.DEADLINE]


# Restores.


@virtual
async def test_what_was_missed_while_nobody_listened_counts_from_whatever_revision(world: World) -> None:
    """A store that was restored goes on from a lower revision than the answer that is under way."""
    process = world.process()
    await put(world, KEYS.leader, b"another's")
    told: list[e.Event] = []
    watches = Watches(process.network, told.append, lambda: False, pause_s=1)
    watches.follow(Watching(((KEYS.leader, None),), after=1000), waiting=True)  # after a revision that is no more
    await world.pass_time(0.1)
    assert told == [e.Missed()]
    assert watches.unheard() == [e.Missed()]
    watches.follow(Watching(), waiting=True)
