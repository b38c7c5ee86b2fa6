"""The wrapped command: a process of each kind that is asked for, none of which heeds TERM, and itself.

`python -I -S command.py FOLDER PACKAGES KIND...`; each kind gives its signs of life in a file of its name in FOLDER, the
command itself in `itself`. PACKAGES is where leasekit is imported from, by those who need it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parent.parent))

from fire.signs import EVERY_S, Sign

ITSELF = "itself"
HEIR = "heir"
"""Not a kind of its own: the command of the next leader, which heeds TERM."""
WRITER = "writes"
FENCED = "fenced.db"
"""The database that writers write to, beside their folder: the old leader's and the next one's share it."""
RESOURCE = "job"

MEMORY_MAX_BYTES = 200 * 2**20
CHUNK_BYTES = 2**20
GENERATION_S = 0.02
FORKS = 2
WRITE_EVERY_S = 0.02
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_PARENT = 0x8000
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_SYS_EXIT = {"x86_64": 60, "aarch64": 93}


def forks(sign: Sign) -> None:
    """A few processes more, in the group."""
    for _ in range(FORKS):
        if os.fork() == 0:
            break
    sign.live()


def daemon_in_group(sign: Sign) -> None:
    """Forked twice, its parent gone, still in the group."""
    _orphan()
    sign.live()


def session(sign: Sign) -> None:
    """In a session of its own."""
    os.setsid()
    sign.live()


def daemon(sign: Sign) -> None:
    """As the books say: a session, a second fork, no directory, no descriptors."""
    os.setsid()
    _orphan()
    os.chdir("/")
    os.closerange(0, 3)
    sign.live()


def subreaper(sign: Sign) -> None:
    """A daemon whose own subreaper stands between it and the watchdog, in another session."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork() == 0:
        os.setsid()
        _orphan()
    sign.live()


def sibling(sign: Sign) -> None:
    """Not a child of the command but of the command's parent (CLONE_PARENT), and in a session of its own."""
    call = _SYS_CLONE[os.uname().machine]
    if ctypes.CDLL(None).syscall(call, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0) > 0:
        os._exit(0)
    os.setsid()
    sign.live()


def eats_memory(sign: Sign) -> None:
    """Takes memory until it is refused more, and again."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    while True:
        eaten: list[bytearray] = []
        try:
            while True:
                eaten.append(bytearray(b"x") * CHUNK_BYTES)
                sign.live(EVERY_S)
        except MemoryError:
            eaten.clear()


def fork_chain(sign: Sign) -> None:
    """A moving target in the group: each process lives for a moment and leaves a child."""
    while True:
        sign.live(GENERATION_S)
        _orphan()


def runaway(sign: Sign) -> None:
    """A moving target, and each generation in a session of its own: no group holds it."""
    while True:
        sign.live(GENERATION_S)
        _orphan()
        os.setsid()


def leaderless(sign: Sign) -> None:
    """In a session of its own, and its main thread is gone: to a hasty look it is a zombie."""
    os.setsid()
    threading.Thread(target=sign.live).start()
    ctypes.CDLL(None).syscall(_SYS_EXIT[os.uname().machine], 0)


def writes(sign: Sign) -> None:
    """Writes through a fence, as often as it is let; what was refused is written down as such."""
    from leasekit.errors import FencingRejected
    from leasekit.fencing import SqlFence

    token = int(os.environ["LEASEKIT_TOKEN"])
    fence = SqlFence(RESOURCE)
    connection = sqlite3.connect(Path(sys.argv[1]).parent / FENCED, timeout=30, isolation_level=None)
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            fence.check(connection, token)
            connection.execute("INSERT INTO lines (token, refused) VALUES (?, 0)", (token,))
        except FencingRejected as rejected:
            # That it was refused is written down unguarded, so that it can be counted.
            connection.execute("INSERT INTO lines (token, refused) VALUES (?, ?)", (token, rejected.highest))
        connection.execute("COMMIT")
        sign.live(WRITE_EVERY_S)


KINDS: dict[str, Callable[[Sign], None]] = {
    "forks": forks,
    "daemon-in-group": daemon_in_group,
    "session": session,
    "daemon": daemon,
    "subreaper": subreaper,
    "sibling": sibling,
    "memory": eats_memory,
    "fork-chain": fork_chain,
    "runaway": runaway,
    "leaderless": leaderless,
    WRITER: writes,
}


def _orphan() -> None:
    """Go on as a child whose parent is gone."""
    if os.fork() > 0:
        os._exit(0)


def main() -> NoReturn:
    """Start them all, then live."""
    folder, packages, *kinds = sys.argv[1:]
    sys.path.append(packages)
    heir = HEIR in kinds
    if not heir:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signs = {kind: Sign(Path(folder, kind)) for kind in (ITSELF, *kinds)}
    for kind in kinds:
        if kind in KINDS and os.fork() == 0:
            KINDS[kind](signs[kind])
            os._exit(1)
    while True:
        signs[ITSELF].live()


if __name__ == "__main__":
    main()
