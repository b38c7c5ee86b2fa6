"""What leasekit and its watchdog say to each other: lines of text over one socket pair.

Deadlines are absolute, on the two clocks of `leasekit.clock`, which are the same for every process of one boot and
time namespace. End of file means that the other side is gone.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from leasekit.clock import Instant
from leasekit.watchdog.supervision import Cause


@dataclass(frozen=True, slots=True)
class Begin:
    """To the watchdog: start the command now. `token` goes into its environment, None if it has none."""

    deadline: Instant
    foreground: bool
    token: int | None


@dataclass(frozen=True, slots=True)
class Deadline:
    """To the watchdog: the lease was renewed, its deadline is now this."""

    instant: Instant


@dataclass(frozen=True, slots=True)
class Forward:
    """To the watchdog: signal the command's process group."""

    signal_number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """To the watchdog: the leadership is lost or about to be given up; stop the command."""


@dataclass(frozen=True, slots=True)
class Resume:
    """To the watchdog: continue the stopped command, with the terminal in its hands or not."""

    foreground: bool


@dataclass(frozen=True, slots=True)
class Started:
    """From the watchdog: the command runs; `pid` is also the id of its process group."""

    pid: int


@dataclass(frozen=True, slots=True)
class NotStarted:
    """From the watchdog: the command does not run: this errno, or 0 if the deadline was too near to begin."""

    error_number: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """From the watchdog: the command was stopped by this job-control signal."""

    signal_number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """From the watchdog: the command and all that it started are gone. It is reaped when this socket closes."""

    returncode: int
    cause: Cause


Message = Begin | Deadline | Forward | Stop | Resume | Started | NotStarted | Suspended | Ended


def encode(message: Message) -> bytes:
    """One line. `repr` of a float reads back as the same float."""
    words: tuple[object, ...]
    match message:
        case Begin(deadline, foreground, token):
            words = (repr(deadline.boot_s), repr(deadline.raw_s), int(foreground), "-" if token is None else token)
        case Deadline(instant):
            words = (repr(instant.boot_s), repr(instant.raw_s))
        case Forward(number) | Suspended(number) | Started(number) | NotStarted(number):
            words = (number,)
        case Resume(foreground):
            words = (int(foreground),)
        case Ended(returncode, cause):
            words = (returncode, cause.value)
        case Stop():
            words = ()
    return " ".join([type(message).__name__, *map(str, words)]).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of one line. Raises ValueError on anything else."""
    match line.decode("ascii").split():
        case ["Begin", boot, raw, flag, token]:
            deadline = Instant(float(boot), float(raw))
            return Begin(deadline, bool(int(flag)), None if token == "-" else int(token))
        case ["Deadline", boot, raw]:
            return Deadline(Instant(float(boot), float(raw)))
        case ["Forward", number]:
            return Forward(int(number))
        case ["Stop"]:
            return Stop()
        case ["Resume", flag]:
            return Resume(bool(int(flag)))
        case ["Started", number]:
            return Started(int(number))
        case ["NotStarted", number]:
            return NotStarted(int(number))
        case ["Suspended", number]:
            return Suspended(int(number))
        case ["Ended", returncode, cause]:
            return Ended(int(returncode), Cause(cause))
    raise ValueError(f"not a message: {line!r}")


_UNSENT_MAX = 4096


class Channel:
    """One end of the socket pair, without ever blocking: a peer that hangs must not hang this side."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._partial = b""
        self._unsent = b""
        self.open = True
        """False once the other side is gone."""

    def fileno(self) -> int:
        """For poll()."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Hand over a message. If the other side is gone, so is the message; `receive` will notice.

        Once thousands of messages were not read (the peer hangs) further ones are dropped: a deadline that is not
        extended errs on the safe side.
        """
        self._flush()
        if len(self._unsent) < _UNSENT_MAX:
            self._unsent += encode(message)
            self._flush()

    def _flush(self) -> None:
        # Full, or gone: what the other side has said before it went is still to be heard.
        with contextlib.suppress(OSError):
            # The kernel may take a part of it; the rest goes first next time, so that lines stay whole.
            self._unsent = self._unsent[self._socket.send(self._unsent) :] if self._unsent else b""

    def receive(self) -> list[Message]:
        """All whole messages that have come so far; notes the end of file in `open`."""
        while self.open:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.open = False
            self._partial += data
        *lines, self._partial = self._partial.split(b"\n")
        return [decode(line) for line in lines]

    def close(self) -> None:
        """Tell the other side that this one has nothing more to say or hear."""
        self.open = False
        self._socket.close()
