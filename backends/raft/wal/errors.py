"""What can go wrong with a disk. Whatever it is, the log it happened to is not to be used further."""

from __future__ import annotations

import errno

from leasekit.errors import LeasekitError


class DiskFailed(LeasekitError):
    """A file operation failed, so what is durable is unknown. Stop the member; a new start finds out what is there.

    Never to be retried on the same open file: after a failed fsync the system may forget what it could not write, and
    let the next one succeed.
    """


class DiskFull(DiskFailed):
    """No space (or quota) left. Nothing that was not acknowledged is relied on. Free some space, then start again."""


class Corrupt(LeasekitError):
    """What once was durable is damaged: `file` at byte `offset`. Nothing was changed.

    The member may have acknowledged what is lost, so it must not go on with less: remove it from the cluster, and add
    it again with an empty data directory and a new id.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"{file} is damaged at byte {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.reason = reason


def from_os(error: OSError, doing: str) -> DiskFailed:
    """The kind that `error` is, with what was being done in the text."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (DiskFull if full else DiskFailed)(f"cannot {doing}: {error}")
