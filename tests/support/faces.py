"""Both faces of leasekit, driven alike: one scenario runs through the blocking and through the asynchronous one.

async def scenario(face: Face) -> None:
    election = face.Election("reports", face.connect("memory://"))
    async with face.within(await face.of(election.campaign())) as leadership: ...
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from leasekit import aio, sync

LONG_S = 30.0
"""Longer than anything takes on a busy machine."""


class Face:
    """One of the two."""

    def __init__(self, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        self.module: Any = aio if asynchronous else sync
        self.name = "aio" if asynchronous else "sync"

    def __repr__(self) -> str:
        return self.name

    def Election(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.Election(*args, **kwargs)

    def connect(self, url: str) -> Any:
        return self.module.connect(url)

    def event(self) -> Any:
        """What this face's `run` takes to be stopped."""
        return asyncio.Event() if self.asynchronous else threading.Event()

    async def of(self, answer: Any) -> Any:
        """What a method answers: at once, or when it is awaited."""
        return await answer if inspect.isawaitable(answer) else answer

    def begin(self, call: Callable[[], Any]) -> asyncio.Task[Any]:
        """Do it while the test goes on: in a task, or in a thread."""

        async def in_task() -> Any:
            return await call()

        return asyncio.ensure_future(in_task() if self.asynchronous else asyncio.to_thread(call))

    @asynccontextmanager
    async def within(self, manager: Any) -> AsyncIterator[Any]:
        """`with` or `async with`."""
        if self.asynchronous:
            async with manager as entered:
                yield entered
        else:
            with manager as entered:
                yield entered

    async def next(self, observer: Any) -> Any:
        """The next thing observed; `StopAsyncIteration` at the end."""
        if self.asynchronous:
            return await asyncio.wait_for(anext(observer), timeout=LONG_S)
        nothing = object()
        found = await asyncio.wait_for(asyncio.to_thread(next, observer, nothing), timeout=LONG_S)
        if found is nothing:
            raise StopAsyncIteration
        return found


FACES = [Face(asynchronous=False), Face(asynchronous=True)]
