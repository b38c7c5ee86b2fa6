"""What happens to a store from outside: operators, and leases that run out."""

from __future__ import annotations

from collections.abc import Iterator

from leasekit.core import queue, records
from leasekit.core.records import HoldRecord, RequestRecord
from leasekit.store import At, Delete, Entry, Put
from model.moves import Move
from model.process import KEYS
from model.storage import Shelf, Storage


def operator_moves(shelf: Shelf, store: Storage, wishes: frozenset[str]) -> Iterator[Move]:
    """What an operator may do from outside, and leases that run out."""
    for lease_id, left in store.leases:
        if left == 0:
            yield Move(f"lease {lease_id} runs out", None, shelf.ended(store, lease_id))
    leader = store.by_key.get(KEYS.leader)
    if leader is not None and leader.lease_id is not None:
        if "force" in wishes:
            after = _held(shelf, store, leader, hold="no hold" not in wishes)
            yield Move("operator: ends the leadership by force", None, after, wishes=1)
            if "no hold" in wishes:
                # With nothing to remember which lease it was, the revoke comes at once.
                revoked = shelf.ended(after, leader.lease_id)
                yield Move("operator: ends the leadership by force, and revokes", None, revoked, wishes=1)
        if "request" in wishes:
            # The one before as well: an operator may look, and ask when another leads.
            for token in (queue.token_of(leader), queue.token_of(leader) - 1):
                value = records.dump_request(RequestRecord(token, "resign", None))
                after, _ = shelf.transact(store, (), (Put(KEYS.request, value),))
                yield Move(f"operator: asks the leader with token {token} to resign", None, after, wishes=1)
    if leader is not None and leader.lease_id is None and "force" in wishes:
        hold = records.load_leader(leader.value)
        assert isinstance(hold, HoldRecord)
        if store.lives(hold.lease_id):
            yield Move("operator: revokes the old lease", None, shelf.ended(store, hold.lease_id))
    if "rebase" in wishes:
        yield Move("operator: rebases the tokens", None, _rebased(shelf, store), wishes=1)


def _held(shelf: Shelf, store: Storage, leader: Entry, *, hold: bool) -> Storage:
    """Rule 10a."""
    record = records.load_leader(leader.value)
    assert isinstance(record, records.LeaderRecord) and leader.lease_id is not None
    value = records.dump_hold(HoldRecord(leader.lease_id, record.ttl_s))
    instead = Put(KEYS.leader, value) if hold else Delete(KEYS.leader)
    compares = (At(KEYS.leader, leader.revision),)
    after, _ = shelf.transact(store, compares, (instead, Delete(KEYS.candidate(record.id))))
    return after


def _rebased(shelf: Shelf, store: Storage) -> Storage:
    base = store.by_key.get(records.BASE_KEY)
    value = records.dump_base((records.load_base(base.value) if base else 0) + 1000)
    after, _ = shelf.transact(store, (), (Put(records.BASE_KEY, value),))
    return after
