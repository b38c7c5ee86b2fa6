"""What is said to etcd and what its answers mean: the store contract's objects to messages and back. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.errors import ConfigError, LeaseLost, ProtocolError
from leasekit.store import Absent, At, Changed, Committed, Compare, Delete, Entry, Get, Lease, NoneUnder, Op, Put

OPERATIONS_MAX = 128
"""etcd's default `--max-txn-ops`: it refuses more compares, or more operations, in one transaction."""

TTL_MIN_S = 1
TTL_MAX_S = 9_000_000_000

_REVISION_THAT_NEVER_IS = -1


class Keys:
    """The contract's keys as etcd has them, under this connection's prefix. Keys of others that are not UTF-8 survive."""

    def __init__(self, prefix: str) -> None:
        self.root = self._bytes(f"{prefix}/")
        """Where all keys start."""

    def encode(self, key: str) -> bytes:
        return self.root + self._bytes(key)

    def decode(self, raw: bytes) -> str:
        return raw[len(self.root) :].decode("utf-8", "surrogateescape")

    def span(self, prefix: str) -> tuple[bytes, bytes]:
        """The first key that starts with `prefix`, and the first after it that does not."""
        start = self.encode(prefix)
        return start, range_end(start)

    @staticmethod
    def _bytes(text: str) -> bytes:
        return text.encode("utf-8", "surrogateescape")


def range_end(start: bytes) -> bytes:
    """The first key above every key that starts with `start`."""
    stem = start.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"


# Leases.


def lease_text(number: int) -> str:
    """A lease as the contract and etcdctl name it."""
    return f"{number:016x}"


def lease_number(text: str) -> int | None:
    """A lease as etcd names it; None if no lease can be called so."""
    try:
        number = int(text, 16)
    except ValueError:
        return None
    return number if 0 < number < 1 << 63 else None


def grant_request(ttl_s: float) -> rpc.LeaseGrantRequest:
    """Ask for a lease of `ttl_s` seconds, rounded up: etcd counts whole ones. Raises ConfigError out of its range."""
    if not TTL_MIN_S <= ttl_s <= TTL_MAX_S:
        raise ConfigError("ttl_s", f"is {ttl_s:g}; etcd grants from {TTL_MIN_S} to {TTL_MAX_S} seconds")
    return rpc.LeaseGrantRequest(TTL=math.ceil(ttl_s))


def granted(answer: rpc.LeaseGrantResponse) -> Lease:
    """The lease that was granted, which may live longer than was asked."""
    if answer.error or answer.TTL <= 0:
        raise ProtocolError(f"etcd granted no lease: {answer.error or f'ttl {answer.TTL}'}")
    return Lease(lease_text(answer.ID), float(answer.TTL))


# Keys.


def entry(keys: Keys, pair: rpc.KeyValue) -> Entry:
    """A key as the contract tells of it."""
    return Entry(
        keys.decode(pair.key),
        pair.value,
        pair.create_revision,
        pair.mod_revision,
        lease_text(pair.lease) if pair.lease else None,
    )


def read_request(keys: Keys, get: Get) -> rpc.RangeRequest:
    """Read a key or a prefix: as of now (linearizable), which is etcd's default."""
    if not get.prefix:
        return rpc.RangeRequest(key=keys.encode(get.key))
    start, end = keys.span(get.key)
    return rpc.RangeRequest(key=start, range_end=end)


def entries(keys: Keys, answer: rpc.RangeResponse) -> tuple[Entry, ...]:
    """What was read, in key order."""
    return tuple(entry(keys, pair) for pair in answer.kvs)


def change(keys: Keys, event: rpc.Event) -> Changed:
    """What an event of a watch tells."""
    key = keys.decode(event.kv.key)
    if event.type == rpc.Event.DELETE:
        return Changed(key, None, event.kv.mod_revision)
    return Changed(key, entry(keys, event.kv), event.kv.mod_revision)


# Transactions.


def transaction(keys: Keys, compares: Sequence[Compare], ops: Sequence[Op]) -> rpc.TxnRequest:
    """Ask for `ops` if all `compares` hold. Raises ConfigError above etcd's limit, LeaseLost for what can be no lease."""
    for name, count in (("compares", len(compares)), ("ops", len(ops))):
        if count > OPERATIONS_MAX:
            raise ConfigError(name, f"{count} in one transaction; etcd takes {OPERATIONS_MAX}")
    request = rpc.TxnRequest()
    # Filled in place: each message that is handed over instead is copied.
    for compare in compares:
        _add_compare(request, keys, compare)
    for op in ops:
        _add_operation(request, keys, op)
    return request


def committed(keys: Keys, answer: rpc.TxnResponse) -> Committed | None:
    """What became of a transaction; None if a compare failed."""
    if not answer.succeeded:
        return None
    reads = tuple(
        entries(keys, done.response_range)
        for done in answer.responses
        if done.WhichOneof("response") == "response_range"
    )
    return Committed(answer.header.revision, reads)


def reads_only(ops: Sequence[Op]) -> bool:
    """Whether a transaction changes nothing, so that it may be asked twice."""
    return all(isinstance(op, Get) for op in ops)


def puts_on(ops: Sequence[Op]) -> list[str]:
    """The leases that a transaction puts keys on, each once."""
    return list(dict.fromkeys(op.lease_id for op in ops if isinstance(op, Put) and op.lease_id is not None))


def _add_compare(request: rpc.TxnRequest, keys: Keys, compare: Compare) -> None:
    match compare:
        case Absent(key):
            request.compare.add(target=rpc.Compare.CREATE, key=keys.encode(key), create_revision=0)
        case At(key, revision):
            # To etcd a missing key is at revision 0; to the contract it is at none.
            wanted = revision if revision > 0 else _REVISION_THAT_NEVER_IS
            request.compare.add(target=rpc.Compare.MOD, key=keys.encode(key), mod_revision=wanted)
        case NoneUnder(prefix):
            start, end = keys.span(prefix)
            request.compare.add(target=rpc.Compare.CREATE, key=start, range_end=end, create_revision=0)


def _add_operation(request: rpc.TxnRequest, keys: Keys, op: Op) -> None:
    added = request.success.add()
    match op:
        case Put(key, value, lease_id):
            lease = 0 if lease_id is None else lease_number(lease_id)
            if lease is None:
                raise LeaseLost(str(lease_id))
            put = added.request_put
            put.key, put.value, put.lease = keys.encode(key), value, lease
        case Delete(key):
            added.request_delete_range.key = keys.encode(key)
        case Get():
            added.request_range.CopyFrom(read_request(keys, op))
