"""A fence around one file on a local POSIX file system.

The mark stands beside the file, in `<file>.fence`; `<file>.fence.lock` is locked (flock) while mark and file are looked at
and replaced. Both are replaced by rename, after fsync: the mark first. So a crash in between leaves a mark that is too
high for the old content, never content that the mark does not know of. Leave both files where they are.

Promised: who reads the file sees the whole of one write; after a write with a higher token, none with a lower one replaces
it, also over crashes and power cuts. Not promised: anything on network file systems, whose locks and renames are weaker;
anything against who writes the file without asking. A process that is stopped while it holds the lock (a moment, or the
whole of an `admit` block) keeps all others out until it goes on or ends: they get StoreUnavailable.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from leasekit.clock import SYSTEM_CLOCK
from leasekit.errors import ConfigError, ProtocolError, StoreUnavailable
from leasekit.fencing.contract import Mark, Rule

LOCK_TIMEOUT_S = 10.0
SCHEMA = 1

_POLL_S = 0.005
_MARK_BYTES_MAX = 4096


class FileFence:
    """Guards one file.

        fence = FileFence("reports", "/srv/reports/latest.json")
        fence.write(data, leadership.token)                 # FencingRejected: a later leader was here
        with fence.replacing(leadership.token) as file:     # the same, piece by piece
            ...

    Args:
        resource: a name for it, usually the election's.
        path: the file. It need not exist; its folder must.
        election, also: whose tokens these are (`leasekit.fencing.contract`).
        lock_timeout_s: how long to wait for another writer, in seconds.
    """

    def __init__(
        self,
        resource: str,
        path: str | os.PathLike[str],
        *,
        election: str | None = None,
        also: Collection[str] = (),
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        self._rule = Rule.of(resource, election, also)
        if os.name != "posix":
            raise ConfigError("path", "can be fenced on POSIX systems only")
        # A link would be replaced instead of what it leads to.
        self.path = Path(os.path.realpath(path))
        self._mark_file = self.path.with_name(f"{self.path.name}.fence")
        self._lock_file = self.path.with_name(f"{self.path.name}.fence.lock")
        self._lock_timeout_s = lock_timeout_s

    @property
    def resource(self) -> str:
        """What is guarded."""
        return self._rule.resource

    def write(self, data: bytes | str, token: int) -> None:
        """Replace the file's content (text as UTF-8). It is on the disk when this returns.

        Raises:
            FencingRejected: a higher token was here. Nothing has changed. Stop: another leads.
            StoreUnavailable: another writer did not let go in time. Nothing has changed; try again.
            ConfigError: the file is guarded by the tokens of another election, or this is no token.
            ProtocolError: the mark is unreadable.
            OSError: as the file system says.
        """
        with self.replacing(token) as file:
            file.write(data.encode() if isinstance(data, str) else data)

    @contextmanager
    def replacing(self, token: int) -> Iterator[BinaryIO]:
        """A new file to be written in the block; at its end it takes the place of the old one, as `write` says.

        The token is checked then, under the lock; while the block runs, others may write. An error in the block leaves
        everything as it was.
        """
        self._rule.judge(token, None)
        temporary = self.path.with_name(f".{self.path.name}.{os.urandom(6).hex()}.new")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                self._keep_mode(file)
                os.fsync(file.fileno())
            with self.admit(token):
                temporary.replace(self.path)
                self._sync_folder()
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def admit(self, token: int) -> Iterator[None]:
        """Let this token pass and remember it; nobody else is admitted before the block ends.

        For what is not replaced as a whole: append to the file in the block, or change several. Raises as `write` does.
        """
        self._rule.judge(token, None)
        with self._locked():
            seen = self._read_mark()
            mark = self._rule.judge(token, seen)
            if mark != seen:
                self._write_mark(mark)
            yield

    def highest(self) -> int | None:
        """The highest token seen so far, None if there was none."""
        mark = self._read_mark()
        return None if mark is None else mark.token

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            give_up = SYSTEM_CLOCK.now().plus(self._lock_timeout_s)
            pause = threading.Event()
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if SYSTEM_CLOCK.now().reached(give_up):
                        raise StoreUnavailable(
                            f"{self._lock_file} was locked by another process for {self._lock_timeout_s:g} s; "
                            "nothing was written"
                        ) from None
                pause.wait(_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def _read_mark(self) -> Mark | None:
        try:
            with self._mark_file.open("rb") as file:
                text = file.read(_MARK_BYTES_MAX)
        except FileNotFoundError:
            return None
        # An unreadable mark is not taken for none: that would let everybody pass.
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            data = json.loads(text)
            if data["schema"] == SCHEMA and type(data["token"]) is int and isinstance(data["election"], str):
                return Mark(data["token"], data["election"])
        raise ProtocolError(f"{self._mark_file} holds no mark of this version; nothing was written")

    def _write_mark(self, mark: Mark) -> None:
        data = {"schema": SCHEMA, "resource": self.resource, "token": mark.token, "election": mark.election}
        temporary = self._mark_file.with_name(f".{self._mark_file.name}.new")  # under the lock, there is one
        with temporary.open("wb") as file:
            file.write(json.dumps(data).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._mark_file)
        self._sync_folder()

    def _keep_mode(self, file: BinaryIO) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(file.fileno(), self.path.stat().st_mode & 0o7777)

    def _sync_folder(self) -> None:
        # A rename is on the disk only when its folder is.
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
