"""One round: a leader writes, something happens to it, another takes over, and the first one writes on."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from adversary.disturbances import Disturbance, faketime, shifted_boot_clock
from adversary.judge import FIRST, SECOND, Verdict, judge
from adversary.moves import DISTURB
from adversary.player import PYTHONPATH, Player
from adversary.record import Held, Outcome, Record
from adversary.resources import ELECTION, held_in_store
from adversary.stage import Stage
from adversary.stores import Place

GIVE_UP_S = 120.0
"""How long anything may take that ought to happen. Then the round goes on, and what it lacks shows in its result."""
WRITES_BEFORE = 3
WRITES_AFTER = 3
STALE_ATTEMPTS = 5
"""What a round waits for, of the first leader before and of both afterwards."""
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What a round is to be."""

    store: str
    guard: str
    disturbance: Disturbance
    guarded: bool
    ttl_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `missed`: what did not come about in time, for people."""

    plan: Plan
    verdict: Verdict
    missed: tuple[str, ...]
    account: str
    """The record, if anything is wrong."""
    broken: str = ""
    """Why it broke off, if it did. It proves nothing then."""

    @property
    def as_planned(self) -> bool:
        """Whether all came about that was to. Else its disturbance may have met a leader that was none any more."""
        return not (self.broken or self.missed) and self.verdict.stale > 0


class Round:
    """One round as it is played."""

    def __init__(self, plan: Plan, stage: Stage, stack: ExitStack) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.place: Place = stack.enter_context(stage.stores.place(plan.store, plan.disturbance))
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasekit-round-")))
        self.record = Record(self.folder / "record")
        self.wall_clock = self.folder / "wall-clock"
        self.missed: list[str] = []
        self.players: dict[str, Player] = {}
        self._ending = False
        self._stage = stage
        self._stack = stack
        self._name = stage.new_name()

    def play(self) -> Result:
        self._start(FIRST)
        self.wait(lambda: self.record.count(FIRST, Outcome.ACCEPTED) >= WRITES_BEFORE, "the first leader's writes")
        self._start(SECOND)
        self.wait(lambda: (SECOND, "campaigns") in self.record.said, "a second candidate")
        time.sleep(self.random.uniform(0, self.plan.ttl_s))
        DISTURB[self.plan.disturbance](self)
        if not self.wait(self.taken_over, "its successor", within_s=2 * self.plan.ttl_s, required=False):
            # The leadership outlived that, as it may.
            self.first.tell("resign")
        self.wait(lambda: self.record.count(SECOND, Outcome.ACCEPTED) >= WRITES_AFTER, "the successor's writes")
        self.wait(lambda: self._stale_attempts() >= STALE_ATTEMPTS, "stale attempts")
        self._end()
        held = self._held()
        verdict = judge(self.record.in_order, held, self.record.elected)
        return Result(self.plan, verdict, tuple(self.missed), self._account(held, verdict))

    @property
    def first(self) -> Player:
        """The leader that is disturbed."""
        return self.players[FIRST]

    def taken_over(self) -> bool:
        """Whether the second candidate was elected. A guard's lock may still keep it from writing."""
        return self.record.was_elected(SECOND)

    def wait(self, what: Callable[[], bool], means: str, *, within_s: float = GIVE_UP_S, required: bool = True) -> bool:
        """Read on until `what()`; False if that took too long."""
        give_up_s = time.monotonic() + within_s
        while True:
            self.record.read()
            if what():
                return True
            for player in self.players.values():
                assert self._ending or not player.ended(), f"a writer has ended by itself\n{self._said()}"
            if time.monotonic() > give_up_s:
                break
            time.sleep(_POLL_S)
        if required:
            self.missed.append(means)
        return False

    def _stale_attempts(self) -> int:
        place = self.record.first_accepted(SECOND)
        return 0 if place is None else self.record.count(FIRST, *Outcome, stale_to=place)

    def _start(self, writer: str) -> None:
        plan, place, first = self.plan, self.place, writer == FIRST
        resource = {"guarded": plan.guarded}
        if plan.guard != "store":
            reach = place.reach if first else lambda address: address
            resource |= self._stage.resource(plan.guard).told(self._name, reach)
        task = {
            "writer": writer,
            "store": place.first_url if first else place.url,
            "election": ELECTION,
            "ttl_s": plan.ttl_s,
            "again": not first,
            "record": str(self.folder / "record"),
            "seed": self.random.getrandbits(32),
            "guard": "sql" if plan.guard == "sqlite" else plan.guard,
            "resource": resource,
        }
        command = [sys.executable, "-P", "-m", "adversary.process", json.dumps(task)]
        environment = dict(os.environ) | {"PYTHONPATH": PYTHONPATH}
        if first:
            command = [*place.first_command, *command]
            if plan.disturbance is Disturbance.BOOT_CLOCK:
                command = [*shifted_boot_clock(self.random.randint(1, 200)), *command]
            if plan.disturbance is Disturbance.WALL_CLOCK:
                environment |= self._with_a_wall_clock_of_its_own()
        player = Player(command, environment, self.folder / "output")
        self._stack.callback(player.kill)
        self.players[writer] = player

    def _with_a_wall_clock_of_its_own(self) -> dict[str, str]:
        self.step_wall_clock(0)
        return {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self.wall_clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step_wall_clock(self, by_s: int) -> None:
        """Set how far the first leader's wall clock is off."""
        new = self.wall_clock.with_suffix(".new")
        new.write_text(f"{by_s:+d}")
        new.rename(self.wall_clock)

    def _end(self) -> None:
        self._ending = True
        for player in self.players.values():
            player.tell("end")
        for writer, player in self.players.items():
            # Who still campaigns, or is in the middle of a write that takes for ever, does not hear it.
            self.wait(player.ended, f"the end of the {writer}", required=self.record.was_elected(writer))
            player.kill()
        self.record.read()

    def _held(self) -> Sequence[Held]:
        if self.plan.guard == "store":
            return held_in_store(self.place.url)
        return self._stage.resource(self.plan.guard).held(self._name)

    def _account(self, held: Sequence[Held], verdict: Verdict) -> str:
        if not (verdict.violations or self.missed):
            return ""
        lines = (self.folder / "record").read_text().splitlines()[-200:]
        return "\n".join([*lines, f"held: {' | '.join(write.text for write in held)}", self._said()])

    def _said(self) -> str:
        return (self.folder / "output").read_text(errors="replace")[-3000:]


def play(plan: Plan, stage: Stage) -> Result:
    """Play one round on that stage."""
    try:
        with ExitStack() as stack:
            return Round(plan, stage, stack).play()
    except Exception as error:  # noqa: BLE001 - the other rounds go on
        said = "".join(traceback.format_exception(error))
        return Result(plan, Verdict(0, 0, 0, 0, 0, ()), (), said, broken=repr(error))
