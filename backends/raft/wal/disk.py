"""The few file operations that the log needs, and the real disk. `memory_disk` has the one that can crash."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from leasekit.backends.raft.wal.errors import DiskFailed, from_os
from leasekit.errors import ConfigError

LOCK_NAME = "lock"


class File(Protocol):
    """A file that was created by this process, and is only ever appended to.

    Every method raises `DiskFull` or `DiskFailed`; after that only `close` may be called.
    """

    def append(self, data: bytes) -> None:
        """Write all of `data` behind what was appended before. Not durable before `datasync`."""

    def datasync(self) -> None:
        """Return when all that was appended is durable. Says nothing of the file's name: see `sync_directory`."""

    def close(self) -> None:
        """Let go of it. Makes nothing durable, and never raises. May be called again."""


class Reader(Protocol):
    """What may be asked of a data directory without changing it."""

    def list(self) -> list[str]:
        """The names of the files in it, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The whole of a file. Raises `DiskFailed`, also if there is none of this name."""
        ...


class Disk(Reader, Protocol):
    """One flat directory of files. Names are durable by `sync_directory`, contents by `File.datasync`."""

    def create(self, name: str, reserve_bytes: int = 0) -> File:
        """A new, empty file, which must not exist yet.

        `reserve_bytes` are set aside at once, and read as zeros until written: syncing is quicker then, since the
        file does not grow, and a full disk shows here rather than in the middle of a record.
        """
        ...

    def rename(self, old: str, new: str) -> None:
        """Give `old` the name `new`, at one stroke; what `new` was before is gone."""

    def delete(self, name: str) -> None:
        """Remove a file. Raises `DiskFailed`, also if there is none of this name."""

    def sync_directory(self) -> None:
        """Return when all creations, renames and deletions so far are durable."""


class RealFile:
    """On a real disk."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name

    def append(self, data: bytes) -> None:
        with _failing(f"write to {self._name}"):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def datasync(self) -> None:
        with _failing(f"sync {self._name}"):
            _datasync(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        # An error here concerns data that was not synced, of which nobody was told that it is safe.
        with contextlib.suppress(OSError):
            os.close(descriptor)


class Folder:
    """A directory to be looked at. Takes no lock and changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self) -> list[str]:
        with _failing(f"list {self._path}"):
            return sorted(each.name for each in self._path.iterdir() if each.is_file() and each.name != LOCK_NAME)

    def read(self, name: str) -> bytes:
        with _failing(f"read {name}"):
            return (self._path / name).read_bytes()


class RealDisk(Folder):
    """A directory that is ours alone while this object is open. Made if it is missing, for its owner only.

    Raises:
        ConfigError: another member uses it, or it cannot be used. Choose another directory, or stop the other one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.absolute())
        try:
            _make_directory(self._path)
            self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError("data_dir", f"{self._path} cannot be used: {error.strerror}") from error
        try:
            self._lock = _lock(self._path / LOCK_NAME)
        except BaseException:
            os.close(self._directory)
            raise

    def create(self, name: str, reserve_bytes: int = 0) -> RealFile:
        with _failing(f"create {name}"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self._path / name, flags, 0o600)
        file = RealFile(descriptor, name)
        try:
            if reserve_bytes:
                _reserve(descriptor, reserve_bytes, name)
        except BaseException:
            file.close()
            raise
        return file

    def rename(self, old: str, new: str) -> None:
        with _failing(f"rename {old} to {new}"):
            (self._path / old).rename(self._path / new)

    def delete(self, name: str) -> None:
        with _failing(f"delete {name}"):
            (self._path / name).unlink()

    def sync_directory(self) -> None:
        with _failing(f"sync {self._path}"):
            os.fsync(self._directory)

    def close(self) -> None:
        """Let others use the directory. Files that are still open stay usable, so close them first."""
        if self._lock >= 0:
            os.close(self._directory)
            os.close(self._lock)
            self._lock = -1


@contextlib.contextmanager
def _failing(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os(error, doing) from error


def _reserve(descriptor: int, size: int, name: str) -> None:
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        # Some file systems cannot; the file then grows as it is written, only slower.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise from_os(error, f"reserve {size} bytes for {name}") from error


def _make_directory(path: Path) -> None:
    """With its name durable: a member that votes must find its vote again."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _lock(path: Path) -> int:
    """Held until the descriptor is closed, so a killed process never leaves it behind."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError("data_dir", f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise ConfigError(
                "data_dir", f"{path.parent} is in use by another member, which must stop first"
            ) from error
        raise DiskFailed(f"cannot lock {path}: {error}") from error
    return descriptor


if sys.platform == "darwin":

    def _datasync(descriptor: int) -> None:
        # There, fsync leaves the data in the drive's own cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)

else:

    def _datasync(descriptor: int) -> None:
        os.fdatasync(descriptor)
