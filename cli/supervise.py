"""From elected to released: the command under its watchdog, renewals passed on, requests and losses obeyed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from leasekit.cli import exit_codes
from leasekit.cli.report import Report
from leasekit.cli.session import Session, note
from leasekit.cli.signals import Signals
from leasekit.cli.supervised import Supervised, why_not_started
from leasekit.clock import SYSTEM_CLOCK
from leasekit.core.records import RequestRecord, utc
from leasekit.election import RELEASE_TIMEOUT_S, ElectionCore
from leasekit.errors import LeasekitError, LossReason
from leasekit.tenure import Tenure
from leasekit.watchdog.guard import Died, End, Guard
from leasekit.watchdog.messages import Ended, NotStarted
from leasekit.watchdog.supervision import Cause

if TYPE_CHECKING:
    from leasekit.cli.run import Terms


def run_elected(
    store: Session,
    core: ElectionCore,
    tenure: Tenure,
    signals: Signals,
    terms: Terms,
    guard: Guard,
    report: Report,
) -> int:
    """Have `guard` run the command while `tenure` lasts; release it when nobody of the command is left.

    Returns the exit code.
    """
    report.token = tenure.token
    report.started = utc(SYSTEM_CLOCK.wall_s())
    supervised = Supervised(guard, tenure, signals.wake)
    supervised.begin()
    while (end := supervised.step()) is None:
        signals.wait([supervised.fileno()], supervised.sleep_s())
        for number in signals.take():
            supervised.pass_on(number)
    report.ended = utc(SYSTEM_CLOCK.wall_s())
    # Whether the leadership was lost is settled before it is given up.
    lost = tenure.loss
    _release(store, core, tenure, supervised.requests)
    return _conclude(end, lost, supervised, terms, report)


def make_guard(core: ElectionCore, terms: Terms, environment: Mapping[str, str]) -> Guard:
    """The watchdog of the command, standing by."""
    own = {"LEASEKIT_ELECTION": core.name, "LEASEKIT_ID": core.id}
    return Guard(terms.command, {**environment, **own}, ttl_s=terms.ttl_s, grace_s=terms.grace_s)


def _release(store: Session, core: ElectionCore, tenure: Tenure, requests: list[RequestRecord]) -> None:
    """Let go, as was asked for. Nobody works under this leadership any more."""
    if tenure.loss is not None:
        return
    to = next((request.to for request in requests if request.action == "transfer"), None)
    if to is not None:
        with contextlib.suppress(LeasekitError):  # the candidate has left the queue: resign instead
            store.run(core.transfer(tenure, to, RELEASE_TIMEOUT_S))
    if tenure.loss is None:
        store.run(core.resign(tenure, RELEASE_TIMEOUT_S))


def _conclude(end: End, lost: LossReason | None, supervised: Supervised, terms: Terms, report: Report) -> int:
    """The exit code, told to people and to the report."""
    match end:
        case Ended(returncode, Cause.EXITED):
            report.outcome = "exited"
            return exit_codes.of_child(returncode)
        case NotStarted(error_number) if error_number:
            report.outcome = "not_started"
            code = exit_codes.of_failed_start(error_number)
            note(f"{terms.command[0]!r} {why_not_started(terms.command[0], error_number)}")
            return code
    report.outcome = "lost"
    if isinstance(end, Died):
        report.reason = "watchdog"
        note("the watchdog died, so the command was killed")
    else:
        report.reason = supervised.reason(lost)
        note(f"leadership of {terms.election!r} is over ({report.reason}); the command was stopped")
    return exit_codes.LOST
