"""From elected to released: the command under its watchdog, renewals passed on, requests and losses obeyed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING

from leasekit.cli import exit_codes
from leasekit.cli.report import Report
from leasekit.cli.session import Session, note
from leasekit.cli.signals import Signals
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
    requests: list[RequestRecord] = []

    def on_request(request: RequestRecord) -> None:
        requests.append(request)
        signals.wake()

    tenure.on_request = on_request
    tenure.on_end(lambda _: signals.wake())
    report.started = utc(SYSTEM_CLOCK.wall_s())
    # If it is over already, the watchdog starts nothing.
    guard.begin(tenure.deadline or SYSTEM_CLOCK.now(), token=tenure.token)
    end = _watch_over(guard, tenure, signals, requests)
    report.ended = utc(SYSTEM_CLOCK.wall_s())
    # Whether the leadership was lost is settled before it is given up.
    lost = tenure.loss
    _release(store, core, tenure, requests)
    return _conclude(end, lost, requests, terms, report)


def make_guard(core: ElectionCore, terms: Terms, environment: Mapping[str, str]) -> Guard:
    """The watchdog of the command, standing by."""
    own = {"LEASEKIT_ELECTION": core.name, "LEASEKIT_ID": core.id}
    return Guard(terms.command, {**environment, **own}, ttl_s=terms.ttl_s, grace_s=terms.grace_s)


def _watch_over(guard: Guard, tenure: Tenure, signals: Signals, requests: list[RequestRecord]) -> End:
    """Until all of the command has ended: pass renewals, signals, requests and the loss on to the watchdog."""
    stopping = False
    while (end := guard.step()) is None:
        for number in signals.take():
            if number == signal.SIGCONT:
                guard.resume()
            else:
                guard.forward(number)
        if (deadline := tenure.deadline) is not None:
            guard.extend(deadline)
        if not stopping and (requests or tenure.loss is not None):
            stopping = True
            guard.stop()
        # Bounds also how stale the watchdog's deadline may be. No wait here may be longer: none of them counts suspend.
        signals.wait(guard.fileno(), guard.sleep_s())
    return end


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


def _conclude(end: End, lost: LossReason | None, requests: list[RequestRecord], terms: Terms, report: Report) -> int:
    """The exit code, told to people and to the report."""
    match end:
        case Ended(returncode, Cause.EXITED):
            report.outcome = "exited"
            return exit_codes.of_child(returncode)
        case NotStarted(error_number) if error_number:
            report.outcome = "not_started"
            code = exit_codes.of_failed_start(error_number)
            what = "was not found" if code == exit_codes.NOT_FOUND else "cannot be executed"
            note(f"{terms.command[0]!r} {what}")
            return code
    report.outcome = "lost"
    if isinstance(end, Died):
        report.reason = "watchdog"
        note("the watchdog died, so the command was killed")
    else:
        report.reason = _reason(lost, requests)
        note(f"leadership of {terms.election!r} is over ({report.reason}); the command was stopped")
    return exit_codes.LOST


def _reason(lost: LossReason | None, requests: list[RequestRecord]) -> str:
    if lost is not None:
        return lost.value
    if requests:
        return (LossReason.TRANSFERRED if requests[0].action == "transfer" else LossReason.RESIGNED).value
    # Stopped since the deadline came near; the renewal that came after all is of no use any more.
    return LossReason.DEADLINE.value
