"""Campaigning and leading, on virtual time: what it costs, who is elected, and what is left behind."""

from __future__ import annotations

import asyncio

import pytest

from leasekit.core import records
from leasekit.core.records import Keys
from leasekit.elector import Elector
from leasekit.errors import ConfigError, LeadershipLost, LossReason, NotElected, OutcomeUnknown, StoreUnavailable
from leasekit.store import At, Delete, Put
from leasekit.tenure import Tenure
from leasekit.testing import Fault, Request
from support.virtual import ELECTION, TTL_S, World, virtual, writes

KEYS = Keys(ELECTION)


async def elected(campaign: asyncio.Task[Tenure | None]) -> Tenure:
    tenure = await asyncio.wait_for(campaign, timeout=600)
    assert tenure is not None
    return tenure


def campaigning(elector: Elector, timeout_s: float | None = None) -> asyncio.Task[Tenure | None]:
    return asyncio.create_task(elector.campaign(once=False, timeout_s=timeout_s))


async def queued(world: World, elector: Elector, id: str) -> asyncio.Task[Tenure | None]:
    """A campaign that has taken its place behind others and watches."""
    campaign = campaigning(elector)
    while KEYS.candidate(id) not in await world.keys():
        await world.pass_time(0.01)
    await world.pass_time(0.1)
    return campaign


# What it costs.


@virtual
async def test_an_uncontended_campaign_is_one_transaction_and_its_release_another(world: World) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    assert process.network.requests["transact"] == 1
    await elector.resign(tenure, timeout_s=5)
    assert process.network.requests["transact"] == 2
    assert process.network.requests["watch"] == process.network.requests["get"] == 0
    assert await world.keys(ELECTION) == []


async def cost_of_handover(world: World, candidates: int) -> int:
    """How many requests all the candidates together make because the leader resigns; but for history and renewals."""
    leading = world.process()
    elector, tenure = await leading.leader("leader")
    crowd = [world.process() for _ in range(candidates)]
    campaigns = [await queued(world, process.candidate(f"c{n}"), f"c{n}") for n, process in enumerate(crowd)]
    await world.pass_time(1)
    made: list[Request] = []

    def note(request: Request) -> None:
        # Whoever leads writes its line into the history some time; the one before may do so at the same moment.
        if request.kind != "renew" and request.key != KEYS.history and not writes(KEYS.history)(request):
            made.append(request)

    for process in crowd:
        process.network.plan = note
    watches = sum(process.network.requests["watch"] for process in crowd)
    await elector.resign(tenure, timeout_s=5)
    await elected(campaigns[0])
    await world.pass_time(1)
    assert not any(campaign.done() for campaign in campaigns[1:])
    return len(made) + sum(process.network.requests["watch"] for process in crowd) - watches


@virtual
async def test_the_cost_of_a_handover_does_not_grow_with_the_candidates(world: World) -> None:
    costs = {await cost_of_handover(World(world.clock), candidates) for candidates in (2, 10, 40)}
    assert len(costs) == 1
    assert costs.pop() <= 4


@virtual
async def test_elections_of_one_process_share_its_lease(world: World) -> None:
    process = world.process()
    for number in range(20):
        await process.leader("a", f"election-{number}")
    assert process.network.requests["grant"] == 1
    await world.pass_time(10 * TTL_S)
    assert process.network.requests["renew"] == pytest.approx(30, abs=1)


# Who is elected.


@virtual
async def test_candidates_are_elected_in_the_order_in_which_they_came(world: World) -> None:
    _, tenure = await world.process().leader("0")
    campaigns = [await queued(world, world.process().candidate(str(n)), str(n)) for n in range(1, 5)]
    for campaign in campaigns:
        tenure.end(LossReason.RESIGNED)
        tenure = await elected(campaign)


@virtual
async def test_a_higher_priority_stands_further_ahead(world: World) -> None:
    _, tenure = await world.process().leader("0")
    low = await queued(world, world.process().candidate("low"), "low")
    high = await queued(world, world.process().candidate("high", priority=5), "high")
    tenure.end(LossReason.RESIGNED)
    assert (await elected(high)).id == "high"
    assert not low.done()


@virtual
async def test_tokens_rise_from_one_leadership_to_the_next(world: World) -> None:
    tokens = []
    for number in range(6):
        elector, tenure = await world.process().leader(f"a{number}")
        tokens.append(tenure.token)
        await elector.resign(tenure, timeout_s=5)
    assert tokens == sorted(set(tokens))


@virtual
async def test_a_leader_that_dies_is_followed_after_its_lease(world: World) -> None:
    first = world.process()
    _, tenure = await first.leader("a")
    waiting = await queued(world, world.process().candidate("b"), "b")
    first.network.go_down()
    await elected(waiting)
    assert tenure.loss is LossReason.DEADLINE


@virtual
async def test_two_processes_never_both_hold_a_valid_leadership(world: World) -> None:
    processes = [world.process() for _ in range(3)]
    electors = [process.candidate(f"c{n}") for n, process in enumerate(processes)]
    held: list[Tenure] = []

    async def compete(elector: Elector) -> None:
        while True:
            tenure = await elector.campaign(once=False, timeout_s=None)
            assert tenure is not None
            held.append(tenure)
            while tenure.loss is None:
                await asyncio.sleep(0.05)

    competing = [asyncio.create_task(compete(elector)) for elector in electors]
    for round_number in range(40):
        victim = processes[round_number % 3]
        victim.network.go_down(silent=round_number % 2 == 0)
        await world.pass_time(TTL_S / 2 + round_number % 7 * 4.1)
        victim.network.come_up()
        assert sum(tenure.loss is None for tenure in held) <= 1
    assert len(held) > 5
    for task in competing:
        task.cancel()


@virtual
async def test_a_single_try_is_won_when_nobody_leads_and_lost_when_somebody_does(world: World) -> None:
    one, two = world.process().candidate("a"), world.process()
    tenure = await one.campaign(once=True, timeout_s=5)
    assert tenure is not None
    assert await two.candidate("b").campaign(once=True, timeout_s=5) is None
    assert await world.keys(KEYS.queue) == [KEYS.candidate("a")]


@virtual
async def test_a_single_try_while_the_store_is_down_says_so(world: World) -> None:
    process = world.process()
    process.network.go_down()
    with pytest.raises(StoreUnavailable):
        await process.candidate("a").campaign(once=True, timeout_s=5)


# Campaigns that end without a leadership.


@virtual
async def test_a_campaign_out_of_time_leaves_nothing_behind(world: World) -> None:
    await world.process().leader("a")
    process = world.process()
    elector = process.candidate("b")
    with pytest.raises(NotElected):
        await elector.campaign(once=False, timeout_s=2)
    await world.pass_time(0.1)
    assert await world.keys(KEYS.queue) == [KEYS.candidate("a")]
    assert elector.idle


@virtual
async def test_not_elected_says_what_was_wrong_with_the_store(world: World) -> None:
    process = world.process()
    process.network.inject(Fault.lose_reply(), on="transact", times=1000)
    with pytest.raises(NotElected, match="no answer"):
        await process.candidate("a").campaign(once=False, timeout_s=3)


@virtual
async def test_a_cancelled_campaign_leaves_nothing_behind(world: World) -> None:
    await world.process().leader("a")
    elector = world.process().candidate("b")
    campaign = await queued(world, elector, "b")
    campaign.cancel()
    await world.pass_time(0.1)
    assert await world.keys(KEYS.queue) == [KEYS.candidate("a")]
    assert elector.idle


@pytest.mark.parametrize("turns", range(1, 12))
@virtual
async def test_a_campaign_cancelled_at_any_moment_leaves_nothing_behind(world: World, turns: int) -> None:
    process = world.process()
    elector = process.candidate("a")
    campaign = campaigning(elector)
    for _ in range(turns):
        await asyncio.sleep(0)
    campaign.cancel()
    await asyncio.wait([campaign])
    if not campaign.cancelled() and (won := campaign.result()) is not None:
        won.end(LossReason.RESIGNED)
    await world.pass_time(2 * TTL_S)
    assert await world.keys(ELECTION) in ([], [KEYS.history])
    assert elector.tenure is None
    tenure = await process.candidate("b").campaign(once=True, timeout_s=5)
    assert tenure is not None


@virtual
async def test_a_claim_applied_after_it_was_given_up_is_removed_as_soon_as_its_answer_comes(world: World) -> None:
    """Not only at the next renewal: until then nobody would lead."""
    process = world.process()
    process.network.inject(Fault(request_delay_s=0.5), on="transact", when=writes(KEYS.leader))
    campaign = campaigning(process.candidate("a"))
    await world.pass_time(0.1)
    campaign.cancel()
    await world.pass_time(0.39)
    assert await world.keys(ELECTION) == []
    await world.pass_time(0.02)
    assert await world.keys(ELECTION) == []
    assert process.network.requests["renew"] == 0


@virtual
async def test_a_second_campaign_of_one_candidate_is_refused(world: World) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    with pytest.raises(ConfigError, match="already"):
        await elector.campaign(once=False, timeout_s=1)
    assert tenure.loss is None
    waiting = world.process().candidate("b")
    await queued(world, waiting, "b")
    with pytest.raises(ConfigError, match="already"):
        await waiting.campaign(once=False, timeout_s=1)


@virtual
async def test_a_campaign_right_after_a_loss_waits_for_its_turn(world: World) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    process.network.inject(Fault.delay_reply(0.5), on="transact")
    tenure.end(LossReason.RESIGNED)
    again = await elector.campaign(once=False, timeout_s=10)
    assert again is not None
    assert again.token > tenure.token


@virtual
async def test_an_id_that_another_process_uses_is_refused(world: World) -> None:
    await world.process().leader("a")
    with pytest.raises(ConfigError) as refused:
        await world.process().candidate("a").campaign(once=False, timeout_s=None)
    assert refused.value.field == "id"


@virtual
async def test_the_id_of_a_former_life_is_free_once_its_lease_has_ended(world: World) -> None:
    before = world.process()
    await before.leader("a")
    before.network.go_down()
    _, tenure = await world.process().leader("a")
    assert tenure.loss is None


@virtual
async def test_a_fault_in_a_store_s_code_reaches_the_campaign(world: World) -> None:
    process = world.process()

    async def broken(*_: object, **__: object) -> None:
        raise OSError("a fault")

    process.network.grant = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError, match="a fault"):
        await process.candidate("a").campaign(once=False, timeout_s=10)
    world.faults.clear()


# Replies that are lost.


LOST = [Fault.lose_reply(), Fault.lose_request(), Fault.lose_reply(silent=True), Fault.apply_late(1.0)]


@pytest.mark.parametrize("fault", LOST)
@virtual
async def test_a_claim_whose_reply_is_lost_is_settled(world: World, fault: Fault) -> None:
    process = world.process()
    process.network.inject(fault, on="transact", when=writes(KEYS.leader))
    elector, tenure = await process.leader("a")
    await process.network.settled()
    await world.pass_time(3 * TTL_S)
    assert tenure.loss is None
    entry = await world.get(KEYS.leader)
    assert entry is not None
    assert entry.revision == tenure.token
    await elector.resign(tenure, timeout_s=5)
    assert [key for key in await world.keys(ELECTION) if key != KEYS.history] == []


@pytest.mark.parametrize("fault", LOST)
@virtual
async def test_an_enqueueing_whose_reply_is_lost_is_settled(world: World, fault: Fault) -> None:
    _, first = await world.process().leader("a")
    process = world.process()
    process.network.inject(fault, on="transact", when=writes(KEYS.candidate("b")), skip=1)
    waiting = campaigning(process.candidate("b"))
    await world.pass_time(5)
    first.end(LossReason.RESIGNED)
    tenure = await elected(waiting)
    assert tenure.loss is None


@pytest.mark.parametrize("fault", LOST)
@virtual
async def test_a_resignation_whose_reply_is_lost_is_settled(world: World, fault: Fault) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    waiting = await queued(world, world.process().candidate("b"), "b")
    process.network.inject(fault, on="transact", when=writes(KEYS.leader))
    await elector.resign(tenure, timeout_s=5)
    assert tenure.loss is LossReason.RESIGNED
    began = world.clock.now()
    assert (await elected(waiting)).id == "b"
    assert world.clock.now().boot_s - began.boot_s < TTL_S / 2
    await world.pass_time(3 * TTL_S)
    assert KEYS.candidate("a") not in await world.keys(ELECTION)


@pytest.mark.parametrize("fault", LOST)
@virtual
async def test_a_transfer_whose_reply_is_lost_is_settled(world: World, fault: Fault) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    waiting = await queued(world, world.process().candidate("b"), "b")
    process.network.inject(fault, on="transact", when=writes(KEYS.leader))
    assert await elector.transfer(tenure, "b", timeout_s=10)
    assert tenure.loss is LossReason.TRANSFERRED
    assert (await elected(waiting)).id == "b"
    await world.pass_time(3 * TTL_S)
    assert KEYS.candidate("a") not in await world.keys(ELECTION)


# The store goes down and comes back.


@virtual
async def test_a_campaign_outlasts_an_outage(world: World) -> None:
    process = world.process()
    process.network.go_down()
    waiting = campaigning(process.candidate("a"))
    await world.pass_time(5 * TTL_S)
    process.network.come_up()
    assert (await elected(waiting)).loss is None


@virtual
async def test_a_place_in_the_queue_lost_in_an_outage_is_taken_anew(world: World) -> None:
    _, first = await world.process().leader("a")
    process = world.process()
    waiting = await queued(world, process.candidate("b"), "b")
    process.network.go_down()
    await world.pass_time(2 * TTL_S)
    assert KEYS.candidate("b") not in await world.keys()
    process.network.come_up()
    await world.pass_time(TTL_S)
    assert KEYS.candidate("b") in await world.keys()
    first.end(LossReason.RESIGNED)
    await elected(waiting)


@virtual
async def test_a_leader_leads_on_through_a_short_outage(world: World) -> None:
    process = world.process()
    _, tenure = await process.leader("a")
    process.network.go_down()
    await world.pass_time(TTL_S / 2)
    process.network.come_up()
    await world.pass_time(TTL_S)
    assert tenure.loss is None


@virtual
async def test_after_its_deadline_a_leadership_stays_over_though_the_store_still_knows_it(world: World) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    process.network.plan = lambda request: Fault.lose_reply() if request.kind == "renew" else None
    await world.until(lambda: tenure.loss is not None)
    process.network.plan = None
    assert tenure.loss is LossReason.DEADLINE
    await world.pass_time(2 * TTL_S)
    assert tenure.loss is LossReason.DEADLINE
    assert KEYS.leader not in await world.keys()
    again = await elector.campaign(once=False, timeout_s=5)
    assert again is not None
    assert again.token > tenure.token


# Losing.


@virtual
async def test_a_leader_record_that_is_deleted_ends_the_leadership_at_once(world: World) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(1)
    await world.store.transact([], [Delete(KEYS.leader)], timeout_s=1)
    await world.pass_time(0.01)
    assert tenure.loss is LossReason.SUPERSEDED


@virtual
async def test_a_leader_record_deleted_right_after_the_election_is_noticed(world: World) -> None:
    _, tenure = await world.process().leader("a")
    await world.store.transact([], [Delete(KEYS.leader)], timeout_s=1)
    await world.pass_time(0.1)
    assert tenure.loss is LossReason.SUPERSEDED


@virtual
async def test_a_leader_record_deleted_before_the_claim_s_reply_comes_is_noticed(world: World) -> None:
    elector, first = await world.process().leader("a")
    target = await queued(world, world.process().candidate("c"), "c")
    process = world.process()
    waiting = await queued(world, process.candidate("b"), "b")
    # After a transfer the leader has no candidate key, so b watches the record itself, also while it claims.
    await elector.transfer(first, "c", timeout_s=5)
    second = await elected(target)
    await world.pass_time(0.1)
    process.network.inject(Fault.delay_reply(0.5), on="transact", when=writes(KEYS.leader))
    second.end(LossReason.RESIGNED)
    await world.pass_time(0.1)
    await world.store.transact([], [Delete(KEYS.leader)], timeout_s=1)
    tenure = await elected(waiting)
    await world.pass_time(0.1)
    assert tenure.loss is LossReason.SUPERSEDED


@virtual
async def test_a_missed_change_is_found_by_reading_again(world: World) -> None:
    process = world.process()
    _, tenure = await process.leader("a")
    await world.pass_time(1)
    process.network.stall_watches()
    await world.store.transact([], [Delete(KEYS.leader)], timeout_s=1)
    process.network.resync_watches()
    process.network.resume_watches()
    await world.pass_time(0.5)
    assert tenure.loss is LossReason.SUPERSEDED


@virtual
async def test_a_departure_that_the_watch_tells_during_a_look_is_not_lost(world: World) -> None:
    # b watches a's key; the look that follows a's departure is answered as of before c took office and left.
    _, leading = await world.process().leader("a")
    process = world.process()
    waiting = await queued(world, process.candidate("b"), "b")
    process.network.inject(Fault.delay_reply(0.5), on="transact", when=lambda request: not request.compares)
    intruder = (await world.process().keeper_lease()).id
    value = records.dump_leader(
        records.LeaderRecord(id="c", host="h", pid=1, ttl_s=TTL_S, since="", base=0, meta={}, clock={})
    )
    entry = await world.get(KEYS.leader)
    assert entry is not None
    await world.store.transact([At(KEYS.leader, entry.revision)], [Put(KEYS.leader, value, intruder)], timeout_s=1)
    await world.store.transact([], [Delete(KEYS.candidate("a"))], timeout_s=1)
    await world.pass_time(0.2)
    await world.store.transact([], [Delete(KEYS.leader)], timeout_s=1)
    began = world.clock.now()
    await elected(waiting)
    assert world.clock.now().boot_s - began.boot_s < 1
    assert leading.loss is LossReason.SUPERSEDED


# Transfer.


@virtual
async def test_a_transfer_goes_to_whom_it_names_not_to_the_first(world: World) -> None:
    elector, tenure = await world.process().leader("a")
    first = await queued(world, world.process().candidate("b"), "b")
    named = await queued(world, world.process().candidate("c"), "c")
    assert await elector.transfer(tenure, "c", timeout_s=5)
    taken = await asyncio.wait_for(named, timeout=0.1)
    assert taken is not None
    assert taken.token > tenure.token
    assert not first.done()


@virtual
async def test_a_transfer_to_nobody_is_refused_and_the_leader_leads_on(world: World) -> None:
    elector, tenure = await world.process().leader("a")
    for to in ("nobody", "a"):
        with pytest.raises(ConfigError) as refused:
            await elector.transfer(tenure, to, timeout_s=5)
        assert refused.value.field == "to"
    assert tenure.loss is None


@virtual
async def test_a_transfer_that_the_candidate_does_not_wait_for_is_a_resignation(world: World) -> None:
    process, other = world.process(), world.process()
    elector, tenure = await process.leader("a")
    waiting = await queued(world, other.candidate("b"), "b")
    # b withdraws between the look and the transfer.
    process.network.inject(Fault(request_delay_s=0.5), on="transact", when=writes(KEYS.leader))
    transfer = asyncio.create_task(elector.transfer(tenure, "b", timeout_s=5))
    await world.pass_time(0.1)
    waiting.cancel()
    assert await transfer is False
    assert KEYS.leader not in await world.keys()


@virtual
async def test_a_transfer_that_the_store_does_not_confirm_is_unknown_and_ends_belief(world: World) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    await queued(world, world.process().candidate("b"), "b")
    process.network.inject(Fault.lose_request(), on="transact", when=writes(KEYS.leader), times=1000)
    with pytest.raises(OutcomeUnknown):
        await elector.transfer(tenure, "b", timeout_s=3)
    assert tenure.loss is LossReason.TRANSFERRED


@virtual
async def test_what_was_lost_cannot_be_transferred(world: World) -> None:
    elector, tenure = await world.process().leader("a")
    await queued(world, world.process().candidate("b"), "b")
    tenure.end(LossReason.RESIGNED)
    with pytest.raises(LeadershipLost):
        await elector.transfer(tenure, "b", timeout_s=5)


# Closing.


@virtual
async def test_closing_fails_a_campaign(world: World) -> None:
    await world.process().leader("a")
    elector = world.process().candidate("b")
    waiting = await queued(world, elector, "b")
    elector.close()
    with pytest.raises(ConfigError, match="closed"):
        await waiting


@virtual
async def test_closing_lets_the_next_one_lead_at_once(world: World) -> None:
    process = world.process()
    elector, tenure = await process.leader("a")
    waiting = await queued(world, world.process().candidate("b"), "b")
    elector.close()
    await process.keeper.aclose(timeout_s=1)
    assert tenure.loss is LossReason.CLOSED
    await asyncio.wait_for(waiting, timeout=0.1)


# Records that no leasekit wrote.


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\xfe", b"[]", b"{}", b'{"schema": 99}', b"null", b'{"schema":1,"id":3}']
)
@virtual
async def test_garbage_in_the_queue_stops_nobody_who_stands_before_it(world: World, garbage: bytes) -> None:
    await world.store.transact([], [Put(KEYS.candidate("x"), garbage)], timeout_s=1)
    waiting = campaigning(world.process().candidate("a", priority=1))
    assert (await elected(waiting)).loss is None


@pytest.mark.parametrize("garbage", [b"", b"{}", b'{"schema": 99}'])
@virtual
async def test_garbage_instead_of_a_leader_is_somebody_else(world: World, garbage: bytes) -> None:
    await world.store.transact([], [Put(KEYS.leader, garbage)], timeout_s=1)
    assert await world.process().candidate("a").campaign(once=True, timeout_s=5) is None
    waiting = campaigning(world.process().candidate("b"))
    await world.pass_time(TTL_S)
    assert not waiting.done()
    await world.store.transact([], [Delete(KEYS.leader)], timeout_s=1)
    await elected(waiting)


@pytest.mark.parametrize("garbage", [b"", b"{}", b'{"schema":1,"token":"x","action":"resign","to":null}'])
@virtual
async def test_garbage_instead_of_a_request_is_ignored(world: World, garbage: bytes) -> None:
    _, tenure = await world.process().leader("a")
    await world.pass_time(1)
    await world.store.transact([], [Put(KEYS.request, garbage)], timeout_s=1)
    await world.pass_time(1)
    assert tenure.loss is None
