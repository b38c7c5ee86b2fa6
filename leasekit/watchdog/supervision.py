"""When the command of `leasekit run` is told to stop, and when it is killed: decided here, without doing any of it.

The watchdog tells what happened and asks `due`; the answer depends on nothing but that and the given instants.

* A grace (and the time that the kill takes) before the deadline without a renewal, or as soon as the leadership is lost or leasekit is gone: TERM.
* After `grace`, and by the deadline at the latest: KILL. A renewal that comes after TERM changes nothing: the command
  has been told to stop.
* A command that ends by itself leaves nobody behind: what it started gets TERM, and KILL after `grace`, in the same way.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from leasekit.clock import Instant

# The kill begins a little before the deadline, since a busy machine wakes the watchdog late, and the processes are many:
# by this share of the ttl, as long as that is less than enough.
KILL_LEAD_SHARE = 0.05
KILL_LEAD_MAX_S = 0.1
# If its watchdog has not told by then that it is done, leasekit does it: this share of that time before the deadline.
STAND_IN_SHARE = 0.6
# poll() does not count suspend: after a longer sleep a deadline could have passed unseen.
SLEEP_MAX_S = 0.1
# A kill is repeated this often until nobody is left, since a process can fork while its relatives are being listed.
KILL_AGAIN_S = 0.01
# Who lives on for longer cannot be killed (another user's, or stuck in the kernel): no use in burning a core over it.
KILL_PATIENCE_S = 1.0


class Action(enum.Enum):
    """What the watchdog has to do now."""

    TERMINATE = enum.auto()
    KILL = enum.auto()
    FINISH = enum.auto()
    """The command and all that it started are gone."""


class Cause(enum.StrEnum):
    """Why the processes were stopped, or that they were not."""

    EXITED = "exited"
    """The command ended by itself."""
    DEADLINE = "deadline"
    """The deadline came near without a renewal, or has passed."""
    LOST = "lost"
    """leasekit said that the leadership is lost or given up."""
    ORPHANED = "orphaned"
    """leasekit itself is gone."""


def kill_lead_s(ttl_s: float) -> float:
    """How long before the deadline the watchdog kills, in seconds."""
    return min(KILL_LEAD_SHARE * ttl_s, KILL_LEAD_MAX_S)


def stand_in_lead_s(ttl_s: float) -> float:
    """How long before the deadline leasekit kills what its watchdog has not (it may have been stopped), in seconds."""
    return STAND_IN_SHARE * kill_lead_s(ttl_s)


@dataclass(slots=True)
class Supervision:
    """One command under one leadership. `grace_s` is the time between TERM and KILL, in seconds, from 0 up.

    `lead_s` is the time between KILL and the deadline.
    """

    grace_s: float
    lead_s: float
    deadline: Instant
    cause: Cause = field(default=Cause.EXITED, init=False)
    returncode: int | None = field(default=None, init=False)
    _terminate: bool = field(default=False, init=False)
    _terminated_at: Instant | None = field(default=None, init=False)

    def may_start(self, now: Instant) -> bool:
        """Whether there is time left to start the command at all."""
        return now.until(self.deadline) > self.grace_s + self.lead_s

    def renewed(self, deadline: Instant) -> None:
        """The lease was renewed: the deadline is now this one."""
        self.deadline = deadline

    def stop(self, cause: Cause) -> None:
        """The command has to end, whatever the deadline. The first cause stands."""
        if not self._terminate and self.returncode is None:
            self.cause = cause
        self._terminate = True

    def exited(self, returncode: int, now: Instant) -> None:
        """The command itself (not yet what it started) has ended, with this `subprocess` return code.

        Seen only after the deadline, it may have been killed by leasekit, and nobody can vouch that it ended in time.
        """
        if now.reached(self.deadline):
            self.stop(Cause.DEADLINE)
        self.returncode = returncode

    def due(self, now: Instant, *, anyone_left: bool) -> Action | None:
        """What to do now. `anyone_left`: whether any process of the command still lives.

        TERMINATE is answered once, KILL until nobody is left, FINISH when the command has exited and nobody is left.
        """
        if self.returncode is not None and not anyone_left:
            return Action.FINISH
        if self.returncode is not None:
            self.stop(Cause.EXITED)
        elif now.until(self.deadline) <= self.grace_s + self.lead_s:
            self.stop(Cause.DEADLINE)
        if self._terminated_at is None:
            if not self._terminate and not self._kill_due(now):
                return None
            self._terminated_at = now
            return Action.TERMINATE
        return Action.KILL if self._kill_due(now) else None

    def sleep_s(self, now: Instant) -> float:
        """How long the watchdog may sleep if nothing happens, in seconds: 0 to `SLEEP_MAX_S`."""
        until_kill_s = now.until(self.deadline) - self.lead_s
        if self._terminated_at is None:
            until_next_s = until_kill_s - self.grace_s
        else:
            until_next_s = min(until_kill_s, self.grace_s + now.until(self._terminated_at))
            if until_next_s <= 0:
                return KILL_AGAIN_S if until_next_s > -KILL_PATIENCE_S else SLEEP_MAX_S
        return min(max(until_next_s, 0.0), SLEEP_MAX_S)

    def _kill_due(self, now: Instant) -> bool:
        if now.until(self.deadline) <= self.lead_s:
            return True
        return self._terminated_at is not None and now.reached(self._terminated_at.plus(self.grace_s))
