"""A disk in memory that can crash, tear, fill up and fail. For tests and the simulator.

It is harsher than a journaling file system, and has no randomness of its own. What a crash may do:

* Of what was appended since a file's last `datasync`, some prefix stays; bytes within it may be zero or garbage.
* Each name goes back, independently, to any of the files it stood for since the last `sync_directory`.

A failed `datasync` behaves as on Linux: the data stays readable until the crash, but no later sync writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leasekit.backends.raft.wal.errors import DiskFailed, DiskFull

if TYPE_CHECKING:
    from random import Random

Hook = Callable[[str, str], None]
"""Called with the operation and the file's name before it is done. What it raises is raised instead of doing it."""

OPERATIONS = ("append", "create", "datasync", "delete", "list", "read", "rename", "sync_directory")


@dataclass(slots=True, eq=False)
class _Inode:
    content: bytearray = field(default_factory=bytearray)
    reserved: int = 0
    durable: int = 0
    """So many bytes of `content` survive any crash."""
    lost: bool = False
    """A sync failed: the bytes behind `durable` will never be written."""

    @property
    def size(self) -> int:
        return max(len(self.content), self.reserved)

    def crash(self, rng: Random) -> None:
        tail = len(self.content) - self.durable
        kept = rng.choice((0, tail, rng.randint(0, tail)))
        del self.content[self.durable + kept :]
        if kept and rng.random() < 0.3:
            start = self.durable + rng.randrange(kept)
            end = rng.randint(start, len(self.content)) if rng.random() < 0.5 else min(start + 4, len(self.content))
            self.content[start:end] = bytes(end - start) if rng.random() < 0.5 else rng.randbytes(end - start)
        self.durable = len(self.content)
        self.lost = False


@dataclass(slots=True)
class _Failure:
    operation: str
    error: DiskFailed
    skip: int


class MemoryFile:
    """On a `MemoryDisk`. Of no use after its crash."""

    def __init__(self, disk: MemoryDisk, inode: _Inode, name: str) -> None:
        self._disk = disk
        self._inode = inode
        self._name = name
        self._life = disk.crashes
        self._open = True

    def append(self, data: bytes) -> None:
        self._check()
        try:
            self._disk._before("append", self._name)
        except DiskFailed:
            # A write that fails may have written something.
            self._inode.content += data[: len(data) // 2]
            raise
        grown = max(0, len(self._inode.content) + len(data) - self._inode.size)
        room = self._disk._room()
        self._inode.content += data[: len(data) - max(0, grown - room)]
        if grown > room:
            raise DiskFull(f"cannot write to {self._name}: no space left")

    def datasync(self) -> None:
        self._check()
        try:
            self._disk._before("datasync", self._name)
        except DiskFailed:
            self._inode.lost = True
            raise
        if not self._inode.lost:
            self._inode.durable = len(self._inode.content)

    def close(self) -> None:
        self._open = False

    def _check(self) -> None:
        if not self._open or self._life != self._disk.crashes:
            raise DiskFailed(f"{self._name} is not open any more")


class MemoryDisk:
    """A `Disk`. `capacity_bytes`: of all files together, what is reserved for them included; None: no limit."""

    def __init__(self, *, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.hook: Hook | None = None
        self.operations = 0
        """How many were begun, of all kinds."""
        self.crashes = 0
        self._names: dict[str, _Inode] = {}
        self._pasts: dict[str, list[_Inode | None]] = {}
        """For each name changed since the last `sync_directory`: what it stood for since then, oldest first."""
        self._failures: list[_Failure] = []

    def list(self) -> list[str]:
        self._before("list", "")
        return sorted(self._names)

    def read(self, name: str) -> bytes:
        self._before("read", name)
        inode = self._existing(name)
        return bytes(inode.content).ljust(inode.size, b"\0")

    def create(self, name: str, reserve_bytes: int = 0) -> MemoryFile:
        self._before("create", name)
        if name in self._names:
            raise DiskFailed(f"cannot create {name}: it exists")
        inode = _Inode()
        self._set(name, inode)
        if reserve_bytes > self._room():
            raise DiskFull(f"cannot reserve {reserve_bytes} bytes for {name}: no space left")
        inode.reserved = reserve_bytes
        return MemoryFile(self, inode, name)

    def rename(self, old: str, new: str) -> None:
        self._before("rename", old)
        inode = self._existing(old)
        self._set(new, inode)
        self._set(old, None)

    def delete(self, name: str) -> None:
        self._before("delete", name)
        self._existing(name)
        self._set(name, None)

    def sync_directory(self) -> None:
        self._before("sync_directory", "")
        self._pasts.clear()

    def crash(self, rng: Random) -> None:
        """The machine fails and starts again. Files that were open are of no use; what is there now is durable."""
        self.crashes += 1
        self._failures.clear()
        for name, past in sorted(self._pasts.items()):
            self._place(name, rng.choice([*past, self._names.get(name)]))
        self._pasts.clear()
        for _, inode in sorted(self._names.items()):
            inode.crash(rng)

    def restart(self) -> None:
        """The process is killed, the machine goes on: nothing is lost, and files that were open are of no use."""
        self.crashes += 1
        self._failures.clear()

    def fail_next(self, operation: str, error: type[DiskFailed] = DiskFailed, *, skip: int = 0) -> None:
        """Let the next `operation` (one of `OPERATIONS`) fail, after `skip` that do not."""
        if operation not in OPERATIONS:
            raise ValueError(f"no operation {operation!r}")
        self._failures.append(_Failure(operation, error(f"injected: cannot {operation}"), skip))

    def flip(self, name: str, offset: int, mask: int = 1) -> None:
        """Damage one byte of a file, durably: those bits of it that are set in `mask`."""
        inode = self._existing(name)
        inode.content.extend(bytes(max(0, offset + 1 - len(inode.content))))
        inode.content[offset] ^= mask

    def cut(self, name: str, size: int) -> None:
        """Damage a file: let it end after `size` bytes."""
        inode = self._existing(name)
        del inode.content[size:]
        inode.reserved = min(inode.reserved, size)
        inode.durable = min(inode.durable, size)

    @property
    def used_bytes(self) -> int:
        """By all files, with what is reserved for them."""
        return sum(inode.size for inode in self._names.values())

    def _before(self, operation: str, name: str) -> None:
        self.operations += 1
        if self.hook is not None:
            self.hook(operation, name)
        for failure in self._failures:
            if failure.operation == operation:
                if failure.skip == 0:
                    self._failures.remove(failure)
                    raise failure.error
                failure.skip -= 1
                return

    def _existing(self, name: str) -> _Inode:
        if name not in self._names:
            raise DiskFailed(f"there is no {name}")
        return self._names[name]

    def _set(self, name: str, inode: _Inode | None) -> None:
        self._pasts.setdefault(name, []).append(self._names.get(name))
        self._place(name, inode)

    def _place(self, name: str, inode: _Inode | None) -> None:
        if inode is None:
            self._names.pop(name, None)
        else:
            self._names[name] = inode

    def _room(self) -> int:
        return 2**63 if self.capacity_bytes is None else max(0, self.capacity_bytes - self.used_bytes)
