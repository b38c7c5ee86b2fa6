"""What a process and a store say of each other: what is yet to be told, whose turn it is, who waits in vain."""

from __future__ import annotations

from leasekit.core import queue, records
from leasekit.core.contest import Phase
from leasekit.core.queue import Holder
from model.aging import NOW
from model.process import KEYS, Process
from model.storage import Kind, Storage


def out_of_turn(process: Process) -> bool:
    """Whether the process has gone without a leader for long enough to claim out of turn (rule 5)."""
    since = process.contest.leaderless_since
    return since is not None and NOW.reached(since.plus(2 * process.contest.ttl_s))


def ahead_of_new_leader(before: Storage, after: Storage) -> str | None:
    """Whose turn it was, if a leader appeared who was not first in the queue."""
    if before is after or KEYS.leader in before.by_key or KEYS.leader not in after.by_key:
        return None
    waiting = _queue(before)
    return waiting[0] if waiting and waiting[0] != _key_of_leader(after) else None


def jumped_in(before: Storage, after: Storage, kind: Kind) -> str | None:
    """What is wrong if a leader appeared who did not even queue although others did."""
    first = ahead_of_new_leader(before, after)
    if first is None or not kind.compares_empty or _key_of_leader(after) in before.by_key:
        return None
    return f"a leader appears who does not queue, and {first} does"


def _key_of_leader(store: Storage) -> str:
    record = records.load_leader(store.by_key[KEYS.leader].value)
    assert isinstance(record, records.LeaderRecord)
    return KEYS.candidate(record.id)


def pending(process: Process, store: Storage) -> frozenset[str]:
    """Watched keys with a change that the process was not told."""
    watching = process.contest.watching
    told = dict(process.told)
    return frozenset(key for key in watching.keys if store.changed_at(key) > max(watching.after, told.get(key, 0)))


def stranded(process: Process, store: Storage) -> str | None:
    """A lost wake-up: everything is delivered, and still the process waits for what has happened already."""
    contest = process.contest
    leader = store.by_key.get(KEYS.leader)
    if contest.phase is Phase.LEADING and (leader is None or leader.revision != contest.leader_revision):
        return "leads although the record is not its own"
    if contest.phase is not Phase.WAITING or contest.conflict_since is not None:
        return None
    if contest.candidate_key not in store.by_key:
        return "waits although its key is gone"
    holder = queue.holder_of(leader, lease_id=contest.lease_id, id=contest.setup.id)
    if holder is Holder.ME:
        return "waits although the record is its own"
    if holder is Holder.NOBODY and _queue(store)[0] == contest.candidate_key:
        return "waits although nobody leads and it is first"
    return None


def _queue(store: Storage) -> list[str]:
    entries = [entry for entry in store.entries if entry.key.startswith(KEYS.queue)]
    return [
        entry.key for entry in sorted(entries, key=lambda entry: (-queue.priority_of(entry), entry.create_revision))
    ]
