"""The journal of this process: what it believed and saw of its elections, for `leasekit audit` to compare with others'.

Off unless LEASEKIT_JOURNAL names a file, or `leasekit --journal FILE`. There is one for a process and a file, whatever
the number of its stores, since there is one vector clock for it. Writing never waits for the disk and never fails what
is written about; no request to a store is made for it: the clock travels in the `leader` record that is written anyway.

After a fork the child is another process: it goes on under a name of its own, after all that the parent knew, and in
a file of its own.
"""

from __future__ import annotations

import os
import socket
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leasekit import engine
from leasekit.clock import SYSTEM_CLOCK, Clock, Instant, this_boot
from leasekit.core import logical, records
from leasekit.core.journal_event import JournalEvent, Kind, Writer, dump
from leasekit.core.lease import Belief
from leasekit.core.logical import NEVER
from leasekit.core.records import HoldRecord
from leasekit.errors import ConfigError, LossReason, ProtocolError
from leasekit.store import Entry

if TYPE_CHECKING:
    from leasekit.journal_file import Appender

JOURNAL_VARIABLE = "LEASEKIT_JOURNAL"
RENEWED_EVERY_S = 10.0
"""A line about renewals comes this seldom at the most, and not more than once a ttl, unless one was late."""
EXIT_TIMEOUT_S = 1.0
MOST_ELECTIONS = 4096
"""Of so many it is remembered who was last seen to lead: a line is written when that changes."""

_KINDS = {LossReason.RESIGNED: Kind.RESIGNED, LossReason.TRANSFERRED: Kind.TRANSFERRED}


@dataclass(slots=True)
class _Trust:
    """One stretch of trust in one lease, as far as leaderships rest on it."""

    belief: Belief
    leaderships: int = 0
    renewals: int = 0
    least_left_s: float = float("inf")
    told_s: float = 0.0


class Journal:
    """Writes one. With no `path` it is off, and everything here does nothing. Any thread may call."""

    def __init__(self, path: Path | None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._path = path
        self._time = clock
        self._known = NEVER
        # Reentrant, since collecting garbage may end a leadership at any point.
        self._lock = threading.RLock()
        self._appender: Appender | None = None
        self._pid = 0
        if path is not None:
            self._begin()
            _journals.add(self)

    def _begin(self) -> None:
        """A name and a file for this process."""
        from leasekit.journal_file import Appender, JournalFile

        assert self._path is not None
        host, boot = socket.gethostname()[:200], this_boot()
        process = f"{host}-{os.getpid()}-{os.urandom(4).hex()}"
        self._writer = Writer(process, host, os.getpid(), boot.id, boot.time_namespace)
        self._seq = 0
        self._observed: dict[str, int | None] = {}
        self._trusts: dict[tuple[str | None, int], _Trust] = {}
        self._rests_on: dict[tuple[str, str, int], tuple[str | None, int]] = {}
        self._lock = threading.RLock()
        self._appender = Appender(JournalFile(self._path))
        self._pid = os.getpid()

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return self._path is not None

    @property
    def clock(self) -> Mapping[str, int]:
        """What this process knows now, for a `leader` record; empty while the journal is off."""
        return self._known.counts

    # What happens.

    def campaign(self, election: str, id: str, *, store: str) -> None:
        """A campaign begins."""
        self._tell(Kind.CAMPAIGN, election, id, None, store=store)

    def withdrew(self, election: str, id: str) -> None:
        """A campaign ended without being won."""
        self._tell(Kind.WITHDREW, election, id, None)

    def elected(self, election: str, id: str, token: int, belief: Belief) -> None:
        """It leads now, on the lease of `belief`."""
        if not self.on:
            return
        with self._lock:
            trust = self._trusts.setdefault((belief.lease_id, belief.epoch), _Trust(belief))
            trust.leaderships += 1
            self._rests_on[election, id, token] = (belief.lease_id, belief.epoch)
            self._remember(election, token)
            self._tell(Kind.ELECTED, election, id, token, **self._told(trust))

    def renewed(self, belief: Belief, left_s: float) -> None:
        """A renewal was confirmed when `left_s` seconds of the lease were left; now it is trusted as `belief` says."""
        if not self.on:
            return
        with self._lock:
            trust = self._trusts.get((belief.lease_id, belief.epoch))
            if trust is None:  # nobody leads on it
                return
            trust.belief = belief
            trust.renewals += 1
            trust.least_left_s = min(trust.least_left_s, left_s)
            seldom_s = max(RENEWED_EVERY_S, belief.ttl_s)
            if left_s < belief.ttl_s / 3 or self._time.now().boot_s >= trust.told_s + seldom_s:
                news = {"renewals": trust.renewals, "least_left_s": round(trust.least_left_s, 6)}
                trust.renewals, trust.least_left_s = 0, float("inf")
                self._tell(Kind.RENEWED, None, None, None, **news, **self._told(trust))

    def ended(self, election: str, id: str, token: int, reason: LossReason) -> None:
        """It leads no more."""
        if not self.on:
            return
        with self._lock:
            key = self._rests_on.pop((election, id, token), None)
            if key is None or (trust := self._trusts.get(key)) is None:
                return
            trust.leaderships -= 1
            if not trust.leaderships:
                del self._trusts[key]
            kind = _KINDS.get(reason, Kind.LOST)
            self._tell(kind, election, id, token, reason=reason.value, **self._told(trust))

    def saw(self, election: str, id: str | None, leader: Entry | None, *, mine: bool = False) -> None:
        """The `leader` record was read, by the candidate `id` if there is one: what it knew is known here from now on."""
        if not self.on:
            return
        who, token, counts = _read(leader)
        with self._lock:
            if mine:
                self._hear(counts)
            elif self._observed.get(election) != token:
                self._hear(counts)
                self._remember(election, token)
                self._tell(Kind.OBSERVED, election, id, token, leader=who)

    def fenced(self, resource: str, election: str, token: int, highest: int) -> None:
        """A guard here refused `token`, having seen `highest`."""
        self._tell(Kind.FENCED, election, None, token, resource=resource, highest=highest)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is in the file; False if that takes longer than `timeout_s` seconds."""
        appender = self._appender
        return appender is None or self._pid != os.getpid() or appender.flush(timeout_s)

    # How it is told.

    def _tell(self, kind: Kind, election: str | None, id: str | None, token: int | None, **details: Any) -> None:
        if not self.on:
            return
        with self._lock:
            now = self._time.now()
            self._known = self._known.tick(self._writer.process)
            self._seq += 1
            event = JournalEvent(
                kind=kind,
                writer=self._writer,
                seq=self._seq,
                boot_s=now.boot_s,
                wall_s=self._time.wall_s(),
                clock=self._known,
                election=election,
                id=id,
                token=token,
                details={key: _on_boot_clock(value, now) for key, value in details.items()},
            )
            assert self._appender is not None
            self._appender.put(dump(event))

    def _told(self, trust: _Trust) -> dict[str, Any]:
        """What a line says of the lease."""
        trust.told_s = self._time.now().boot_s
        belief = trust.belief
        return {"lease": belief.lease_id, "ttl_s": belief.ttl_s, "deadline_s": belief.deadline}

    def _hear(self, counts: Mapping[str, int]) -> None:
        try:
            self._known = self._known.merged(logical.read(counts))
        except ValueError:  # another program's: no reason to stop anything
            return

    def _remember(self, election: str, token: int | None) -> None:
        self._observed.pop(election, None)
        self._observed[election] = token
        if len(self._observed) > MOST_ELECTIONS:
            del self._observed[next(iter(self._observed))]

    def _forked(self) -> None:
        """In a forked child: the file is the parent's, and locks may be held by threads that are not here."""
        if self._appender is not None:
            self._appender.file.close()
        self._begin()


def _read(leader: Entry | None) -> tuple[str | None, int | None, Mapping[str, int]]:
    """Who leads, by which token, and what was known there; nobody if the place is held or the record cannot be read."""
    try:
        record = None if leader is None else records.load_leader(leader.value)
    except ProtocolError:
        record = None
    if leader is None or record is None or isinstance(record, HoldRecord):
        return None, None, {}
    return record.id, record.base + leader.revision, record.clock


def _on_boot_clock(value: object, now: Instant) -> object:
    """A deadline as `boot_s` has it, by whichever clock it comes first; anything else as it is."""
    return round(now.boot_s + now.until(value), 6) if isinstance(value, Instant) else value


OFF = Journal(None)
_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_by_path: dict[Path, Journal] = {}
_chosen: Path | None = None
_choosing = threading.Lock()


def of_process() -> Journal:
    """The journal that this process writes: the file given to `write_to`, or else by LEASEKIT_JOURNAL; or none."""
    path = _chosen or os.environ.get(JOURNAL_VARIABLE)
    if not path:
        return OFF
    place = Path(path).absolute()
    with _choosing:
        if place not in _by_path:
            _by_path[place] = Journal(place)
        return _by_path[place]


def write_to(path: Path) -> None:
    """From now on, connections of this process write their journal there. Raises ConfigError if that cannot work."""
    global _chosen
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError("--journal", f"{folder} is no directory: make it first")
    if path.exists() and not path.is_file():
        raise ConfigError("--journal", f"{path} is no regular file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigError("--journal", f"{path} may not be written")
    _chosen = path.absolute()


def _flush_all() -> None:
    for journal in list(_journals):
        journal.flush(EXIT_TIMEOUT_S)


def _after_fork() -> None:
    global _choosing
    _choosing = threading.Lock()
    for journal in list(_journals):
        journal._forked()


# Before connections register theirs, which so come first, and may still have something to tell.
engine.before_exit(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
