"""The processes of one command: finding them, signalling them, and being told when a parent dies.

They are the process group of the command and, on Linux, every other descendant: whoever left the group (setsid, a
daemon that forked twice) is handed to the nearest subreaper, which is the watchdog, so it is still found below it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
# A sweep kills whoever it finds; the next one finds those whom they started meanwhile. Bounded, so that a process which
# cannot be killed (another user's, or stuck in the kernel) holds nobody up.
_SWEEPS_MAX = 20


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table. `start_ticks` tells a process from a later one with the same id.

    `zombie`: nothing of it runs any more. One whose main thread has ended while others run on is none.
    """

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


def kill(group: int | None, ancestor: int | None) -> None:
    """KILL the command's process group, and everybody below process `ancestor`.

    Name the group only while the command is not reaped, or somebody is known to live in it.

    The group goes first, in one call that no fork can slip through. Whoever left it can move on while all processes of
    the machine are being listed: so it is followed from parent to child, which takes a fraction of the time, until a
    sweep finds nobody. Where the kernel does not tell of children, one look at all processes has to do.
    """
    if group is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    if ancestor is None:
        return
    if not _tells_of_children():
        look(group or 0, ancestor).send(signal.SIGKILL)
        return
    dead: set[int] = set()
    for _ in range(_SWEEPS_MAX):
        if not _sweep(ancestor, dead):
            return
        if ancestor == os.getpid():
            _reap(dead, spare=group)


def _sweep(ancestor: int, dead: set[int]) -> bool:
    """Kill everybody who is found below `ancestor`, the latest comers first; whether anybody was.

    `dead` is what one sweep tells the next: a watchdog that is stopped reaps nobody, and the dead become many.
    """
    anyone = False
    children = list(_children(ancestor))
    if ancestor == os.getpid():
        # No other process can have the id of a child that was not reaped, so there is nothing to look at first: the next
        # generation of one that runs away is hardly born by now.
        for pid in reversed(children):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    found = [(pid, ancestor) for pid in children]
    while found:
        pid, parent = found.pop()
        if pid in dead:
            continue
        process = _read(pid)
        # Another parent by now: the next sweep finds it there. So nobody is taken for the child of an earlier one with the
        # same id.
        if process is None or process.parent != parent:
            continue
        if process.zombie:
            dead.add(pid)
            continue
        anyone = True
        _send_to(process, signal.SIGKILL)
        found.extend((child, pid) for child in _children(pid))
    return anyone


def _reap(dead: set[int], spare: int | None) -> None:
    """Let go of the dead children of this process, and take them out of `dead`: their ids may come again."""
    for pid in dead - {spare}:
        dead.discard(pid)
        with contextlib.suppress(ChildProcessError):  # another's child
            os.waitpid(pid, os.WNOHANG)


def has_living_children(pid: int) -> bool:
    """Whether any child of this process, a subreaper, lives; so, whether anybody at all lives below it.

    `look` can miss a process that forks and exits while the others are being listed. Here that cannot be: who exits hands
    its children to the subreaper in one step, and they stand in its list from then on. So if all children are dead and
    the list is still the same afterwards, there is nobody. False where the kernel does not tell of children.
    """
    before: list[int] | None = None
    while (children := sorted(_children(pid))) != before:
        if any((child := _read(number)) is not None and not child.zombie for number in children):
            return True
        before = children
    return False


def _tells_of_children() -> bool:
    """Whether this kernel lists the children of a process (CONFIG_PROC_CHILDREN)."""
    return _LINUX and Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _children(pid: int) -> Iterator[int]:
    """Children, zombies included, of all threads of process `pid`, the latest comer last.

    Some may be missed while others are being reaped.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (hundreds of Path objects for nothing)
    except OSError:
        return
    for thread in threads:
        with contextlib.suppress(OSError):
            yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())


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


def hurry() -> None:
    """Let this thread go before all ordinary ones, if it may (as root, mostly): a busy machine would make it late.

    Whom it starts afterwards would inherit that.
    """
    if _LINUX:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


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
        zombie=fields[0] in (b"Z", b"X") and int(fields[17]) <= 1,
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
