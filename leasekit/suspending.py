"""Stopping this process by its own hand, after Ctrl-Z, while it holds nothing that other processes wait for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

_rests: list[Callable[[], AbstractContextManager[None]]] = []


def rest_with(rest: Callable[[], AbstractContextManager[None]]) -> None:
    """Have `rest()` entered around every suspension. It must come in bounded time, whatever hangs."""
    _rests.append(rest)


def suspend() -> None:
    """Stop this process; returns when continued."""
    with _at_rest():
        signal.raise_signal(signal.SIGSTOP)


def suspend_group() -> None:
    """Stop this process group as its terminal would; returns when continued, at once if no shell is there to do that."""
    with _at_rest():
        previous = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, previous)


@contextmanager
def _at_rest() -> Iterator[None]:
    with ExitStack() as resting:
        for rest in _rests:
            resting.enter_context(rest())
        yield
