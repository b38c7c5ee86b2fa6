"""What is done to the first leader of a round, by kind of disturbance. Each returns when that is over."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adversary.disturbances import Disturbance
from adversary.judge import FIRST, SECOND
from adversary.record import Outcome
from support.pausing import pause

if TYPE_CHECKING:
    from adversary.round import Round

PAUSE_TTLS = 3.0
WALL_STEPS_S = (-86_400, -3_600, -30, 30, 3_600, 86_400)
_STARVED_RUNS_S = 0.01
_STARVED_STOPS_TTLS = (0.2, 0.4)


def _pause(round: Round) -> None:
    pause(round.first.pid, round.place.url)
    _stay_paused(round)


def _pause_between(round: Round) -> None:
    round.first.tell("stop")
    if round.wait(lambda: (FIRST, "stops") in round.record.said, "a pause between check and write"):
        round.wait(round.first.stopped, "a stopped process")
    _stay_paused(round)


def _stay_paused(round: Round) -> None:
    paused_s = time.monotonic()
    pause_s = PAUSE_TTLS * round.plan.ttl_s
    # A successor is to be elected meanwhile; if the pause keeps even that from it, as one within a transaction of SQLite
    # does, no longer than twice as long.
    round.wait(round.taken_over, "a successor", within_s=2 * pause_s, required=False)
    time.sleep(max(0.0, paused_s + pause_s - time.monotonic()))
    round.first.signal(signal.SIGCONT)


def _cut(round: Round) -> None:
    round.place.cut()
    round.wait(lambda: round.record.count(SECOND, Outcome.ACCEPTED) > 0, "a successor that writes")
    time.sleep(round.random.uniform(0, round.plan.ttl_s))
    round.place.heal()


def _starve(round: Round) -> None:
    with _starved(round):
        within_s = 4 * PAUSE_TTLS * round.plan.ttl_s
        if round.wait(round.taken_over, "a successor", within_s=within_s, required=False):
            time.sleep(round.random.uniform(0, round.plan.ttl_s))


@contextmanager
def _starved(round: Round) -> Iterator[None]:
    enough = threading.Event()
    chances = random.Random(round.random.getrandbits(32))

    def starve() -> None:
        while not enough.is_set():
            round.first.signal(signal.SIGSTOP)
            enough.wait(chances.uniform(*_STARVED_STOPS_TTLS) * round.plan.ttl_s)
            round.first.signal(signal.SIGCONT)
            enough.wait(_STARVED_RUNS_S)

    thread = threading.Thread(target=starve, name="starves-a-leader")
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def _step_wall_clock(round: Round) -> None:
    round.step_wall_clock(round.random.choice(WALL_STEPS_S))
    time.sleep(round.random.uniform(0.5, 1.0) * round.plan.ttl_s)
    round.first.tell("resign")


def _kill_store_leader(round: Round) -> None:
    round.place.kill_store_leader()


DISTURB: dict[Disturbance, Callable[[Round], None]] = {
    Disturbance.PAUSED: _pause,
    Disturbance.PAUSED_BETWEEN: _pause_between,
    Disturbance.CUT: _cut,
    Disturbance.STARVED: _starve,
    Disturbance.WALL_CLOCK: _step_wall_clock,
    Disturbance.BOOT_CLOCK: _pause,
    Disturbance.STORE_LEADER_KILLED: _kill_store_leader,
}
