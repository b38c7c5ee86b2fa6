"""When a command is told to stop and when it is killed, without any process."""

from __future__ import annotations

import pytest

from leasekit.cli import exit_codes
from leasekit.clock import Instant
from leasekit.core.lease import margin_s
from leasekit.testing import ManualClock
from leasekit.watchdog.supervision import (
    KILL_AGAIN_S,
    SLEEP_MAX_S,
    Action,
    Cause,
    Supervision,
    kill_lead_s,
    stand_in_lead_s,
)

GRACE_S = 2.0
TTL_S = 10.0
LEAD_S = 0.125  # exact in binary, as sums have to be here


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def supervision(clock: ManualClock) -> Supervision:
    return Supervision(grace_s=GRACE_S, lead_s=LEAD_S, deadline=clock.now().plus(TTL_S))


def due(supervision: Supervision, clock: ManualClock, *, anyone_left: bool = True) -> Action | None:
    return supervision.due(clock.now(), anyone_left=anyone_left)


def test_nothing_is_due_while_the_deadline_is_far(supervision: Supervision, clock: ManualClock) -> None:
    clock.advance(TTL_S - GRACE_S - 2 * LEAD_S)
    assert due(supervision, clock) is None


def test_term_comes_a_grace_before_the_deadline_and_kill_before_it(
    supervision: Supervision, clock: ManualClock
) -> None:
    clock.advance(TTL_S - GRACE_S - LEAD_S)
    assert due(supervision, clock) is Action.TERMINATE
    assert due(supervision, clock) is None
    clock.advance(GRACE_S)
    assert due(supervision, clock) is Action.KILL
    assert due(supervision, clock) is Action.KILL
    assert not clock.now().reached(supervision.deadline)
    assert supervision.cause is Cause.DEADLINE


def test_a_renewal_puts_both_off(supervision: Supervision, clock: ManualClock) -> None:
    clock.advance(TTL_S - GRACE_S - 1)
    supervision.renewed(clock.now().plus(TTL_S))
    clock.advance(TTL_S - GRACE_S - 1)
    assert due(supervision, clock) is None


def test_a_renewal_after_term_takes_nothing_back(supervision: Supervision, clock: ManualClock) -> None:
    clock.advance(TTL_S - GRACE_S)
    assert due(supervision, clock) is Action.TERMINATE
    supervision.renewed(clock.now().plus(TTL_S))
    assert due(supervision, clock) is None
    clock.advance(GRACE_S)
    assert due(supervision, clock) is Action.KILL


@pytest.mark.parametrize("cause", [Cause.LOST, Cause.ORPHANED])
def test_a_loss_means_term_at_once_and_kill_after_the_grace(
    supervision: Supervision, clock: ManualClock, cause: Cause
) -> None:
    supervision.stop(cause)
    assert due(supervision, clock) is Action.TERMINATE
    clock.advance(GRACE_S - 0.1)
    assert due(supervision, clock) is None
    clock.advance(0.2)
    assert due(supervision, clock) is Action.KILL
    assert supervision.cause is cause


def test_the_grace_after_a_loss_never_outlasts_the_deadline(supervision: Supervision, clock: ManualClock) -> None:
    clock.advance(TTL_S - GRACE_S - 0.5)
    supervision.stop(Cause.LOST)
    assert due(supervision, clock) is Action.TERMINATE
    supervision.renewed(clock.now().plus(1.0))
    clock.advance(1.0 - LEAD_S)
    assert due(supervision, clock) is Action.KILL


def test_the_first_cause_stands(supervision: Supervision, clock: ManualClock) -> None:
    supervision.stop(Cause.LOST)
    supervision.stop(Cause.ORPHANED)
    assert supervision.cause is Cause.LOST


def test_term_is_still_sent_when_the_deadline_has_passed_unseen(supervision: Supervision, clock: ManualClock) -> None:
    clock.advance(TTL_S + 60)
    assert due(supervision, clock) is Action.TERMINATE
    assert due(supervision, clock) is Action.KILL


def test_a_suspended_machine_kills_on_waking(supervision: Supervision, clock: ManualClock) -> None:
    clock.suspend(TTL_S)
    assert due(supervision, clock) is Action.TERMINATE
    assert due(supervision, clock) is Action.KILL


def test_a_slewed_clock_cannot_put_the_kill_off(supervision: Supervision, clock: ManualClock) -> None:
    clock.slew(-5.0)
    clock.advance(TTL_S)
    assert due(supervision, clock) is Action.TERMINATE
    assert due(supervision, clock) is Action.KILL


def test_a_command_that_ends_alone_is_finished_at_once(supervision: Supervision, clock: ManualClock) -> None:
    supervision.exited(3, clock.now())
    assert due(supervision, clock, anyone_left=False) is Action.FINISH
    assert supervision.cause is Cause.EXITED


def test_whom_a_command_leaves_behind_gets_term_then_kill(supervision: Supervision, clock: ManualClock) -> None:
    supervision.exited(0, clock.now())
    assert due(supervision, clock) is Action.TERMINATE
    assert due(supervision, clock) is None
    clock.advance(GRACE_S)
    assert due(supervision, clock) is Action.KILL
    assert due(supervision, clock, anyone_left=False) is Action.FINISH
    assert supervision.cause is Cause.EXITED


def test_a_loss_after_the_exit_changes_no_cause(supervision: Supervision, clock: ManualClock) -> None:
    supervision.exited(0, clock.now())
    supervision.stop(Cause.LOST)
    assert supervision.cause is Cause.EXITED


def test_an_end_that_is_seen_only_after_the_deadline_is_not_the_commands_own(
    supervision: Supervision, clock: ManualClock
) -> None:
    clock.advance(TTL_S)
    supervision.exited(-9, clock.now())
    assert due(supervision, clock, anyone_left=False) is Action.FINISH
    assert supervision.cause is Cause.DEADLINE


def test_nothing_is_finished_before_the_command_itself_has_exited(supervision: Supervision, clock: ManualClock) -> None:
    supervision.stop(Cause.LOST)
    assert due(supervision, clock) is Action.TERMINATE
    assert due(supervision, clock) is None
    supervision.exited(-15, clock.now())
    assert due(supervision, clock, anyone_left=False) is Action.FINISH
    assert supervision.cause is Cause.LOST


def test_with_no_grace_the_kill_follows_term_at_once(clock: ManualClock) -> None:
    supervision = Supervision(grace_s=0.0, lead_s=LEAD_S, deadline=clock.now().plus(TTL_S))
    supervision.stop(Cause.LOST)
    assert due(supervision, clock) is Action.TERMINATE
    assert due(supervision, clock) is Action.KILL


def test_a_command_is_not_started_with_less_than_its_grace_left(supervision: Supervision, clock: ManualClock) -> None:
    assert supervision.may_start(clock.now())
    clock.advance(TTL_S - GRACE_S)
    assert not supervision.may_start(clock.now())


def test_the_watchdog_sleeps_until_something_is_due_but_never_long(
    supervision: Supervision, clock: ManualClock
) -> None:
    assert supervision.sleep_s(clock.now()) == SLEEP_MAX_S
    clock.advance(TTL_S - GRACE_S - LEAD_S - 0.03)
    assert supervision.sleep_s(clock.now()) == pytest.approx(0.03)
    clock.advance(0.03)
    assert due(supervision, clock) is Action.TERMINATE
    clock.advance(GRACE_S - 0.05)
    assert supervision.sleep_s(clock.now()) == pytest.approx(0.05)
    clock.advance(0.05)
    assert supervision.sleep_s(clock.now()) == KILL_AGAIN_S
    clock.advance(2.0)
    assert supervision.sleep_s(clock.now()) == SLEEP_MAX_S, "who cannot be killed costs no core"


@pytest.mark.parametrize("ttl_s", [0.5, 1.0, 2.0, 15.0, 3600.0])
def test_leasekit_kills_before_the_deadline_but_after_its_watchdog_would_have(ttl_s: float) -> None:
    assert 0 < stand_in_lead_s(ttl_s) < kill_lead_s(ttl_s) <= 0.1
    # With the longest grace that may be asked for by default, a renewal still comes first.
    assert ttl_s / 3 + kill_lead_s(ttl_s) + margin_s(ttl_s) < ttl_s * 2 / 3


def test_decisions_depend_on_nothing_but_what_was_told() -> None:
    def verdicts() -> list[Action | None]:
        supervision = Supervision(grace_s=1.0, lead_s=LEAD_S, deadline=Instant(5.0, 5.0))
        return [supervision.due(Instant(t, t), anyone_left=True) for t in (0.0, 3.0, 4.0, 4.5, 5.0)]

    assert verdicts() == verdicts() == [None, None, Action.TERMINATE, None, Action.KILL]


@pytest.mark.parametrize(("returncode", "code"), [(0, 0), (3, 3), (255, 255), (-9, 137), (-15, 143)])
def test_the_exit_code_is_the_commands_own_or_128_and_the_signal(returncode: int, code: int) -> None:
    assert exit_codes.of_child(returncode) == code
