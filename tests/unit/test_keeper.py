"""One lease per process, store and ttl: granted on need, renewed, never trusted past its deadline, given back."""

from __future__ import annotations

import asyncio

import pytest

from leasekit.core.events import TrustEnded
from leasekit.core.records import Keys
from leasekit.core.remains import Remains
from leasekit.errors import ConfigError, LossReason
from leasekit.store import Put
from leasekit.testing import Fault
from support.virtual import TTL_S, Process, World, virtual

MARGIN_S = 0.01 * TTL_S + 0.05


class Listener:
    """Somebody who relies on a lease, and remembers what it was told."""

    def __init__(self, process: Process) -> None:
        self.told: list[TrustEnded] = []
        self.process = process
        process.keeper.join(self.hear)

    def hear(self, event: TrustEnded) -> None:
        self.told.append(event)

    def leave(self) -> None:
        self.process.keeper.leave(self.hear)


async def relied_on(process: Process) -> Listener:
    """A fresh lease, and somebody who keeps it alive."""
    listener = Listener(process)
    await process.keeper.fresh()
    return listener


# Granting.


@virtual
async def test_many_who_need_a_lease_at_once_share_one_grant(world: World) -> None:
    process = world.process()
    await asyncio.gather(*(process.keeper.fresh() for _ in range(50)))
    assert process.network.requests["grant"] == 1


@virtual
async def test_nothing_is_asked_of_the_store_before_somebody_needs_a_lease(world: World) -> None:
    process = world.process()
    await world.pass_time(10 * TTL_S)
    assert not process.network.requests


@virtual
async def test_a_grant_is_repeated_while_the_store_is_down(world: World) -> None:
    process = world.process()
    process.network.go_down()
    waiting = asyncio.create_task(process.keeper.fresh())
    await world.pass_time(30)
    assert not waiting.done()
    process.network.come_up()
    await asyncio.wait_for(waiting, timeout=2)
    assert process.keeper.belief.trusted(world.clock.now())


@virtual
async def test_a_grant_that_nobody_waits_for_any_more_is_not_repeated(world: World) -> None:
    process = world.process()
    process.network.go_down()
    waiting = asyncio.create_task(process.keeper.fresh())
    await world.pass_time(3)
    waiting.cancel()
    await world.pass_time(3)
    attempts = process.network.requests["grant"]
    await world.pass_time(60)
    assert process.network.requests["grant"] == attempts


@virtual
async def test_a_refusal_to_grant_reaches_whoever_asked(world: World) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        await world.process(ttl_s=2e9).keeper.fresh()


@virtual
async def test_the_deadline_counts_from_when_the_grant_was_sent(world: World) -> None:
    process = world.process()
    process.network.inject(Fault.delay_reply(1.5), on="grant")
    sent_at = world.clock.now()
    await relied_on(process)
    deadline = process.keeper.belief.deadline
    assert deadline is not None
    assert sent_at.until(deadline) == pytest.approx(TTL_S - MARGIN_S)


# Renewing.


@virtual
async def test_renewals_come_every_third_of_the_ttl(world: World) -> None:
    process = world.process()
    await relied_on(process)
    for renewals in range(1, 10):
        took_s = await world.until(lambda due=renewals: process.network.requests["renew"] == due)  # type: ignore[misc]
        assert took_s == pytest.approx(TTL_S / 3, abs=0.05)


@virtual
async def test_an_attempt_to_renew_takes_a_sixth_of_the_ttl_at_most(world: World) -> None:
    process = world.process()
    await relied_on(process)
    process.network.go_down(silent=True)
    await world.until(lambda: process.network.requests["renew"] == 1)
    took_s = await world.until(lambda: process.network.requests["renew"] == 2)
    assert TTL_S / 6 <= took_s <= TTL_S / 6 + TTL_S / 12


@virtual
async def test_one_renewal_at_a_time_is_under_way(world: World) -> None:
    process = world.process()
    await relied_on(process)
    under_way = most = 0
    renew = process.network.renew

    async def counting(lease_id: str, *, timeout_s: float) -> float:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await renew(lease_id, timeout_s=timeout_s)
        finally:
            under_way -= 1

    process.network.renew = counting  # type: ignore[method-assign]
    process.network.inject(Fault.delay_reply(2.0), on="renew", times=20)
    asking = [asyncio.create_task(process.keeper.fresh()) for _ in range(20)]
    for _ in range(30):
        asking.append(asyncio.create_task(process.keeper.fresh()))
        await world.pass_time(0.3)
    await asyncio.wait_for(asyncio.gather(*asking), timeout=30)
    assert most == 1


@virtual
async def test_an_answer_after_its_time_out_does_not_count(world: World) -> None:
    process = world.process()
    await relied_on(process)
    deadline = process.keeper.belief.deadline
    # Applied at once, answered a moment too late, each time.
    process.network.inject(Fault.delay_reply(TTL_S / 6 + 0.01), on="renew", times=1000)
    await world.pass_time(TTL_S * 0.9)
    assert process.network.requests["renew"] >= 2
    assert process.keeper.belief.deadline == deadline


@virtual
async def test_a_slow_answer_counts_from_when_it_was_asked(world: World) -> None:
    process = world.process()
    await relied_on(process)
    process.network.inject(Fault.delay_reply(2.0), on="renew")
    await world.until(lambda: process.network.requests["renew"] == 1)
    sent_at = world.clock.now()
    before = process.keeper.belief.deadline
    await world.until(lambda: process.keeper.belief.deadline != before)
    deadline = process.keeper.belief.deadline
    assert deadline is not None
    assert sent_at.until(deadline) == pytest.approx(TTL_S - MARGIN_S, abs=0.02)


@virtual
async def test_a_store_that_is_unreachable_for_less_than_the_ttl_costs_nothing(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    for _ in range(10):
        await world.pass_time(TTL_S / 3)
        process.network.go_down()
        await world.pass_time(TTL_S / 2)
        process.network.come_up()
    assert listener.told == []


@virtual
async def test_someone_in_need_hurries_the_renewal(world: World) -> None:
    process = world.process()
    await relied_on(process)
    await process.keeper.fresh()
    assert process.network.requests["renew"] == 1
    await world.pass_time(1)
    assert process.network.requests["renew"] == 1


@virtual
async def test_whoever_needs_a_fresh_lease_is_not_put_off_with_the_one_that_is_there(world: World) -> None:
    process = world.process()
    await relied_on(process)
    process.network.go_down()
    waiting = asyncio.create_task(process.keeper.fresh())
    await world.pass_time(1)
    process.keeper.check_deadline()
    await world.pass_time(1)
    assert process.keeper.belief.trusted(world.clock.now())
    assert not waiting.done()
    process.network.come_up()
    await asyncio.wait_for(waiting, timeout=5)


# The deadline.


@virtual
async def test_when_the_deadline_passes_everyone_is_told_once_whatever_comes_later(world: World) -> None:
    process = world.process()
    listeners = [await relied_on(process) for _ in range(3)]
    epoch = process.keeper.belief.epoch
    process.network.go_down()
    took_s = await world.until(lambda: bool(listeners[0].told))
    assert took_s < TTL_S - MARGIN_S + 0.02
    assert not process.keeper.belief.trusted(world.clock.now())
    process.network.come_up()
    await world.pass_time(TTL_S)
    assert process.keeper.belief.epoch > epoch
    for listener in listeners:
        assert listener.told[0] == TrustEnded(LossReason.DEADLINE, lease_gone=False)
        assert [event.reason for event in listener.told].count(LossReason.DEADLINE) == 1


@virtual
async def test_a_renewal_after_the_deadline_revives_the_lease_but_no_epoch(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    # The store knows the lease longer than its holder may trust it: only this network is slow.
    process.network.stall_watches()
    epoch, lease_id = process.keeper.belief.epoch, process.keeper.belief.lease_id
    process.network.plan = lambda request: Fault.lose_reply() if request.kind == "renew" else None
    await world.until(lambda: bool(listener.told), limit_s=TTL_S)
    process.network.plan = None
    await world.until(lambda: process.keeper.belief.trusted(world.clock.now()))
    assert process.keeper.belief.lease_id == lease_id
    assert process.keeper.belief.epoch == epoch + 1


@virtual
async def test_a_suspend_past_the_deadline_is_seen_at_the_first_look(world: World) -> None:
    process = world.process()
    await relied_on(process)
    world.clock.suspend(TTL_S)
    assert not process.keeper.belief.trusted(world.clock.now())


@virtual
async def test_needing_a_lease_while_the_store_is_down_does_not_spin(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    process.network.go_down()
    await world.until(lambda: bool(listener.told))
    waiting = asyncio.create_task(process.keeper.fresh())
    before = process.network.requests["renew"]
    await world.pass_time(10)
    assert not waiting.done()
    assert process.network.requests["renew"] - before < 30
    process.network.come_up()
    await asyncio.wait_for(waiting, timeout=3)


# Leases that the store does not know any more.


@virtual
async def test_a_lease_revoked_by_others_before_its_deadline_is_revoked(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    lease_id = process.keeper.belief.lease_id
    assert lease_id is not None
    await world.store.revoke(lease_id, timeout_s=1)
    await world.until(lambda: bool(listener.told), limit_s=TTL_S / 3 + 0.1)
    assert listener.told == [TrustEnded(LossReason.REVOKED, lease_gone=True)]
    assert process.keeper.belief.ended is LossReason.REVOKED


@virtual
async def test_a_lease_that_ran_out_is_expired(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    process.network.go_down()
    await world.pass_time(2 * TTL_S)
    process.network.come_up()
    await world.until(lambda: len(listener.told) == 2)
    assert listener.told[1] == TrustEnded(LossReason.EXPIRED, lease_gone=True)


@virtual
async def test_after_a_loss_the_next_need_grants_another_lease(world: World) -> None:
    process = world.process()
    await relied_on(process)
    lost = process.keeper.belief.lease_id
    assert lost is not None
    process.keeper.unknown_to_store(lost)
    await process.keeper.fresh()
    assert process.keeper.belief.lease_id not in (None, lost)


@virtual
async def test_a_lease_lost_between_two_renewals_is_not_renewed(world: World) -> None:
    process = world.process()
    await relied_on(process)
    lost = process.keeper.belief.lease_id
    assert lost is not None
    process.keeper.unknown_to_store(lost)
    await world.pass_time(2 * TTL_S)
    assert process.network.requests["renew"] == 0


@virtual
async def test_what_is_said_of_an_earlier_lease_does_not_touch_the_present_one(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    process.keeper.unknown_to_store("another")
    assert listener.told == []


# Not needed any more.


@virtual
async def test_a_lease_that_nobody_needs_is_given_back_after_a_ttl(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    lease_id = process.keeper.belief.lease_id
    await world.store.transact([], [Put("x", b"", lease_id)], timeout_s=1)
    listener.leave()
    await world.pass_time(TTL_S * 0.9)
    assert await world.keys() == ["x"]
    await world.pass_time(TTL_S / 2)
    assert await world.keys() == []
    assert process.network.requests["revoke"] == 1
    assert process.keeper.belief.lease_id is None


@virtual
async def test_whoever_comes_back_within_a_ttl_finds_the_lease_in_hand(world: World) -> None:
    process = world.process()
    for _ in range(5):
        listener = await relied_on(process)
        listener.leave()
        await world.pass_time(TTL_S * 0.9)
    assert process.network.requests["grant"] == 1


# Tidying.


async def left_behind(world: World, process: Process, *, id: str = "gone") -> Remains:
    """A candidate key on the lease that nobody owns any more."""
    keys = Keys("reports")
    lease_id = process.keeper.belief.lease_id
    assert lease_id is not None
    await world.store.transact([], [Put(keys.candidate(id), b"{}", lease_id)], timeout_s=1)
    return Remains(keys, id, lease_id, give_up_at=world.clock.now().plus(2 * TTL_S))


@virtual
async def test_remains_are_removed_at_once(world: World) -> None:
    process = world.process()
    await relied_on(process)
    process.keeper.disown(await left_behind(world, process))
    await world.pass_time(0.01)
    assert await world.keys("reports") == []


@virtual
async def test_remains_that_come_up_while_others_are_removed_need_not_wait_for_a_renewal(world: World) -> None:
    process = world.process()
    await relied_on(process)
    first, second = await left_behind(world, process, id="a"), await left_behind(world, process, id="b")
    process.network.inject(Fault.delay_reply(0.1), on="transact")
    process.keeper.disown(first)
    await world.pass_time(0.05)
    process.keeper.disown(second)
    await world.pass_time(0.1)
    assert await world.keys("reports") == []


@virtual
async def test_remains_are_removed_after_the_next_renewal_if_the_store_was_down(world: World) -> None:
    process = world.process()
    await relied_on(process)
    remains = await left_behind(world, process)
    process.network.inject(Fault.refuse(), on="transact")
    process.keeper.disown(remains)
    await world.pass_time(1)
    assert await world.keys("reports") != []
    await world.until(lambda: process.network.requests["renew"] == 1)
    await world.pass_time(0.01)
    assert await world.keys("reports") == []


@virtual
async def test_remains_that_cannot_be_settled_within_two_ttls_cost_the_lease(world: World) -> None:
    process = world.process()
    listener = await relied_on(process)
    remains = await left_behind(world, process)
    process.network.inject(Fault.refuse(), on="transact", times=10_000)
    process.keeper.disown(remains)
    await world.pass_time(1.9 * TTL_S)
    assert listener.told == []
    await world.pass_time(TTL_S)
    assert [event.lease_gone for event in listener.told] == [True]
    assert await world.keys("reports") == []


@virtual
async def test_a_new_candidacy_takes_back_what_the_old_one_left(world: World) -> None:
    process = world.process()
    await relied_on(process)
    remains = await left_behind(world, process)
    process.network.inject(Fault.refuse(), on="transact")
    process.keeper.disown(remains)
    await world.pass_time(0.1)
    taken = await process.keeper.take_back(Keys("reports"), "gone")
    assert taken is not None
    assert taken.lease_id == remains.lease_id
    await world.pass_time(TTL_S)
    assert await world.keys("reports") == ["reports/candidates/gone"]


# Closing.


@virtual
async def test_closing_gives_the_lease_back(world: World) -> None:
    process = world.process()
    await relied_on(process)
    await left_behind(world, process)
    await process.keeper.aclose(timeout_s=5)
    assert await world.keys() == []


@pytest.mark.parametrize("timeout_s", [0.2, 5.0])
@virtual
async def test_closing_ends_in_time_though_the_store_hangs(world: World, timeout_s: float) -> None:
    process = world.process()
    await relied_on(process)
    process.network.go_down(silent=True)
    await world.pass_time(TTL_S / 2)
    began = world.clock.now()
    await process.keeper.aclose(timeout_s=timeout_s)
    assert world.clock.now().boot_s - began.boot_s <= timeout_s


@virtual
async def test_closing_releases_whoever_waits_for_a_lease(world: World) -> None:
    process = world.process()
    process.network.go_down()
    waiting = asyncio.create_task(process.keeper.fresh())
    await world.pass_time(1)
    await process.keeper.aclose(timeout_s=1)
    with pytest.raises(ConfigError, match="closed"):
        await asyncio.wait_for(waiting, timeout=0.1)
    with pytest.raises(ConfigError, match="closed"):
        await process.keeper.fresh()
