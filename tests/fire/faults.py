"""What is done to a leader, and what is undone once another one leads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fire.freezer import Freezer
from fire.hogs import HOGS
from fire.leader import Leader
from fire.places import Place


@dataclass(slots=True)
class Scene:
    """The leader that is struck, and what there is to strike it with. `stack` undoes what lasts."""

    first: Leader
    watchdog_pid: int
    place: Place
    stack: ExitStack
    freezer: Freezer | None = None

    def stop_watchdog(self) -> None:
        os.kill(self.watchdog_pid, signal.SIGSTOP)

    def continue_both(self) -> None:
        """Also if they are gone."""
        for pid in (self.first.process.pid, self.watchdog_pid):
            _signal(pid, signal.SIGCONT)


Act = Callable[[Scene], None]


def _leasekit_stopped(scene: Scene) -> None:
    scene.first.stop()


def _leasekit_killed(scene: Scene) -> None:
    scene.first.process.kill()


def _watchdog_stopped(scene: Scene) -> None:
    # Alone it is no fault that would end a leadership: renewals go on.
    scene.stop_watchdog()
    scene.place.cut()


def _watchdog_killed(scene: Scene) -> None:
    os.kill(scene.watchdog_pid, signal.SIGKILL)


def _cut_off(scene: Scene) -> None:
    scene.place.cut()


def _starved(scene: Scene) -> None:
    scene.stack.enter_context(HOGS.crowding(scene.first.process.pid, scene.watchdog_pid))
    scene.place.cut()


def _both_stopped(scene: Scene) -> None:
    scene.first.stop()
    scene.stop_watchdog()


def _all_frozen(scene: Scene) -> None:
    assert scene.freezer is not None
    scene.freezer.freeze()


def _nothing(scene: Scene) -> None:
    """It lasts until the end of the round."""


def _continue_leasekit(scene: Scene) -> None:
    _signal(scene.first.process.pid, signal.SIGCONT)


def _continue_watchdog(scene: Scene) -> None:
    _signal(scene.watchdog_pid, signal.SIGCONT)


def _thaw(scene: Scene) -> None:
    assert scene.freezer is not None
    scene.freezer.thaw()


def _signal(pid: int, number: signal.Signals) -> None:
    # Not reaped by anybody else before the round is over: the id cannot be another's.
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` is done to a leader; `relief`, once another one leads, to those who slept through it."""

    strike: Act
    relief: Act = _nothing
    both_frozen: bool = False
    """Nobody is left who could stop the command in time."""
    needs_freezer: bool = False


FAULTS: Mapping[str, Fault] = {
    "leasekit stopped": Fault(_leasekit_stopped),
    "leasekit killed": Fault(_leasekit_killed),
    "watchdog stopped, store cut off": Fault(_watchdog_stopped),
    "watchdog killed": Fault(_watchdog_killed),
    "store cut off": Fault(_cut_off),
    "starved of CPU, store cut off": Fault(_starved),
    "both stopped, leasekit continued": Fault(_both_stopped, _continue_leasekit, both_frozen=True),
    "both stopped, watchdog continued": Fault(_both_stopped, _continue_watchdog, both_frozen=True),
    "all frozen, all continued": Fault(_all_frozen, _thaw, both_frozen=True, needs_freezer=True),
}


def possible() -> list[str]:
    """The faults that can be made here."""
    return [name for name, fault in FAULTS.items() if not fault.needs_freezer or Freezer.possible()]


def new_freezer(fault: Fault, name: str, stack: ExitStack) -> Freezer | None:
    """A freezer for one round, if the fault needs one."""
    return stack.enter_context(Freezer(Path(name).name)) if fault.needs_freezer else None
