"""Which run the code at hand is part of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leasekit.schedule.aio import Run as AsyncRun
    from leasekit.schedule.slots import Run

_run: ContextVar[Run | AsyncRun] = ContextVar("leasekit.run")


@contextlib.contextmanager
def within(run: Run | AsyncRun) -> Iterator[None]:
    """While the body runs, `current_run()` is `run`: here, and in the tasks and contexts that the body makes."""
    before = _run.set(run)
    try:
        yield
    finally:
        _run.reset(before)


def current_run() -> Run:
    """The run that this code is part of: its `slot`, `attempt` and `token`. Raises LookupError where there is none."""
    from leasekit.schedule.slots import Run

    run = _found()
    if isinstance(run, Run):
        return run
    raise LookupError("this code is part of an asynchronous run: ask leasekit.aio.current_run()")


def current_run_aio() -> AsyncRun:
    """The run that this code is part of. Raises LookupError where there is none."""
    from leasekit.schedule.aio import Run as AsyncRun

    run = _found()
    if isinstance(run, AsyncRun):
        return run
    raise LookupError("this code is part of a synchronous run: ask leasekit.current_run()")


def _found() -> Run | AsyncRun:
    run = _run.get(None)
    if run is None:
        raise LookupError("this code is not part of a run of a slot")
    return run
