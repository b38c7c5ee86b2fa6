"""What the exit code of `leasekit` means: one table, one mapping from errors.

1 is only ever an answer "no" (no leader, not the leader, token refused), so that a script can tell "no" from "could
not ask". The rest follows sysexits.h, and what shells and timeout(1) do for a command that is run.
"""

from __future__ import annotations

import errno

from leasekit import errors

OK = 0
NO = 1
USAGE = 2
DAMAGED = 65
UNAVAILABLE = 69
INTERNAL = 70
DISK = 74
NOT_ACQUIRED = 75
PROTOCOL = 76
REFUSED = 77
CONFIG = 78
LOST = 79
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNALLED = 128
INTERRUPTED = 130
BROKEN_PIPE = 141

_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# The first kind that matches counts.
_BY_KIND: tuple[tuple[type[BaseException], int], ...] = (
    (errors.StoreUnavailable, UNAVAILABLE),
    (errors.OutcomeUnknown, UNAVAILABLE),
    (errors.AuthError, REFUSED),
    (errors.ConfigError, CONFIG),
    (errors.ProtocolError, PROTOCOL),
    (errors.NotElected, NOT_ACQUIRED),
    (errors.SlotTooEarly, NOT_ACQUIRED),
    (errors.LeadershipLost, LOST),
    (errors.LeaseLost, LOST),
    (errors.FencingRejected, NO),
    (KeyboardInterrupt, INTERRUPTED),
)


def of_error(error: BaseException) -> int:
    """The exit code for an error that ended a command; 70 for one that is no kind of `LeasekitError`."""
    code = next((code for kind, code in _BY_KIND if isinstance(error, kind)), INTERNAL)
    return DISK if code == INTERNAL and is_of_disk(error) else code


def is_of_disk(error: BaseException) -> bool:
    """Whether what was to be written could not be, since its disk failed or is full."""
    return isinstance(error, OSError) and error.errno in _OF_DISK


def of_child(returncode: int) -> int:
    """The exit code for a child's `returncode` as `subprocess` has it: its own, or 128 + n if signal n ended it."""
    return SIGNALLED - returncode if returncode < 0 else returncode


def of_failed_start(error_number: int) -> int:
    """The exit code for a command that could not be started, as shells have it."""
    return NOT_FOUND if error_number == errno.ENOENT else NOT_EXECUTABLE
