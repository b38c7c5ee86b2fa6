"""Promises about time, and what errors say, on a machine that may be busy with something else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import pytest

from leasekit.errors import OutcomeUnknown, StoreUnavailable

_STEP_S = 0.01
_LATE_S = 0.7
_LONGEST_S = 30.0
_HANDING_OVER_TURNS = 5


class OwnTime:
    """Time as the running loop has it: while the loop is held up none goes by. An async context manager.

    For what members and clients of this very loop are to be done with: it tells a wait that is too long from a wait for
    a processor.
    """

    def __init__(self) -> None:
        self.passed_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._count())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_STEP_S)
            self.passed_s += _STEP_S


async def pass_own_time(seconds: float) -> None:
    """Return when the running loop has had so much time."""
    for _ in range(round(seconds / _STEP_S)):
        await asyncio.sleep(_STEP_S)


async def unavailable(call: Callable[[float], Awaitable[object]], says: str, *, timeout_s: float = 0.3) -> None:
    """`call(timeout_s)` is StoreUnavailable in time, and says this if it had the time to find it out.

    On a busy machine a short time-out is over before anything was learnt, and the error says that instead; a change may
    be under way just then, and its outcome unknown. So it is asked again, with twice the time.
    """
    while True:
        async with OwnTime() as time:
            with pytest.raises((StoreUnavailable, OutcomeUnknown)) as told:
                await call(timeout_s)
        assert time.passed_s < timeout_s + _LATE_S
        if isinstance(told.value, StoreUnavailable) and says in str(told.value):
            return
        timeout_s *= 2
        assert timeout_s <= _LONGEST_S, f"does not say {says!r}: {told.value!r}"


async def end(server: asyncio.Server) -> None:
    """Close it, once it has handed over what it has accepted: closed in that very turn it would forget it, unclosed."""
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(_HANDING_OVER_TURNS):
        await asyncio.sleep(0)
    server.close()
    await server.wait_closed()
