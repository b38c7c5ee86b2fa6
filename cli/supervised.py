"""A command under its watchdog for as long as its leadership lasts: what `run` and `cron` have in common."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable

from leasekit.clock import SYSTEM_CLOCK
from leasekit.core.records import RequestRecord
from leasekit.errors import LossReason
from leasekit.tenure import Tenure
from leasekit.watchdog.guard import End, Guard


def why_not_started(program: str, error_number: int) -> str:
    """What is wrong with a program that could not be started."""
    if error_number != errno.ENOENT:
        return f"cannot be executed: {os.strerror(error_number)}"
    # The kernel says the same of a script as of the interpreter that its first line names.
    return "was not found" if shutil.which(program) is None else "cannot be executed: its interpreter was not found"


class Supervised:
    """Passes renewals, signals, requests and the loss on to the watchdog.

    Call `step` whenever `fileno` is readable, after `wake` was called, and `sleep_s` later at the latest, until it
    answers an end.
    """

    def __init__(self, guard: Guard, tenure: Tenure, wake: Callable[[], None]) -> None:
        self.guard = guard
        self.tenure = tenure
        self.requests: list[RequestRecord] = []
        """What operators have asked for."""
        self.stopping = False
        """Whether the command was told to end from here; the watchdog may have told it, too."""
        self._wake = wake

    def begin(self) -> None:
        """Have the command started. If the leadership is over already, the watchdog starts nothing."""
        self.tenure.on_request = self._on_request
        self.tenure.on_end(lambda _: self._wake())
        self.guard.begin(self.tenure.deadline or SYSTEM_CLOCK.now(), token=self.tenure.token)

    def pass_on(self, number: int) -> None:
        """Hand a signal to the command."""
        if number == signal.SIGCONT:
            self.guard.resume()
        else:
            self.guard.forward(number)

    def stop(self) -> None:
        """End the command: TERM now, KILL after the grace."""
        if not self.stopping:
            self.stopping = True
            self.guard.stop()

    def step(self) -> End | None:
        """The end, once it has come: then nothing of the command lives."""
        if (end := self.guard.step()) is not None:
            return end
        if (deadline := self.tenure.deadline) is not None:
            self.guard.extend(deadline)
        if self.requests or self.tenure.loss is not None:
            self.stop()
        return None

    def fileno(self) -> int:
        """For poll()."""
        return self.guard.fileno()

    def sleep_s(self) -> float:
        """How long `step` may be put off, in seconds.

        It bounds how stale the watchdog's deadline may be. No wait may be longer: none of them counts suspend.
        """
        return self.guard.sleep_s()

    def _on_request(self, request: RequestRecord) -> None:
        self.requests.append(request)
        self._wake()

    def reason(self, lost: LossReason | None) -> str:
        """Why a command was stopped under this leadership, of which `lost` was the state as the command had ended."""
        if lost is not None:
            return lost.value
        if self.requests:
            return (LossReason.TRANSFERRED if self.requests[0].action == "transfer" else LossReason.RESIGNED).value
        # Stopped since the deadline came near; the renewal that came after all is of no use any more.
        return LossReason.DEADLINE.value
