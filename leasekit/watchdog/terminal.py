"""Who holds the terminal: job control, as far as a wrapper needs it."""

from __future__ import annotations

import contextlib
import os
import signal

STDIN = 0
STDOUT = 1


def holder() -> int | None:
    """The process group in the foreground of the terminal on stdin; None if stdin is no terminal of this session."""
    try:
        return os.tcgetpgrp(STDIN)
    except OSError:
        return None


def in_foreground() -> bool:
    """Whether this process's group holds the terminal."""
    return holder() == os.getpgrp()


def to_be_handed_over() -> bool:
    """Whether a command gets the terminal at its start: not in a pipeline, whose other members may need it."""
    return in_foreground() and os.isatty(STDOUT)


def give(group: int) -> None:
    """Make `group` the foreground one. Allowed from the background too, where the kernel would stop us for trying."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(STDIN, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
