"""Signals as the tests' own surroundings leave them."""

from __future__ import annotations

import signal

LIBRARY_SIGNALS = 0b11 << 31
"""32 and 33 in a mask of /proc. They are the C library's own: programs started by `make` inherit them ignored, and no
program may change that."""


def restore_defaults() -> None:
    """Undo what a shell's `&` and nohup(1) ignored: the programs under test would inherit it, and not hear those."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
