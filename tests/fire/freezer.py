"""The cgroup freezer (version 2): stops processes so that they cannot tell, and starts them all at one moment. As root."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Self


@cache
def _parent() -> Path | None:
    """The control group of this process in the version 2 hierarchy, if there is one that can be written to."""
    for mount in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, *_ = mount.split()
        if kind == "cgroup2":
            own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
            folder = Path(point) / own.removeprefix("0::").lstrip("/")
            return folder if os.access(folder / "cgroup.procs", os.W_OK) else None
    return None


class Freezer:
    """A control group of its own. Use as a context manager; everybody in it is gone by then."""

    def __init__(self, name: str) -> None:
        parent = _parent()
        assert parent is not None, "ask `possible` first"
        self._folder = parent / f"leasekit-{os.getpid()}-{name}"

    @staticmethod
    def possible() -> bool:
        """Whether such groups can be made here."""
        return _parent() is not None

    def take(self, pid: int) -> None:
        """Put a process in; whom it starts afterwards is in as well."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def holds(self, pid: int) -> bool:
        """Whether it is in."""
        return str(pid) in (self._folder / "cgroup.procs").read_text().split()

    def freeze(self) -> None:
        """Stop everybody; returns when they stand still."""
        (self._folder / "cgroup.freeze").write_text("1")
        give_up_s = time.monotonic() + 10
        while "frozen 1" not in (self._folder / "cgroup.events").read_text():
            assert time.monotonic() < give_up_s, "not frozen within 10 s"
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let everybody go on."""
        (self._folder / "cgroup.freeze").write_text("0")

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self._folder.rmdir()
