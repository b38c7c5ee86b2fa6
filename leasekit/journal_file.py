"""The file of a journal: one process's own, rotated by size, written to by a thread so that nobody waits for a disk.

A lock (flock) keeps other processes out: whoever finds a file taken writes to one of its own beside it, `NAME-PID.EXT`.
A line is one write at the end of the file, so a crash leaves at most one torn line, the last; whoever opens the file
again begins on a new line, and leaves the torn one to be seen.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import queue
import stat
import threading
from pathlib import Path

ROTATE_AT_BYTES = 16 * 1024 * 1024
KEPT = 4
"""How many rotated files stay: `FILE.1`, the newest, to `FILE.4`."""
MOST_WAITING = 10_000
"""Lines that wait for a disk that hangs. Further ones are left out; the gap shows in their numbers."""
OPEN_TRIES = 3

_log = logging.getLogger("leasekit.journal")


class JournalFile:
    """The file, opened when first written to. Used by one thread."""

    def __init__(self, path: Path, *, rotate_at_bytes: int = ROTATE_AT_BYTES, kept: int = KEPT) -> None:
        self._asked_for = path
        self._rotate_at_bytes = rotate_at_bytes
        self._kept = kept
        self._descriptor: int | None = None
        self.path = path
        """Where it is: the path that was asked for, or one beside it if another process has that."""

    def append(self, line: bytes) -> None:
        """Write one line at the end. Raises OSError: then nothing of it is there, or a torn line that stands alone."""
        if self._descriptor is not None and not self._in_place(self._descriptor):
            self.close()
        try:
            self._rotate_if_full(len(line))
            if self._descriptor is None:
                self._descriptor = self._open()
            _write(self._descriptor, line)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close it; the next line opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _in_place(self, descriptor: int) -> bool:
        """Whether the open file is still the one under that name: others may have moved or removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except OSError:
            return False

    def _open(self) -> int:
        own = self._asked_for.with_name(f"{self._asked_for.stem}-{os.getpid()}{self._asked_for.suffix}")
        for path in (self._asked_for, own):
            if (descriptor := _open_locked(path)) is not None:
                if path is own and path != self.path:
                    _log.warning("another process writes the journal %s; this one writes %s", self._asked_for, own)
                self.path = path
                _end_torn_line(descriptor)
                return descriptor
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(own))

    def _rotate_if_full(self, more_bytes: int) -> None:
        if self._descriptor is None:
            return
        size = os.fstat(self._descriptor).st_size
        if size == 0 or size + more_bytes <= self._rotate_at_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._rotated(number).rename(self._rotated(number + 1))
        self.path.rename(self._rotated(1))
        self.close()

    def _rotated(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _open_locked(path: Path) -> int | None:
    """The file, open for appending and locked; None if another process has it (or it cannot be known)."""
    for _ in range(OPEN_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no regular file", str(path))
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner may have rotated it between the opening and the lock.
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    return None


def _end_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        _write(descriptor, b"\n")


def _write(descriptor: int, data: bytes) -> None:
    """All of it or, as far as the disk allows, nothing."""
    size = os.fstat(descriptor).st_size
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


class Appender:
    """Hands lines to the file, in order, from a thread of its own. Nobody who has a line to write ever waits."""

    def __init__(self, file: JournalFile, *, most_waiting: int = MOST_WAITING) -> None:
        self.file = file
        self._most_waiting = most_waiting
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._behind = False
        self._failed = False

    def put(self, line: bytes) -> None:
        """Have it written soon. Left out if too many wait already."""
        waiting = self._lines.qsize()
        if waiting >= self._most_waiting:
            if not self._behind:
                self._behind = True
                _log.warning("the journal %s loses lines: its disk does not keep up", self.file.path)
            return
        if self._behind and waiting < self._most_waiting / 2:
            self._behind = False
        self._lines.put(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leasekit-journal", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # Out of threads for now: the next line tries again. Or the interpreter is ending.
                self._thread = None

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was put is in the file; False if that takes longer than `timeout_s` seconds."""
        if self._thread is None or not self._thread.is_alive():
            return self._lines.empty()
        written = threading.Event()
        self._lines.put(written)
        return written.wait(timeout_s)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            try:
                self.file.append(line)
            except OSError as error:
                if not self._failed:  # said once for each time of trouble
                    self._failed = True
                    why = error.strerror or error
                    _log.warning("the journal %s cannot be written: %s; elections go on", self.file.path, why)
            else:
                self._failed = False
