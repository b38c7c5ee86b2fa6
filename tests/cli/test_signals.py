"""Signals to a command that runs: told once each, whenever they come."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

from leasekit.cli.signals import Signals


def test_a_signal_that_comes_while_others_are_taken_is_taken_next_time() -> None:
    at_lines = set()

    def interrupt(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code is not Signals.take.__code__:
            return None
        if event == "line" and frame.f_lineno not in at_lines:
            at_lines.add(frame.f_lineno)
            signal.raise_signal(signal.SIGUSR1)
        return interrupt

    with Signals() as signals:
        previous = sys.gettrace()
        sys.settrace(interrupt)
        try:
            taken = signals.take()
        finally:
            sys.settrace(previous)
        taken += signals.take()
    assert len(at_lines) > 2
    assert taken == [signal.SIGUSR1] * len(at_lines)
