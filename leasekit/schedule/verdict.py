"""What became of a run, and how its worker stops it and tells of it: what threads and tasks have in common."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from leasekit.core.records import RequestRecord
from leasekit.errors import FencingRejected, LeadershipLost, LossReason
from leasekit.leadership import LeadershipBase
from leasekit.schedule.records import Outcome
from leasekit.schedule.times import format_slot

if TYPE_CHECKING:
    from leasekit.schedule import aio, slots

_log = logging.getLogger("leasekit")

DETAIL_MAX = 300
"""Characters of an error that are kept with the slot: all of it is in the log."""


class Exiting(Exception):
    """A job wants the process to end (SystemExit, KeyboardInterrupt), said in a way that an event loop can carry."""

    def __init__(self, wanted: BaseException) -> None:
        super().__init__(repr(wanted))
        self.wanted = wanted


def verdict(leadership: LeadershipBase, error: BaseException | None) -> tuple[Outcome, str | None]:
    """What became of a run whose job ended with this error, or (None) returned while it still led.

    Whatever a job raises once its leadership is over is how it was stopped, and says nothing of the job itself.
    """
    if error is None:
        return Outcome.DONE, None
    error = error.wanted if isinstance(error, Exiting) else error
    own_loss = isinstance(error, LeadershipLost | FencingRejected) and error.token == leadership.token
    if leadership.valid and not own_loss:
        cancelled = isinstance(error, asyncio.CancelledError)
        return Outcome.FAILED, "cancelled" if cancelled else describe(error)
    if isinstance(error, FencingRejected):
        return Outcome.LOST, f"token {error.token} was refused, {error.highest} has been seen"
    reason = error.reason if isinstance(error, LeadershipLost) else leadership.reason
    return Outcome.LOST, f"leadership {reason.value}" if reason is not None else None


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = " ".join(text.split())
    return text if len(text) <= DETAIL_MAX else text[: DETAIL_MAX - 3] + "..."


def ask_to_stop(leadership: LeadershipBase) -> None:
    """Have the work under this leadership stopped in the way of its stop policy, as an operator's `resign` would.

    The leadership is let go of once the work has ended, not before.
    """
    if leadership.valid:
        leadership.tenure.ask(RequestRecord(leadership.token, "resign", None))


def is_forked(leadership: LeadershipBase) -> bool:
    """Whether this is a fork of the process that runs the slot: then the parent alone writes its outcome."""
    return leadership.reason is LossReason.FORKED


def tell(run: slots.Run | aio.Run, outcome: Outcome, detail: str | None, error: BaseException | None) -> None:
    """Log what became of a run."""
    what = f"{run.name!r}, slot {format_slot(run.slot)}, attempt {run.attempt}, token {run.token}"
    match outcome:
        case Outcome.FAILED:
            _log.error("job %s failed: %s", what, detail, exc_info=error)
        case Outcome.LOST:
            _log.warning("job %s was stopped: %s", what, detail)
        case _:
            _log.info("job %s: %s", what, outcome.value)
