"""The second process of `leasekit run`: the command's parent, and the holder of its deadline.

It reads no store and has no threads. Whatever becomes of leasekit (hangs, is stopped, is killed), the command's
process group gets TERM and then KILL by the last deadline that leasekit named. When is decided in `supervision`; this
shell does it. The command is not reaped before everybody is gone and leasekit has heard of it, so neither process can
ever signal a process group whose id was given to somebody else.

Started with `python -I -S`, so it may import nothing but the standard library and leasekit's own light modules.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from leasekit.clock import SYSTEM_CLOCK
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
from leasekit.watchdog.supervision import Action, Cause, Supervision

# They are meant for leasekit, which forwards them, or for the whole control group, the command included. Caught and
# not ignored, since a command inherits what is ignored.
_DISREGARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# What tells a program to end.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Watchdog:
    """One command from start to end."""

    def __init__(self, channel: Channel, parent: int, *, grace_s: float, lead_s: float) -> None:
        self._channel = channel
        self._parent = parent
        self._grace_s = grace_s
        self._lead_s = lead_s
        self._wakeup = _wake_on_signals()
        self._unheeded: list[Message] = []
        self._pid = 0

    def run(self, command: Sequence[str]) -> None:
        """Stand by; when told to, start the command, see it to its end, and tell leasekit."""
        processes.adopt_orphans()
        processes.signal_when_parent_dies(signal.SIGCHLD)
        begin = self._stand_by()
        if begin is None:
            return
        self._supervision = Supervision(self._grace_s, self._lead_s, begin.deadline)
        if not self._start(command, begin):
            return
        try:
            self._supervise()
        except BaseException:
            # Our own failure: nobody would hold the deadline any more.
            processes.kill(self._pid, os.getpid())
            raise
        if self._supervision.cause is Cause.ORPHANED:
            _say("leasekit itself is gone; its command was stopped")
        self._tell_the_end()

    def _stand_by(self) -> Begin | None:
        """Wait for the word to begin. None: leasekit is gone, or there is nothing to be done."""
        while True:
            match self._channel.receive():
                case [Begin() as begin, *rest]:
                    self._unheeded = rest
                    return begin
            if not self._channel.open or os.getppid() != self._parent:
                return None
            self._sleep(None)

    def _start(self, command: Sequence[str], begin: Begin) -> bool:
        # On a busy machine this process took a while to start: renewals since then count, and so does a loss.
        self._unheeded += self._channel.receive()
        for message in self._unheeded:
            if isinstance(message, Deadline):
                self._supervision.renewed(message.instant)
        lost = any(isinstance(message, Stop) for message in self._unheeded) or not self._channel.open
        if lost or not self._supervision.may_start(SYSTEM_CLOCK.now()) or os.getppid() != self._parent:
            self._channel.send(NotStarted(0))
            return False
        if begin.token is not None:
            os.environ["LEASEKIT_TOKEN"] = str(begin.token)
        try:
            # What else was open is passed on, as env(1) and timeout(1) do; the channel is not inheritable.
            # The command takes the terminal itself, before it is what it is to be: handed over later, with the CONT that
            # this needs, a Ctrl-Z typed in between would be undone.
            prepare = _take_terminal if begin.foreground else None
            self._process = subprocess.Popen(command, process_group=0, close_fds=False, preexec_fn=prepare)  # noqa: PLW1509 (no threads)
        except OSError as error:
            self._channel.send(NotStarted(error.errno or 0))
            return False
        self._pid = self._process.pid
        self._channel.send(Started(self._pid))
        return True

    def _supervise(self) -> None:
        supervision = self._supervision
        while True:
            self._listen()
            self._look_at_command()
            now = SYSTEM_CLOCK.now()
            match supervision.due(now, anyone_left=self._anyone_left()):
                case Action.FINISH:
                    return
                case Action.TERMINATE:
                    processes.hurry()
                    # A stopped process would not notice TERM before it is continued.
                    self._send(signal.SIGTERM)
                    self._send(signal.SIGCONT)
                    continue
                case Action.KILL:
                    processes.kill(self._pid, os.getpid())
            self._sleep(supervision.sleep_s(now))

    def _listen(self) -> None:
        unheeded, self._unheeded = self._unheeded, []
        for message in [*unheeded, *self._channel.receive()]:
            match message:
                case Deadline(instant):
                    self._supervision.renewed(instant)
                case Forward(signal_number):
                    self._send(signal_number)
                    if signal_number in _ENDING:
                        # As after our own TERM: whoever is told to end must not stay stopped.
                        self._send(signal.SIGCONT)
                case Stop():
                    self._supervision.stop(Cause.LOST)
                case Resume(foreground):
                    if foreground:
                        self._hand_over_terminal()
                    else:
                        self._send(signal.SIGCONT)
        if not self._channel.open or os.getppid() != self._parent:
            self._supervision.stop(Cause.ORPHANED)

    def _look_at_command(self) -> None:
        """Note whether the command has exited or was suspended; reap what was handed to this process meanwhile."""
        if self._supervision.returncode is not None:
            return
        while (child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if child.si_pid == self._pid:
                exited = child.si_code == os.CLD_EXITED
                self._supervision.exited(child.si_status if exited else -child.si_status, SYSTEM_CLOCK.now())
                return
            os.waitpid(child.si_pid, 0)
        stopped = os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
        if stopped is not None:
            self._channel.send(Suspended(stopped.si_status))

    def _anyone_left(self) -> bool:
        """Whether any process of the command lives. The look at all processes is taken only after it has exited."""
        if self._supervision.returncode is None:
            return True
        family = processes.look(self._pid, os.getpid())
        processes.reap_adopted(family, os.getpid(), spare=self._pid)
        return family.anyone_left or processes.has_living_children(os.getpid())

    def _send(self, signal_number: int) -> None:
        # TERM reaches those who left the group, too; what a terminal would send is the group's alone.
        if signal_number == signal.SIGTERM:
            processes.look(self._pid, os.getpid()).send(signal_number)
        else:
            processes.Family(self._pid, (), group_alive=True).send(signal_number)

    def _hand_over_terminal(self) -> None:
        terminal.give(self._pid)
        # It may have been stopped already for reading the terminal from the background.
        self._send(signal.SIGCONT)

    def _sleep(self, timeout_s: float | None) -> None:
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if self._channel.open:
            poll.register(self._channel, select.POLLIN)
        poll.poll(None if timeout_s is None else timeout_s * 1000)
        _drain(self._wakeup)

    def _tell_the_end(self) -> None:
        returncode = self._supervision.returncode
        assert returncode is not None, "finished, so it has exited"
        self._channel.send(Ended(returncode, self._supervision.cause))
        # Until leasekit has heard it and closes its end, it may still signal the group: so the id stays taken.
        while self._channel.open:
            self._sleep(1.0)
            self._channel.receive()
        os.waitpid(self._pid, 0)
        self._process.returncode = returncode


def _take_terminal() -> None:
    terminal.give(os.getpid())


def _wake_on_signals() -> socket.socket:
    """A socket that becomes readable when a signal comes. Nothing else is done about signals."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _nothing)
    for number in _DISREGARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup: the command is to ignore it, too
            signal.signal(number, _nothing)
    return reader


def _nothing(signal_number: int, frame: FrameType | None) -> None:
    """Being woken is enough."""


def _drain(wakeup: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while wakeup.recv(4096):
            pass


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"leasekit: {text}\n".encode())


def main(arguments: Sequence[str]) -> None:
    """Arguments: socket number, leasekit's pid, then in seconds the grace and how long before the deadline KILL comes,
    then the command."""
    number, parent, grace, lead, *command = arguments
    end = socket.socket(fileno=int(number))
    end.set_inheritable(False)
    Watchdog(Channel(end), int(parent), grace_s=float(grace), lead_s=float(lead)).run(command)


if __name__ == "__main__":
    main(sys.argv[1:])
