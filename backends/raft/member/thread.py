"""A member in a thread of its own, with its own loop, for programs without asyncio or whose loop is busy."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from leasekit.backends.raft.member.config import MemberConfig
from leasekit.backends.raft.member.member import Member
from leasekit.backends.raft.requests import MemberStatus

_STOP_S = 5.0
_BEYOND_S = 2.0


class MemberThread:
    """`with MemberThread(config) as member:` runs a member within this process. Its thread ends with the process."""

    def __init__(self, config: MemberConfig, *, version: str = "") -> None:
        self._member = Member(config, version=version)
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"leasekit-raft-{config.id}", daemon=True)

    def start(self) -> None:
        """Return when the member takes part. Raises as `Member.start` does."""
        self._thread.start()
        self._started.result()

    def stop(self, timeout_s: float = _STOP_S) -> None:
        """Stop the member. Raises what had ended it before."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout_s + _BEYOND_S)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return self._member.address

    @property
    def failure(self) -> str | None:
        """As `Member.failure`."""
        return self._member.failure

    def status(self) -> MemberStatus:
        """How the member sees itself."""
        assert self._loop is not None
        asked: Future[MemberStatus] = Future()
        self._loop.call_soon_threadsafe(lambda: asked.set_result(self._member.status()))
        return asked.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            if self._started.done():
                self._error = error
            else:
                self._started.set_exception(error)

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._member as member:
            self._started.set_result(None)
            ended = asyncio.create_task(member.ended())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        await ended
