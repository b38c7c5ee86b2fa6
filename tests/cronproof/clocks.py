"""Wall clocks that are wrong: libfaketime in front of one process. What counts durations is left alone."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

from support import binaries

FAR_S = 90.0
"""How far wrong the worst clocks are."""


@dataclass(frozen=True, slots=True)
class WrongClock:
    """One worker's wall clock. `file`: where its offset is written, for a clock that is set again and again."""

    name: str
    setting: str | None = None
    file: Path | None = None

    def environment(self) -> dict[str, str]:
        """What the process is to be started with."""
        if self.setting is None and self.file is None:
            return {}
        library = binaries.require("faketime", "libfaketime.so")
        # MONOTONIC, BOOTTIME and MONOTONIC_RAW stay true: a wall clock that is set moves none of them either.
        told = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1"}
        if self.file is not None:
            return told | {"FAKETIME_TIMESTAMP_FILE": str(self.file)}
        return told | {"FAKETIME": str(self.setting)}

    def jump(self, random: Random) -> float | None:
        """Set it to another time; by how much it is wrong now, or None if it is not one that jumps."""
        if self.file is None:
            return None
        offset_s = random.uniform(-FAR_S, FAR_S)
        _write(self.file, offset_s)
        return offset_s


def wrong_clocks(count: int, folder: Path) -> list[WrongClock]:
    """Clocks for so many workers: behind, ahead, drifting, jumping, right, and again."""
    clocks = []
    for number in range(count):
        match number % 5:
            case 0:
                clocks.append(WrongClock("90 s behind", f"-{FAR_S:.0f}"))
            case 1:
                clocks.append(WrongClock("90 s ahead", f"+{FAR_S:.0f}"))
            case 2:
                clocks.append(WrongClock("20 s ahead, 5 % fast", "+20 x1.05"))
            case 3:
                clocks.append(WrongClock("jumping", file=folder / f"clock-{number}"))
                _write(folder / f"clock-{number}", 45.0)
            case _:
                clocks.append(WrongClock("right"))
    return clocks


def clean_up(pid: int) -> None:
    """Remove what libfaketime leaves of a process that was killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with contextlib.suppress(OSError):
            (Path("/dev/shm") / name).unlink()


def _write(file: Path, offset_s: float) -> None:
    # In one go, since it may be read at any moment.
    new = file.with_suffix(".new")
    new.write_text(f"{offset_s:+.3f}\n")
    os.replace(new, file)  # noqa: PTH105 (as one says it)
