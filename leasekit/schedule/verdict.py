"""What became of a run, and how its worker stops it and tells of it: what threads and tasks have in common."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from leasekit.core.records import RequestRecord
from leasekit.errors import FencingRejected, LeadershipLost
from leasekit.leadership import LeadershipBase
from leasekit.schedule.claims import STOPPED_HERE
from leasekit.schedule.records import Outcome
from leasekit.schedule.times import format_slot

if TYPE_CHECKING:
    from leasekit.schedule import aio, slots

_log = logging.getLogger("leasekit")

NEVER_BEGAN = "stopped before it began"
"""Said of a run that was claimed, and given back without its work having begun."""
DETAIL_LENGTH = 200
"""Characters of an error that are kept with the slot: all of it is in the log."""


class Exiting(Exception):
    """A job wants the process to end (SystemExit, KeyboardInterrupt), said in a way that an event loop can carry."""

    def __init__(self, wanted: BaseException) -> None:
        super().__init__(repr(wanted))
        self.wanted = wanted


def verdict(leadership: LeadershipBase, error: BaseException | None) -> tuple[Outcome, str | None]:
    """What became of a run that ended with this error, or (None) without one.

    Whatever is raised once the leadership is over is how the run was stopped, and says nothing of the job itself.
    """
    if (reason := leadership.reason) is not None:
        return Outcome.LOST, reason.value
    match error.wanted if isinstance(error, Exiting) else error:
        case None:
            return Outcome.DONE, None
        case LeadershipLost(election=leadership.election, token=leadership.token) as loss:
            return Outcome.LOST, loss.reason.value
        case FencingRejected(token=leadership.token) as refused:
            return Outcome.LOST, f"its token was refused, {refused.highest} has been seen"
        case Exception() | SystemExit() as failure:
            return Outcome.FAILED, describe(failure)
        case other:  # an interrupt, a cancellation: not the job's own doing
            return Outcome.LOST, type(other).__name__


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return shortened(" ".join(text.split()))


def shortened(detail: str) -> str:
    """As much of it as is kept with the slot."""
    return detail if len(detail) <= DETAIL_LENGTH else detail[: DETAIL_LENGTH - 3] + "..."


def ask_to_stop(leadership: LeadershipBase) -> None:
    """Have the work under this leadership stopped in the way of its stop policy, as an operator's `resign` would.

    The leadership is let go of once the work has ended, not before.
    """
    if leadership.valid:
        leadership.tenure.ask(RequestRecord(leadership.token, STOPPED_HERE, None))


def is_forked(leadership: LeadershipBase) -> bool:
    """Whether this is a fork of the process that runs the slot: then the parent alone writes its outcome."""
    return leadership._pid != os.getpid()


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
