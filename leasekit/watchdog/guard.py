"""leasekit's side of the watchdog: starting it, talking to it, and taking its place should it die."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import leasekit
from leasekit.clock import SYSTEM_CLOCK, Instant
from leasekit.errors import ConfigError
from leasekit.suspending import suspend_group
from leasekit.watchdog import processes, terminal
from leasekit.watchdog.messages import (
    Begin,
    Channel,
    Deadline,
    Ended,
    Forward,
    Message,
    NotStarted,
    Resume,
    Started,
    Stop,
    Suspended,
)
from leasekit.watchdog.supervision import SLEEP_MAX_S, kill_lead_s, stand_in_lead_s

__all__ = ["Died", "End", "Ended", "Guard", "NotStarted"]

# A watchdog that has not reported an end this long after it was seen to be overdue, or not gone after its report, is
# stuck. Counted from the look and not from the deadline: after a pause of the whole machine both processes are late.
WATCHDOG_LATE_S = 2.0
LOOK_AGAIN_S = 0.01

# `-I`: nothing from the working directory or PYTHONPATH can stand in for a module. `-S`: half the start-up time.
_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from leasekit.watchdog.process import main; main(sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class Died:
    """The watchdog is gone without having told of an end; the command's processes were killed."""


End = Ended | NotStarted | Died


class Guard:
    """A command under a watchdog, which stands by until `begin`.

    Then ask `step` what happened, whenever `fileno` is readable, until it answers an end; `close` it after that.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None,
        *,
        ttl_s: float,
        grace_s: float,
        adopt: bool = True,
    ) -> None:
        """Start the watchdog.

        `ttl_s`: of the lease, which decides how long before its deadline the command is killed.
        `adopt`: whether this process exists for the command alone, so that it may take in orphans, stop when the command
        is suspended, hand its terminal over, and go before other processes to kill it. A user's program does none of
        that for the sake of one job.
        """
        if sys.platform == "linux" and not Path("/proc/self/stat").exists():
            raise ConfigError("/proc", "is not mounted; the watchdog needs it to find what a command leaves behind")
        self._command = command
        self._environment = None if environment is None else dict(environment)
        self._ttl_s = ttl_s
        self._grace_s = grace_s
        self._adopt = adopt
        if adopt:
            # Should the watchdog die, the command is handed to this process and not to init.
            processes.adopt_orphans()
        self._group: int | None = None
        self._begun = False
        self._deadline = SYSTEM_CLOCK.now()
        self._overdue_since: Instant | None = None
        self._boot()

    def _boot(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            package_root = Path(leasekit.__file__).parent.parent
            timing = [str(self._grace_s), str(kill_lead_s(self._ttl_s))]
            arguments = [str(package_root), str(theirs.fileno()), str(os.getpid()), *timing, *self._command]
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, *arguments],
                env=self._environment,
                # What the shell opened for the command is passed on, as env(1) and timeout(1) do.
                close_fds=False,
                # A group of its own: a signal to leasekit's whole group must not hit the watchdog as well.
                process_group=0,
            )
        self._channel = Channel(ours)

    def begin(self, deadline: Instant, *, token: int | None = None) -> None:
        """Have the command started, with `token` in its environment. Once."""
        if self._process.poll() is not None:  # somebody killed it while it stood by
            self._channel.close()
            self._boot()
        self._begun = True
        self._deadline = deadline
        foreground = self._adopt and terminal.to_be_handed_over()
        self._channel.send(Begin(deadline, foreground, token))

    @property
    def watchdog_pid(self) -> int:
        """The watchdog's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """For poll()."""
        return self._channel.fileno()

    def extend(self, deadline: Instant) -> None:
        """Name a later deadline; an earlier one is no news."""
        if self._deadline.until(deadline) > 0:
            self._deadline = deadline
            self._channel.send(Deadline(deadline))

    def forward(self, signal_number: int) -> None:
        """Signal the command's process group."""
        self._channel.send(Forward(signal_number))

    def stop(self) -> None:
        """End the command: TERM now, KILL after the grace."""
        self._channel.send(Stop())

    def resume(self) -> None:
        """Continue a suspended command, with the terminal if leasekit holds it."""
        self._channel.send(Resume(terminal.in_foreground()))

    def sleep_s(self) -> float:
        """How long `step` may be put off if nothing can be read, in seconds: at most 0.1."""
        left_s = SYSTEM_CLOCK.now().until(self._deadline) - stand_in_lead_s(self._ttl_s)
        return min(max(left_s, LOOK_AGAIN_S), SLEEP_MAX_S)

    def step(self) -> End | None:
        """Hear what the watchdog has to say, and answer the end of the command once it has come.

        Afterwards nothing of the command lives. Kills the command itself when the watchdog is dead, or has let the
        deadline come near (stopped by somebody, say).
        """
        for message in self._channel.receive():
            end = self._hear(message)
            if end is not None:
                self._let_go()
                return end
        if not self._channel.open:
            self._kill_orphans()
            self._let_go()
            return Died()
        self._stand_in()
        return None

    def _stand_in(self) -> None:
        """Kill what should be dead by now: the watchdog may have been stopped, too.

        The command is not reaped yet, whatever has become of it: the watchdog waits with that until this side closes
        the channel.
        """
        now = SYSTEM_CLOCK.now()
        left_s = now.until(self._deadline)
        if self._adopt and left_s <= self._grace_s + kill_lead_s(self._ttl_s):
            # The command is being told to stop, and this process may be needed in a moment.
            processes.hurry()
        if left_s > stand_in_lead_s(self._ttl_s):
            return
        # Stopped before it could name the command's group, the watchdog goes along with all that is below it.
        processes.kill(self._group or self._process.pid, self._process.pid)
        self._overdue_since = self._overdue_since or now
        if now.reached(self._overdue_since.plus(WATCHDOG_LATE_S)):
            self._process.kill()

    def _hear(self, message: Message) -> End | None:
        match message:
            case Started(pid):
                self._group = pid
            case Suspended(number):
                self._suspended(number)
            case Ended() | NotStarted():
                return message
        return None

    def _suspended(self, signal_number: int) -> None:
        """The command was stopped: let it have the terminal if it wants that, or stop along with it until continued."""
        wants_terminal = signal_number in (signal.SIGTTIN, signal.SIGTTOU)
        if not self._adopt:
            return
        if not (wants_terminal and terminal.in_foreground()):
            if terminal.holder() is None:
                return  # no job control here: whoever stopped it will continue it
            self._take_terminal_back()
            suspend_group()
        self.resume()

    def _take_terminal_back(self) -> None:
        if self._group is not None and terminal.holder() == self._group:
            terminal.give(os.getpgrp())

    def _kill_orphans(self) -> None:
        """Kill what a dead watchdog has left: all that was handed to this process, or else the command's group."""
        self._process.kill()
        self._process.wait()
        if self._group is None and not self._adopt:
            return
        if self._adopt:
            processes.hurry()
        group, ancestor = self._group or self._process.pid, os.getpid() if self._adopt else None
        while True:
            family = processes.look(group, ancestor)
            if not (family.anyone_left or (self._adopt and processes.has_living_children(os.getpid()))):
                break
            # Its id may be another's by now if nobody of the group is left.
            processes.kill(group if family.group_alive else None, ancestor)
            select.select([], [], [], LOOK_AGAIN_S)
            if self._adopt:
                processes.reap_adopted(family, os.getpid())
        if self._adopt:
            processes.reap_adopted(family, os.getpid())

    def _let_go(self) -> None:
        self._take_terminal_back()
        self._channel.close()

    def close(self) -> None:
        """Wait for the watchdog to be gone; one that stands by is ended. After `begin`, only when the end has come.

        A moment that nobody else needs to wait for: the command is gone already.
        """
        if not self._begun:
            self._process.kill()
            self._channel.close()
        elif self._channel.open:
            return
        try:
            self._process.wait(WATCHDOG_LATE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
