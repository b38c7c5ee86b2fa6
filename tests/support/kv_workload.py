"""A long run of commands from one seed, and what Raft's state machine made of it, as one digest.

`python -m support.kv_workload SEED` prints the digest, so that runs of several interpreters can be compared.
"""

from __future__ import annotations

import hashlib
import random
import sys

from leasekit.backends.raft.kv.commands import (
    Command,
    Expire,
    Grant,
    OpenSession,
    Proposal,
    Renew,
    Revoke,
    Transact,
    encode,
)
from leasekit.backends.raft.kv.machine import StateMachine
from leasekit.store import Delete, Get, Put

COMMANDS = 3000


def workload(seed: int) -> list[bytes]:
    """Commands of twenty sessions over a hundred keys and a handful of leases with many keys each."""
    chance = random.Random(seed)
    log: list[bytes] = [encode(Proposal(0, 0, 0, OpenSession(b"%d" % number))) for number in range(20)]
    lease_ids = ["1"]
    while len(log) < COMMANDS:
        lease_id = chance.choice(lease_ids)
        keys = [f"key/{number}" for number in chance.sample(range(100), 4)]
        commands: list[Command] = [
            Grant(1000),
            Renew(lease_id),
            Revoke(lease_id) if chance.random() < 0.5 else Renew(lease_id),
            Transact((), tuple(Put(key, key.encode(), chance.choice([None, lease_id])) for key in keys)),
            Transact((), (Delete(keys[0]), Get("key/1", True))),
        ]
        command = chance.choice(commands)
        if isinstance(command, Grant):
            lease_ids = [*lease_ids[-4:], str(len(log) + 1)]
        log.append(encode(Proposal(chance.randint(1, 20), len(log), max(0, len(log) - 500), command)))
        if chance.random() < 0.05:
            log.append(encode(Proposal(0, 0, 0, Expire(lease_id, int(lease_id)))))
    return log


def digest(log: list[bytes]) -> str:
    """Of every outcome and change, in order, and of the snapshot at the end."""
    machine = StateMachine(sessions_max=15)
    seen = hashlib.sha256()
    for index, data in enumerate(log, 1):
        seen.update(repr(machine.apply(index, data)).encode())
    seen.update(machine.freeze().encode())
    return seen.hexdigest()


if __name__ == "__main__":
    print(digest(workload(int(sys.argv[1]))))
