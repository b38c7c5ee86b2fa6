"""What happened, in one line each: a digest of all lines, so that two runs can be compared, and the last of them to read."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from leasekit.backends.raft.simulator.schedule import Schedule


class Trace:
    """`tell` is given every line as it comes, if there is one."""

    KEPT = 60

    def __init__(self, schedule: Schedule, tell: Callable[[str], None] | None = None) -> None:
        self._schedule = schedule
        self._tell = tell
        self._digest = hashlib.blake2b(digest_size=16)
        self._last: deque[tuple[float, tuple[object, ...]]] = deque(maxlen=self.KEPT)

    def note(self, *what: object, body: bytes = b"") -> None:
        """One thing has happened now. Where there is a `body`, it stands for the last of `what` in the digest."""
        now_s = self._schedule.now_s
        line = " ".join(map(str, what[:-1] if body else what))
        self._digest.update(f"{now_s!r} {line}\n".encode())
        self._digest.update(body)
        # Written out only if somebody wants to read it.
        self._last.append((now_s, what))
        if self._tell is not None:
            self._tell(_line(now_s, what))

    @property
    def digest(self) -> str:
        """Of all lines so far."""
        return self._digest.hexdigest()

    def last(self) -> list[str]:
        """The last lines."""
        return [_line(now_s, what) for now_s, what in self._last]


def _line(now_s: float, what: tuple[object, ...]) -> str:
    return f"{now_s:10.6f} {' '.join(map(str, what))}"
