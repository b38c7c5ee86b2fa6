"""One connection for the length of a subcommand, with its requests bounded by `--timeout`."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leasekit import engine, journal
from leasekit.cli.options import Settings
from leasekit.connection import Connection
from leasekit.election import DEFAULT_TTL_S, ElectionCore
from leasekit.errors import LossReason, NotElected

if TYPE_CHECKING:
    from leasekit.tenure import Tenure

T = TypeVar("T")

CLOSE_TIMEOUT_S = 2.0


class Session:
    """A connection to the store that was named, and how long its answers may take."""

    def __init__(self, settings: Settings) -> None:
        self.timeout_s = settings.timeout_s
        if settings.journal is not None:
            journal.write_to(settings.journal)
        self.connection = Connection(settings.store_url)
        if self.connection.is_default:
            note(
                "no store named (--store or LEASEKIT_STORE): electing on this host, for this user only, "
                f"in {self.connection.url}"
            )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on the engine's loop; Ctrl-C cancels it."""
        return engine.get().run(work)

    def election(self, name: str, *, id: str | None = None, ttl_s: float | None = None) -> ElectionCore:
        """The election of that name: to be asked about, or to be campaigned in."""
        if ttl_s is None:
            ttl_s = max(DEFAULT_TTL_S, self.connection.store.capabilities.ttl_min_s)
        return ElectionCore(name, connection=self.connection, id=id, ttl_s=ttl_s, priority=0, meta=None)

    def campaign(self, core: ElectionCore, wait_s: float | None) -> Tenure | None:
        """Campaign for at most `wait_s` seconds (None: for ever; 0: only if it can be had at once). None: not elected.

        An interrupt withdraws the campaign, and resigns what was won in that very moment.
        """

        async def campaign() -> Tenure | None:
            timeout_s = self.timeout_s if wait_s == 0 else wait_s
            try:
                return await core.elector().campaign(once=wait_s == 0, timeout_s=timeout_s)
            except NotElected:
                return None

        def discard(tenure: Tenure | None) -> None:
            if tenure is not None:
                tenure.end(LossReason.RESIGNED)

        return engine.get().run(campaign(), discard=discard)


@contextmanager
def session(ctx: click.Context) -> Iterator[Session]:
    """Open the store that the command line names; close it at the end."""
    opened = Session(ctx.ensure_object(Settings))
    try:
        yield opened
    finally:
        opened.run(opened.connection.aclose(timeout_s=CLOSE_TIMEOUT_S))


def note(text: str) -> None:
    """Tell people something that is no part of the data."""
    click.echo(f"leasekit: {text}", err=True)


def tell_of_trouble(level: int) -> logging.Handler:
    """From now on what the library logs goes to stderr, as notes, from this level up."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("leasekit: %(message)s"))
    handler.setLevel(level)
    log = logging.getLogger("leasekit")
    log.addHandler(handler)
    log.propagate = False
    return handler


async def while_read(work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, which prints something now and then, until it ends or nobody can read it any more.

    Raises BrokenPipeError when the reader of our pipe has gone: otherwise that would show at the next thing to print only.
    """
    doing = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    waiting = asyncio.create_task(gone.wait())
    output = _pipe_of_stdout()
    if output is not None:
        loop.add_reader(output, gone.set)  # the end for writing is "readable" once the other end is closed
    try:
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise BrokenPipeError
        doing.result()
    finally:
        if output is not None:
            loop.remove_reader(output)
        waiting.cancel()
        doing.cancel()
        await asyncio.wait({doing})


def _pipe_of_stdout() -> int | None:
    try:
        output = sys.stdout.fileno()
        return output if stat.S_ISFIFO(os.fstat(output).st_mode) else None
    except (AttributeError, OSError, ValueError):  # closed, or a test's
        return None
