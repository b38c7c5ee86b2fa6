"""One round: a leader with a nasty command, a fault, the next leader, and who lived how long."""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from fire import command
from fire.faults import FAULTS, Fault, Scene, new_freezer
from fire.leader import Leader, LostEarlyError, wait_for
from fire.places import Place, Site
from fire.signs import EVERY_S, now_s
from leasekit.fencing import SqlFence

GRACE_S = 0.5
_CLEARED_WITHIN_S = 60.0
_NEXT_ONE_WRITES_WITHIN_S = 3.0
"""Where the old one may hold the database's lock until it goes on."""
_OLD_ONE_TRIES_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What the old leader's writer did after the next one had written: `accepted` must be 0."""

    tried: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Moments on CLOCK_BOOTTIME."""

    store: str
    fault: str
    deadline_s: float
    elected_s: float
    """The next leader's election."""
    last_signs_s: dict[str, float]
    """The last sign of life of each kind of process."""
    continued_s: float | None
    """When those who could stop it were continued."""
    writes: Writes | None
    left_behind: int
    """Kinds of processes of the old leader that were never stopped."""
    exit_code: int


def play_until_it_counts(site: Site, name: str, kinds: Sequence[str], *, seed: str = "") -> Outcome:
    """Play a round; again, where the machine was too busy for its leader even before the fault."""
    while True:
        try:
            return play(site, name, kinds, random.Random(f"{site.name} {name} {seed}"))
        except LostEarlyError as lost:
            print(f"{site.name}, {name}: played again: {lost}", file=sys.stderr, flush=True)


def play(site: Site, name: str, kinds: Sequence[str], dice: random.Random) -> Outcome:
    """Play one round of the fault called `name`.

    Raises LostEarlyError if the leadership was lost before the fault struck, AssertionError if the round has no end.
    """
    fault = FAULTS[name]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasekit-fire-")))
        place = site.place(folder, stack)
        freezer = new_freezer(fault, folder.name, stack)
        fenced = [command.WRITER] if fault.both_frozen else []
        if fenced:
            _make_fenced_table(folder / command.FENCED)
        timing = {"ttl_s": site.ttl_s, "grace_s": GRACE_S}
        first = Leader(folder / "first", place.first_url, kinds=[*kinds, *fenced], **timing)
        stack.callback(first.end)
        if freezer is not None:
            freezer.take(first.process.pid)
        first.wait_until_elected()
        second = Leader(folder / "second", place.second_url, kinds=[command.HEIR, *fenced], **timing)
        stack.callback(second.end)
        first.wait_until_up()
        wait_for(lambda: second.queues() or second.elected_s(), "the second one queues")
        if not second.queues():
            raise LostEarlyError(first.errors().strip())
        scene = Scene(first, first.watchdog_pid, place, stack.enter_context(ExitStack()), freezer)
        assert freezer is None or freezer.holds(scene.watchdog_pid)

        # A renewal comes every third of a ttl: the fault strikes anywhere in between.
        time.sleep(dice.uniform(0, site.ttl_s / 2))
        struck_s = now_s()
        try:
            fault.strike(scene)
        except ProcessLookupError:
            raise LostEarlyError(first.errors()) from None
        elected_s = _wait_for_the_next(second, place, site.ttl_s)
        continued_s = _relieve(fault, scene, second, folder / command.FENCED)
        left_behind = _wait_for_the_end(scene)
        first.check_that_it_led(struck_s)
        return Outcome(
            store=site.name,
            fault=name,
            deadline_s=first.deadline_s(),
            elected_s=elected_s,
            last_signs_s=first.last_signs_s(),
            continued_s=continued_s,
            writes=_count_writes(folder / command.FENCED) if fenced else None,
            left_behind=left_behind,
            exit_code=first.process.wait(),
        )


def _wait_for_the_next(second: Leader, place: Place, ttl_s: float) -> float:
    """When it was elected."""
    if place.blocks_everybody:
        # Until the old lease has surely run out, and its successor could be elected at once.
        time.sleep(ttl_s + 0.5)
        place.heal()
    return wait_for(second.elected_s, "the second one is elected")


def _relieve(fault: Fault, scene: Scene, second: Leader, fenced: Path) -> float | None:
    if not fault.both_frozen:
        return None
    if fault.needs_freezer:
        # Until the next one has written; if the old one was frozen within a transaction, nobody can before it goes on.
        give_up_s = now_s() + _NEXT_ONE_WRITES_WITHIN_S
        while not second.is_up() and now_s() < give_up_s:
            time.sleep(0.01)
        time.sleep(_OLD_ONE_TRIES_S)
    else:
        # The old command itself goes on all the time.
        wait_for(second.is_up, "the next one has written")
        wait_for(lambda: _count_writes(fenced).tried, "the old one has tried to write")
    continued_s = now_s()
    fault.relief(scene)
    return continued_s


def _wait_for_the_end(scene: Scene) -> int:
    """How many kinds of the old leader's processes are left when all had time to end."""
    first = scene.first
    give_up_s = time.monotonic() + _CLEARED_WITHIN_S
    while (living := _who_lives(first)) and time.monotonic() < give_up_s:
        pass
    scene.stack.close()
    scene.place.heal()
    scene.continue_both()
    wait_for(lambda: living or not first.alive(), "the old leasekit and its watchdog have ended")
    return len(living)


def _who_lives(leader: Leader) -> list[str]:
    """Who gives signs of life. Nothing is asked of the process table: it can be deceived."""
    before = leader.last_signs_s()
    time.sleep(5 * EVERY_S)
    after = leader.last_signs_s()
    return [kind for kind in after if after[kind] != before.get(kind)]


def _make_fenced_table(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE lines (number INTEGER PRIMARY KEY, token INTEGER, refused INTEGER)")
        SqlFence(command.RESOURCE).create_table(connection)


def _count_writes(file: Path) -> Writes:
    with closing(sqlite3.connect(file)) as connection:
        lines = connection.execute("SELECT token, refused FROM lines ORDER BY number").fetchall()
    highest = tried = accepted = 0
    for token, refused in lines:
        highest = max(highest, token)
        tried += token < highest
        accepted += token < highest and not refused
    return Writes(tried=tried, accepted=accepted)
