"""The record of past leaderships: who led from when to when, and why no longer."""

from __future__ import annotations

import asyncio

from leasekit.core import records
from leasekit.core.records import Keys, PastLeadership
from leasekit.errors import LossReason
from leasekit.history import History, Line, merged
from leasekit.store import Put
from leasekit.testing import Fault
from support.virtual import ELECTION, World, virtual, writes

KEYS = Keys(ELECTION)


async def past(world: World) -> tuple[PastLeadership, ...]:
    entry = await world.get(KEYS.history)
    return records.load_history(entry.value) if entry else ()


async def reasons(world: World) -> list[str | None]:
    return [line.reason for line in await past(world)]


@virtual
async def test_a_leadership_has_its_line_while_it_lasts(world: World) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(1)
    (line,) = await past(world)
    assert (line.token, line.id, line.ended, line.reason) == (tenure.token, "a", None, None)
    assert line.began == records.utc(world.clock.wall_s() - 1)


@virtual
async def test_every_end_has_its_reason(world: World) -> None:
    process = world.process()
    for reason in (LossReason.RESIGNED, LossReason.CLOSED, LossReason.SUPERSEDED):
        _, tenure = await process.leader("a")
        await world.pass_time(1)
        tenure.end(reason)
        await world.pass_time(1)
    elector, tenure = await process.leader("a")
    heir = asyncio.create_task(world.process().candidate("b").campaign(once=False, timeout_s=None))
    await world.pass_time(1)
    await elector.transfer(tenure, "b", timeout_s=5)
    await heir
    await world.pass_time(1)
    assert await reasons(world) == ["resigned", "closed", "superseded", "transferred", None]


@virtual
async def test_a_leader_that_could_not_say_why_it_ended_has_expired(world: World) -> None:
    process = world.process()
    await process.leader("a")
    await world.pass_time(1)
    process.network.go_down()
    await world.process().leader("b")
    await world.pass_time(1)
    assert await reasons(world) == ["expired", None]
    first, second = await past(world)
    assert first.ended == second.began


@virtual
async def test_a_leadership_as_short_as_can_be_has_its_line_too(world: World) -> None:
    elector, tenure = await world.process().leader("a")
    await elector.resign(tenure, timeout_s=5)
    await world.pass_time(1)
    assert await reasons(world) == ["resigned"]


@virtual
async def test_the_last_sixty_four_are_kept(world: World) -> None:
    tokens = []
    process = world.process()
    elector = process.candidate("a")
    for _ in range(70):
        tenure = await elector.campaign(once=False, timeout_s=5)
        assert tenure is not None
        tokens.append(tenure.token)
        await world.pass_time(0.1)
        await elector.resign(tenure, timeout_s=5)
    await world.pass_time(1)
    lines = await past(world)
    assert [line.token for line in lines] == tokens[-64:]
    assert {line.reason for line in lines} == {"resigned"}


@virtual
async def test_leaderships_that_follow_each_other_quickly_all_have_their_lines(world: World) -> None:
    tokens = []
    processes = [world.process() for _ in range(5)]
    for round_number in range(20):
        elector, tenure = await processes[round_number % 5].leader(f"c{round_number % 5}")
        tokens.append(tenure.token)
        await elector.resign(tenure, timeout_s=5)
    await world.pass_time(1)
    assert [line.token for line in await past(world)] == tokens
    assert set(await reasons(world)) == {"resigned"}


@virtual
async def test_a_line_that_could_not_be_written_is_written_with_the_next(world: World) -> None:
    process = world.process()
    process.network.inject(Fault.refuse(), on="transact", when=writes(KEYS.history), times=2)
    elector, tenure = await process.leader("a")
    await world.pass_time(1)
    assert await past(world) == ()
    await elector.resign(tenure, timeout_s=5)
    await world.pass_time(1)
    await process.leader("a")
    await world.pass_time(1)
    assert [line.token for line in await past(world)][:1] == [tenure.token]


@virtual
async def test_the_history_is_off_the_critical_path(world: World) -> None:
    process = world.process()
    process.network.inject(Fault.delay_reply(4), on="get")
    began = world.clock.now()
    elector, tenure = await process.leader("a")
    await elector.resign(tenure, timeout_s=5)
    assert world.clock.now() == began


@virtual
async def test_garbage_in_its_place_stops_no_election_and_is_replaced(world: World) -> None:
    for garbage in (b"", b"[]", b'{"schema": 7}', b'{"schema":1,"leaderships":[{}]}'):
        await world.store.transact([], [Put(KEYS.history, garbage)], timeout_s=1)
        elector, tenure = await world.process().leader("a")
        await world.pass_time(1)
        assert [line.token for line in await past(world)] == [tenure.token]
        await elector.resign(tenure, timeout_s=5)
        await world.pass_time(1)


@virtual
async def test_flushing_writes_what_is_still_to_be_written(world: World) -> None:
    history = History(KEYS, world.store, world.clock)
    history.began(3, "a", over_hold=False)
    history.ended(3, "a", LossReason.RESIGNED)
    assert await past(world) == ()
    await history.flush()
    assert await reasons(world) == ["resigned"]
    await history.flush()


def line(token: int, *, reason: str | None = None) -> PastLeadership:
    return PastLeadership(token, "a", f"began {token}", f"ended {token}" if reason else None, reason)


def told(token: int, *, reason: LossReason | None = None, before: LossReason = LossReason.EXPIRED) -> Line:
    """What a process has to add: begun at second 10, and ended at second 11 if there is a reason."""
    return Line(token, "a", 10.0, 11.0 if reason else None, reason, before)


def test_merging_puts_lines_in_the_order_of_their_tokens() -> None:
    known = (line(1, reason="resigned"), line(5))
    found = merged(known, {3: told(3, reason=LossReason.CLOSED)})
    assert [(one.token, one.reason) for one in found] == [(1, "resigned"), (3, "closed"), (5, None)]


def test_merging_ends_what_a_later_leadership_follows() -> None:
    found = merged((line(1),), {2: told(2, before=LossReason.REVOKED)})
    assert [(one.token, one.reason, one.ended) for one in found] == [(1, "revoked", records.utc(10.0)), (2, None, None)]


def test_merging_an_end_keeps_the_beginning_that_is_known() -> None:
    (found,) = merged((line(1),), {1: told(1, reason=LossReason.RESIGNED)})
    assert (found.began, found.ended, found.reason) == ("began 1", records.utc(11.0), "resigned")
