"""Signals as the tests' own surroundings leave them."""

from __future__ import annotations

import signal

LIBRARY_SIGNALS = 0b11 << 31
"""32 and 33 in a mask of /proc. They are the C library's own: programs started by `make` inherit them ignored, and no
program may change that."""


def restore_defaults() -> None:
    """Undo what a shell's `&` ignored: the programs under test would inherit it and not hear a Ctrl-C."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, default)
