"""What an operator can do to a leadership that another process holds, on virtual time: ask, or force."""

from __future__ import annotations

import asyncio

import pytest

from leasekit.core import records
from leasekit.core.records import Keys, RequestRecord
from leasekit.election import ElectionCore
from leasekit.elector import Elector
from leasekit.errors import ConfigError, LossReason, OutcomeUnknown, StoreUnavailable
from leasekit.journal import OFF
from leasekit.operate import ask, force_resign
from leasekit.store import Put
from leasekit.tenure import Tenure
from leasekit.testing import Fault
from support.virtual import ELECTION, TTL_S, Process, World, virtual, writes

KEYS = Keys(ELECTION)


class Operator:
    """A process that asks: what `ElectionCore` needs of a connection."""

    def __init__(self, world: World) -> None:
        self.process = world.process()
        self.store = self.process.network
        self.random = world.random
        self.journal = OFF
        self.core = ElectionCore(
            ELECTION,
            connection=self,  # type: ignore[arg-type]
            id=None,
            ttl_s=TTL_S,
            priority=0,
            meta=None,
        )


async def queued(world: World, elector: Elector) -> asyncio.Task[Tenure | None]:
    campaign = asyncio.create_task(elector.campaign(once=False, timeout_s=None))
    while KEYS.candidate(elector.setup.id) not in await world.keys():
        await world.pass_time(0.01)
    await world.pass_time(0.1)
    return campaign


# Asking.


@virtual
async def test_a_leader_that_is_asked_resigns(world: World) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(1)
    assert await ask(Operator(world).core, "resign", None, 10)
    assert tenure.loss is LossReason.RESIGNED
    assert KEYS.leader not in await world.keys()
    assert KEYS.request not in await world.keys()


@virtual
async def test_asking_where_nobody_leads_is_answered_at_once(world: World) -> None:
    assert await ask(Operator(world).core, "resign", None, 10)
    assert not await ask(Operator(world).core, "transfer", "b", 10)


@virtual
async def test_a_leader_that_is_asked_transfers_to_whom_is_named(world: World) -> None:
    _, tenure = await world.process().leader("a")
    first = await queued(world, world.process().candidate("b"))
    named = await queued(world, world.process().candidate("c"))
    assert await ask(Operator(world).core, "transfer", "c", 10)
    assert tenure.loss is LossReason.TRANSFERRED
    taken = await asyncio.wait_for(named, 1)
    assert taken is not None
    assert not first.done()
    # And the one who leads already need not be asked.
    assert await ask(Operator(world).core, "transfer", "c", 10)
    assert taken.loss is None


@virtual
async def test_a_transfer_to_nobody_is_refused(world: World) -> None:
    _, tenure = await world.process().leader("a")
    with pytest.raises(ConfigError) as refused:
        await ask(Operator(world).core, "transfer", "nobody", 10)
    assert refused.value.field == "to"
    assert tenure.loss is None


@virtual
async def test_a_leader_that_does_not_answer_is_told_so(world: World) -> None:
    process = world.process()
    _, tenure = await process.leader("a")
    process.network.go_down()
    assert not await ask(Operator(world).core, "resign", None, 5)
    assert tenure.loss is None


@virtual
async def test_work_that_is_done_under_it_ends_first(world: World) -> None:
    _, tenure = await world.process().leader("a")
    waiting = await queued(world, world.process().candidate("b"))
    tenure.work_begins()
    asking = asyncio.create_task(ask(Operator(world).core, "resign", None, 60))
    await world.pass_time(5)
    assert tenure.loss is LossReason.RESIGNED
    assert not waiting.done()
    assert not asking.done()


@virtual
async def test_whoever_stops_the_work_is_asked_and_still_leads(world: World) -> None:
    _, tenure = await world.process().leader("a")
    asked: list[RequestRecord] = []
    tenure.on_request = asked.append
    await world.pass_time(1)
    asking = asyncio.create_task(ask(Operator(world).core, "resign", None, 3))
    await world.pass_time(1)
    assert [(request.action, request.to) for request in asked] == [("resign", None)]
    assert tenure.loss is None
    assert await asking is False


@pytest.mark.parametrize(
    "request_record",
    [
        RequestRecord(token=10_000, action="resign", to=None),
        RequestRecord(token=0, action="resign", to=None),
        RequestRecord(token=-1, action="explode", to=None),
        RequestRecord(token=-1, action="transfer", to=None),
        RequestRecord(token=-1, action="resign", to="b"),
    ],
)
@virtual
async def test_requests_for_others_or_without_sense_are_ignored(world: World, request_record: RequestRecord) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(1)
    token = tenure.token if request_record.token == -1 else request_record.token
    record = RequestRecord(token, request_record.action, request_record.to)
    await world.store.transact([], [Put(KEYS.request, records.dump_request(record))], timeout_s=1)
    await world.pass_time(5)
    assert tenure.loss is None


@virtual
async def test_a_request_for_an_earlier_leadership_is_deleted_by_the_next(world: World) -> None:
    stale = RequestRecord(token=1, action="resign", to=None)
    await world.store.transact([], [Put(KEYS.request, records.dump_request(stale))], timeout_s=1)
    _, tenure = await world.process().leader("a")
    assert tenure.loss is None
    assert KEYS.request not in await world.keys()


@virtual
async def test_a_transfer_whose_target_has_gone_meanwhile_leaves_the_leader_leading(world: World) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(1)
    gone = RequestRecord(tenure.token, "transfer", "gone")
    await world.store.transact([], [Put(KEYS.request, records.dump_request(gone))], timeout_s=1)
    await world.pass_time(5)
    assert tenure.loss is None


@virtual
async def test_asking_leaves_no_watch_open(world: World) -> None:
    operator = Operator(world)
    await world.process().leader("a")
    await world.pass_time(1)
    assert await ask(operator.core, "resign", None, 10)
    process = world.process()
    await process.leader("a")
    process.network.go_down()
    assert not await ask(operator.core, "resign", None, 1)
    assert operator.store.requests["watch"] == 2
    assert not operator.store._watches


# Forcing.


async def silent_leader(world: World) -> tuple[Process, Tenure]:
    process = world.process()
    _, tenure = await process.leader("a")
    await world.pass_time(1)
    process.network.go_down()
    return process, tenure


@virtual
async def test_nobody_leads_before_the_deposed_one_surely_has_stopped(world: World) -> None:
    _, tenure = await silent_leader(world)
    waiting = await queued(world, world.process().candidate("b"))
    assert await force_resign(Operator(world).core, 5)
    await world.until(waiting.done)
    assert tenure.loss is LossReason.DEADLINE
    successor = waiting.result()
    assert successor is not None
    assert successor.loss is None
    assert successor.token > tenure.token


@virtual
async def test_a_deposed_leader_that_is_reachable_learns_it_at_once(world: World) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(1)
    assert await force_resign(Operator(world).core, 5)
    await world.pass_time(0.01)
    assert tenure.loss is LossReason.REVOKED


@virtual
async def test_forcing_where_nobody_leads_changes_nothing(world: World) -> None:
    operator = Operator(world)
    assert not await force_resign(operator.core, 5)
    await silent_leader(world)
    assert await force_resign(operator.core, 5)
    assert not await force_resign(operator.core, 5)
    assert await operator.core.leader() is None


@pytest.mark.parametrize("fault", [Fault.lose_reply(), Fault.lose_request()])
@virtual
async def test_a_hold_whose_reply_is_lost_is_settled(world: World, fault: Fault) -> None:
    _, tenure = await silent_leader(world)
    operator = Operator(world)
    operator.store.inject(fault, on="transact", when=writes(KEYS.leader))
    assert await force_resign(operator.core, 5)
    waiting = await queued(world, world.process().candidate("b"))
    await world.until(waiting.done)
    assert tenure.loss is not None


@virtual
async def test_whoever_is_next_revokes_the_lease_if_the_operator_could_not(world: World) -> None:
    process, tenure = await silent_leader(world)
    waiting = await queued(world, world.process().candidate("b"))
    operator = Operator(world)
    operator.store.inject(Fault.lose_request(), on="revoke")
    with pytest.raises(OutcomeUnknown):
        await force_resign(operator.core, 5)
    process.network.come_up()
    await world.until(waiting.done)
    assert tenure.loss is LossReason.REVOKED


@pytest.mark.parametrize("interrupted", [False, True])
@virtual
async def test_who_only_tries_leads_again_after_a_forced_resignation(world: World, interrupted: bool) -> None:
    """Nobody queues, so nobody waits the hold out: it has to end by itself."""
    _, tenure = await silent_leader(world)
    operator = Operator(world)
    if interrupted:
        operator.store.inject(Fault.lose_request(), on="revoke")
        with pytest.raises(OutcomeUnknown):
            await force_resign(operator.core, 5)
    assert await force_resign(operator.core, 5)
    trying = world.process()
    began = world.clock.now()
    async with asyncio.timeout(3 * TTL_S):
        while (taken := await trying.candidate("b").campaign(once=True, timeout_s=5)) is None:
            await world.pass_time(0.1)
    assert tenure.loss is not None
    assert taken.token > tenure.token
    assert 1.01 * TTL_S <= world.clock.now().boot_s - began.boot_s < 1.2 * TTL_S


@virtual
async def test_an_unreachable_store_is_told(world: World) -> None:
    operator = Operator(world)
    operator.store.go_down()
    with pytest.raises(StoreUnavailable):
        await force_resign(operator.core, 5)
    with pytest.raises(StoreUnavailable):
        await ask(operator.core, "resign", None, 5)
