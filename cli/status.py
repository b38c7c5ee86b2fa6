"""`leasekit status`: elections, their leaders and queues, once or as they change."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import click

from leasekit.changes import changes
from leasekit.cli import render, survey
from leasekit.cli.options import one_of, store_options
from leasekit.cli.session import Session, session, while_read
from leasekit.cli.survey import ElectionView
from leasekit.clock import SYSTEM_CLOCK, Instant
from leasekit.core.records import check_name
from leasekit.store import Capabilities, Entry

COLUMNS = ("election", "state", "leader", "token", "held_for", "next_leader", "host", "pid", "waiting")
REDRAW_S = 1.0
# To the corner; then, after each line and at the end, clear what was there before.
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@click.argument("name", required=False)
@one_of(*render.FORMATS)
@click.option("-w", "--watch", "keep_watching", is_flag=True, help="Go on, showing each change as it happens.")
@store_options
@click.pass_context
def status(ctx: click.Context, name: str | None, output: str, keep_watching: bool) -> None:
    """Show election NAME, or all elections of the store: who leads, for how long, and who waits.

    "Next leader" is the longest that the place stays empty while the store is well and somebody waits. A leader may
    renew its lease at any moment, unseen: so the time is told that counts from its death. Once the place is empty, it
    counts down. With -w, nothing is polled: the store tells of changes; only the times count on by themselves.
    """
    if name is not None:
        check_name("name", name)
    with session(ctx) as store:
        if keep_watching:
            store.run(while_read(_watch(store, name, output)))
        else:
            _print(_shown(store.run(_look(store, name))[0], name), store, output)


async def _look(store: Session, name: str | None) -> tuple[dict[str, Entry], int]:
    snapshot = await store.connection.store.scan("" if name is None else f"{name}/", timeout_s=store.timeout_s)
    return {entry.key: entry for entry in snapshot.entries}, snapshot.revision


def _shown(entries: dict[str, Entry], name: str | None) -> list[ElectionView]:
    return survey.elections(entries.values()) if name is None else [survey.election(name, entries)]


class Vacancies:
    """Since when places are empty, as seen from here: what "next leader" counts down from."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, Instant]] = {}

    def update(self, views: Iterable[ElectionView], now: Instant) -> None:
        """Take a new look into account."""
        before = self._since
        self._since = {}
        for view in views:
            if view.state in ("vacant", "held"):
                state, since = before.get(view.election, (view.state, now))
                self._since[view.election] = (view.state, since if state == view.state else now)

    def seen_for_s(self, election: str, now: Instant) -> float | None:
        """How long the place has been seen empty, for the reason it now is; None if it is not."""
        _, since = self._since.get(election, (None, None))
        return None if since is None else since.until(now)


def _print(views: Sequence[ElectionView], store: Session, output: str) -> None:
    text = _text(views, store, output, Vacancies())
    if text:
        click.echo(text)


def _text(views: Sequence[ElectionView], store: Session, output: str, vacancies: Vacancies) -> str:
    if output in ("json", "ndjson"):
        return render.rows(output, "elections", [view.data() for view in views], ())
    now, wall_s = SYSTEM_CLOCK.now(), SYSTEM_CLOCK.wall_s()
    vacancies.update(views, now)
    limits = store.connection.store.capabilities
    rows = [row(view, output, limits, wall_s, vacancies.seen_for_s(view.election, now)) for view in views]
    return render.rows(output, "elections", rows, COLUMNS)


def row(view: ElectionView, output: str, limits: Capabilities, wall_s: float, empty_s: float | None) -> render.Row:
    """One election as a row of a table or of TSV, `empty_s` seconds after its place was first seen empty."""
    row: dict[str, object] = {"election": view.election, "state": view.state, "waiting": view.waiting}
    within_s = view.filled_within_s(limits.expires_within_s)
    if within_s is not None:
        within_s = max(0.0, within_s - (empty_s or 0.0))
        row["next_leader"] = round(within_s, 3) if output == "tsv" else _next_leader(view, within_s)
    if view.leader is not None:
        leader = view.leader
        held_s = survey.age_s(leader.since, wall_s)
        row |= {"leader": leader.id, "token": leader.token, "host": leader.host, "pid": leader.pid}
        if held_s is not None:
            row["held_for"] = round(held_s) if output == "tsv" else render.duration(held_s)
    return row


def _next_leader(view: ElectionView, within_s: float) -> str:
    if view.leader is not None:
        return f"{within_s:.1f}s if it dies"
    return f"within {within_s:.1f}s" if within_s else "overdue"


async def _watch(store: Session, name: str | None, output: str) -> None:
    """Print at each change; on a terminal, redraw in place and let the times count on."""
    redraw = output == "table" and sys.stdout.isatty()
    async with aclosing(_changes(store, name, tick_s=REDRAW_S if redraw else None)) as changes:
        previous: list[ElectionView] | None = None
        vacancies, first = Vacancies(), True
        async for views in changes:
            if redraw:
                _draw(_text(views, store, output, vacancies), clear=first)
            elif views != previous:
                _print(views, store, output)
                sys.stdout.flush()
            previous, first = views, False


def _draw(text: str, *, clear: bool) -> None:
    shown = _fitting(text.splitlines(), shutil.get_terminal_size().lines)
    lines = "".join(f"{line}{_CLEAR_LINE}\n" for line in shown)
    start = _HOME + (_CLEAR_BELOW if clear else "")
    click.echo(f"{start}{lines}{_CLEAR_BELOW}", nl=False, color=True)
    sys.stdout.flush()


def _fitting(lines: list[str], height: int) -> list[str]:
    """The lines that a screen of that height has room for: were it to scroll, the corner would be another's."""
    room = max(1, height - 1)  # the cursor stands below the last line
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], f"... {len(lines) - room + 1} lines more"]


async def _changes(
    store: Session, name: str | None, *, tick_s: float | None
) -> AsyncGenerator[list[ElectionView], None]:
    """The elections now, then at each change, and every `tick_s` seconds."""
    entries, revision = await _look(store, name)
    changed = asyncio.Event()

    async def look_again() -> int:
        fresh, as_of = await _look(store, name)
        entries.clear()
        entries.update(fresh)
        changed.set()
        return as_of

    async def follow() -> None:
        prefix = "" if name is None else f"{name}/"
        backend, random = store.connection.store, store.connection.random
        async for change in changes(backend, prefix, prefix=True, after=revision, look=look_again, random=random):
            if change.entry is None:
                entries.pop(change.key, None)
            else:
                entries[change.key] = change.entry
            changed.set()

    following = asyncio.create_task(follow())
    try:
        while True:
            changed.clear()
            yield _shown(entries, name)
            waiting = asyncio.create_task(changed.wait())
            await asyncio.wait({waiting, following}, timeout=tick_s, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if following.done():
                following.result()
    finally:
        following.cancel()
