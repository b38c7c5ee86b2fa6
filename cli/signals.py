"""Signals to `leasekit run`: while it waits they end it, while its command runs they are passed on."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Self

from leasekit.suspending import suspend
from leasekit.watchdog import terminal

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# Typed while leasekit holds the terminal; or the shell continues a job.
_JOB_CONTROL = (signal.SIGTSTP, signal.SIGCONT)


class Interrupted(BaseException):
    """A signal came while waiting. No Exception, so that nothing on the way takes it for a failed attempt."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Signals:
    """Catches signals while entered. What was ignored stays ignored, for the command as well (nohup)."""

    def __init__(self) -> None:
        self._came: deque[int] = deque()
        self._interrupting = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*FORWARDED, *(_JOB_CONTROL if terminal.holder() is not None else ())):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._catch)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, action in self._previous.items():
            signal.signal(number, action)  # type: ignore[arg-type]  # what getsignal gave
        signal.set_wakeup_fd(self._previous_fd)
        self._reader.close()
        self._writer.close()

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within, a signal raises `Interrupted` (and one that is already here does so at once)."""
        self._interrupting = True
        try:
            for number in self.take():
                self._catch(number, None)
            yield
        finally:
            self._interrupting = False

    def take(self) -> list[int]:
        """The signals that have come since last asked."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        # One by one: a signal may come between any two lines, and is then for the next time.
        return [self._came.popleft() for _ in range(len(self._came))]

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def wait(self, others: Iterable[int], timeout_s: float) -> None:
        """Sleep until a signal, `wake`, or something to read on one of the descriptors `others`."""
        poll = select.poll()
        for descriptor in (self._reader.fileno(), *others):
            poll.register(descriptor, select.POLLIN)
        poll.poll(timeout_s * 1000)

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        if self._interrupting and number in FORWARDED:
            self._interrupting = False
            raise Interrupted(number)
        if self._interrupting and number == signal.SIGTSTP:
            suspend()  # nothing runs yet: stop, as without a handler
            return
        self._came.append(number)
