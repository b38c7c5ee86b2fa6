"""Which run the code at hand is part of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leasekit.schedule import aio, slots

_run: ContextVar[slots.Run | aio.Run] = ContextVar("leasekit.run")


@contextlib.contextmanager
def within(run: slots.Run | aio.Run) -> Iterator[None]:
    """While the body runs, `current_run()` is `run`: here, and in the tasks and contexts that the body makes."""
    before = _run.set(run)
    try:
        yield
    finally:
        _run.reset(before)


def current_run() -> slots.Run:
    """The run that this code is part of: its `slot`, `attempt` and `token`. Raises LookupError where there is none."""
    from leasekit.schedule import slots

    run = _found()
    if isinstance(run, slots.Run):
        return run
    raise LookupError("this code is part of an asynchronous run: ask leasekit.aio.current_run()")


def current_run_aio() -> aio.Run:
    """The run that this code is part of. Raises LookupError where there is none."""
    from leasekit.schedule import aio

    run = _found()
    if isinstance(run, aio.Run):
        return run
    raise LookupError("this code is part of a synchronous run: ask leasekit.current_run()")


def _found() -> slots.Run | aio.Run:
    run = _run.get(None)
    if run is None:
        raise LookupError("this code is not part of a run of a slot")
    return run
