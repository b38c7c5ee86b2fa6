"""The processes of one command: finding them, signalling them, and being told when a parent dies.

They are the process group of the command and, on Linux, every other descendant: whoever left the group (setsid, a
daemon that forked twice) is handed to the nearest subreaper, which is the watchdog, so it is still found below it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table. `start_ticks` tells a process from a later one with the same id."""

    pid: int
    parent: int
    group: int
    zombie: bool
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Family:
    """All that a command has started, as of one look. The command itself is in it once it has exited, as a zombie."""

    group: int
    members: tuple[Process, ...]
    group_alive: bool

    @property
    def anyone_left(self) -> bool:
        """Whether any of them still runs."""
        return self.group_alive or any(not member.zombie for member in self.members)

    def send(self, signal_number: int) -> None:
        """Signal the whole group and everybody who left it. Call only while the command itself is not reaped."""
        if self.group_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, signal_number)
        for member in self.members:
            if member.group != self.group and not member.zombie:
                _send_to(member, signal_number)


def look(group: int, ancestor: int | None) -> Family:
    """The processes of the command with process group `group`, and everybody below process `ancestor`."""
    table = _table()
    if table is None:
        return Family(group, (), _group_answers(group))
    below = {ancestor} if ancestor is not None else set()
    members: list[Process] = []
    # A child can have a lower id than its parent once ids wrap, so one pass in id order is not enough.
    while fresh := [process for process in table if process.parent in below and process.pid not in below]:
        below.update(process.pid for process in fresh)
        members.extend(fresh)
    # By group alone as well: whoever is not below the ancestor (no subreaper, or a racing re-parenting) is still ours.
    members.extend(process for process in table if process.group == group and process.pid not in below)
    alive = any(process.group == group and not process.zombie for process in members)
    return Family(group, tuple(members), alive)


def reap_adopted(family: Family, parent: int, *, spare: int | None = None) -> None:
    """Reap the zombies that were handed to `parent`, this process; never `spare`, which keeps the group's id taken."""
    for member in family.members:
        if member.zombie and member.parent == parent and member.pid != spare:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(member.pid, os.WNOHANG)


def adopt_orphans() -> None:
    """Let orphaned descendants be handed to this process. Linux only; elsewhere they go to init and escape."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def signal_when_parent_dies(signal_number: int) -> None:
    """Ask for a signal when the thread that started this process ends. Linux only. Look at getppid() afterwards."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def _prctl(option: int, value: int) -> None:
    if not _LINUX:
        return
    import ctypes  # 3 ms that the other platforms save

    # Refused by a seccomp filter, it is missed: end of file on the socket still tells that leasekit is gone.
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _table() -> list[Process] | None:
    """Every process that /proc shows, None where there is no /proc."""
    if not _LINUX:
        return None
    try:
        names = os.listdir("/proc")  # noqa: PTH208 (hundreds of Path objects for nothing)
    except OSError:
        return None
    table = [process for name in names if name.isdigit() and (process := _read(int(name))) is not None]
    return table or None


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name is in parentheses and may hold anything, parentheses and spaces included.
    fields = text.rpartition(b")")[2].split()
    return Process(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        zombie=fields[0] in (b"Z", b"X"),
        start_ticks=int(fields[19]),
    )


def _send_to(process: Process, signal_number: int) -> None:
    """Signal this very process: the id is pinned first, and looked at again, since it may have been reused."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(process.pid)
        try:
            now = _read(process.pid)
            if now is not None and now.start_ticks == process.start_ticks:
                signal.pidfd_send_signal(handle, signal_number)
        finally:
            os.close(handle)


def _group_answers(group: int) -> bool:
    """Whether the group has a living member. macOS answers EPERM when it holds only zombies."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
