"""What is said to Consul and what its answers show, as pure functions: no I/O, no clock. Errors are `failures`' part.

How the contract is said in Consul's `/v1/txn` (tried on 1.8.7):

* `lock` and `set` on an existing key keep its session and, if the value is the same, its ModifyIndex; so a `Put`
  deletes first, save where a compare already says that the key is absent. All keys put share one ModifyIndex.
* `delete` answers nothing, not even an index; so a transaction that puts nothing sets one of the keys that it deletes
  and deletes it again, unseen by anybody, for the index of the `set`.
* `get` of a missing key fails the whole transaction; so every `Get` is a `get-tree`, which answers nothing instead.
* A transaction of reads answers no index; `Committed.revision` then needs one that was read before it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from leasekit.errors import ConfigError, ProtocolError
from leasekit.store import Absent, Committed, Compare, Delete, Entry, Get, NoneUnder, Op, Put

OPERATIONS_MAX = 64
# Consul's default `kv_max_value_size` and `txn_max_req_len`; a request carries values in base64.
REQUEST_MAX_BYTES = 512 * 1024

Operation = dict[str, Any]


def full_key(root: str, key: str) -> str:
    """The key as Consul has it. Raises ConfigError for one that Consul's HTTP paths cannot name."""
    full = root + key
    parts = full.split("/")
    if any(part in ("", ".", "..") for part in parts[:-1]) or parts[-1] in (".", ".."):
        raise ConfigError("key", f"{full!r} has an empty, '.' or '..' part, which Consul cannot address")
    return full


def neighbour(key: str) -> str:
    """A key beside `key` that nobody uses. Reading one that is absent tells the store's own index."""
    return key + "~"


def session_request(ttl_s: float, *, lock_delay_s: float, checks: Sequence[str]) -> tuple[bytes, float]:
    """The body that makes a session, and the TTL in it, in seconds: whole milliseconds, rounded up.

    `checks` is sent even if empty: left out, Consul ties the session to `serfHealth`, which ends it when the agent dies.
    """
    ttl_ms = math.ceil(ttl_s * 1000)
    body = {
        "Name": "leasekit",
        "TTL": f"{ttl_ms}ms",
        "Behavior": "delete",
        "LockDelay": f"{round(lock_delay_s * 1000)}ms",
        "NodeChecks": list(checks),
        "ServiceChecks": [],
    }
    return json.dumps(body).encode(), ttl_ms / 1000


def session_id(body: str) -> str:
    """The id of the session that was made."""
    created = _loads(body)
    if not isinstance(created, dict) or not isinstance(created.get("ID"), str):
        raise ProtocolError("Consul's answer to a session request has no ID")
    return str(created["ID"])


def session_ttl_s(body: str) -> float:
    """The TTL of a session that was renewed, in seconds, as Consul repeats it."""
    renewed = _loads(body)
    try:
        return _seconds(renewed[0]["TTL"])
    except (TypeError, LookupError, ValueError):
        raise ProtocolError("Consul's answer to a renewal has no usable TTL") from None


_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)")


def _seconds(duration: str) -> float:
    """A duration as Go writes it: "1m30s". Raises ValueError."""
    if not re.fullmatch(f"({_DURATION_PART.pattern})+", duration):
        raise ValueError(duration)
    return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(duration))


def entries(root: str, body: str) -> tuple[Entry, ...]:
    """What a read of keys answered, in key order."""
    found = _loads(body)
    if not isinstance(found, list):
        raise ProtocolError("Consul's answer to a read is no list")
    return tuple(_entry(root, pair) for pair in found)


def index(header: str | None) -> int:
    """The value of `X-Consul-Index`, never less than 1: a blocking query with index 0 would not block."""
    if header is None or not header.isdigit():
        raise ProtocolError(f"Consul's answer has no usable X-Consul-Index: {header!r}")
    return max(1, int(header))


def _entry(root: str, pair: Any) -> Entry:
    try:
        key, value, session = pair["Key"], pair["Value"], pair.get("Session")
        return Entry(
            key=str(key).removeprefix(root),
            value=base64.b64decode(value or "", validate=True),
            create_revision=int(pair["CreateIndex"]),
            revision=int(pair["ModifyIndex"]),
            lease_id=session or None,
        )
    except (TypeError, KeyError, ValueError, AttributeError, binascii.Error) as error:
        raise ProtocolError(f"Consul's answer holds a malformed key-value pair ({type(error).__name__})") from None


def _loads(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise ProtocolError("Consul's answer is no JSON: is this address an agent's HTTP port?") from None


# What each operation answers: nothing, one pair of the key that it names, or all the pairs under a prefix.


@dataclass(frozen=True, slots=True)
class _Checked:
    key: str


@dataclass(frozen=True, slots=True)
class _Written:
    key: str


@dataclass(frozen=True, slots=True)
class _Tree:
    prefix: str
    whole: bool
    """Whether all keys with that prefix are wanted, or only the one that is the prefix."""


_Answered = _Checked | _Written | _Tree


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction in Consul's words, and how to read its answer."""

    root: str
    operations: tuple[Operation, ...]
    _answered: tuple[_Answered, ...]

    @property
    def writes(self) -> bool:
        """Whether it changes anything. One that does not is answered by a consistent read."""
        return any(isinstance(step, _Written) for step in self._answered)

    @property
    def body(self) -> bytes:
        """What is sent. Raises ConfigError if it is too large for Consul."""
        if len(self.operations) > OPERATIONS_MAX:
            raise ConfigError(
                "transaction",
                f"needs {len(self.operations)} operations, Consul takes {OPERATIONS_MAX}: ask for less at once",
            )
        return json.dumps([{"KV": operation} for operation in self.operations]).encode()

    def committed(self, body: str, index_before: int = 0) -> Committed:
        """What a granted transaction did. `index_before`: the store's index at some moment before, if it only reads."""
        answer = _loads(body)
        if not isinstance(answer, dict):
            raise ProtocolError("Consul's answer to a transaction is no object")
        pairs = [result.get("KV") if isinstance(result, dict) else None for result in answer.get("Results") or ()]
        return _Reader([_entry(self.root, pair) for pair in pairs], self.writes).committed(self._answered, index_before)


def transaction(root: str, compares: Sequence[Compare], ops: Sequence[Op]) -> Transaction:
    """Say a transaction in Consul's words. Raises ConfigError for what Consul cannot do."""
    operations: list[Operation] = []
    answered: list[_Answered] = []
    for compare in compares:
        if isinstance(compare, NoneUnder):
            raise ConfigError("transaction", "Consul cannot compare that no key has a prefix")
        key = full_key(root, compare.key)
        if isinstance(compare, Absent):
            operations.append(_operation("check-not-exists", key))
        else:
            operations.append(_operation("check-index", key, Index=compare.revision))
            answered.append(_Checked(compare.key))
    absent = {compare.key for compare in compares if isinstance(compare, Absent)}
    index_from = None if any(isinstance(op, Put) for op in ops) else _first_deleted(ops)
    for op in ops:
        key = full_key(root, op.key)
        if isinstance(op, Put):
            operations += _put(key, op, absent=op.key in absent)
            answered.append(_Written(op.key))
        elif isinstance(op, Get):
            operations.append(_operation("get-tree", key))
            answered.append(_Tree(op.key, op.prefix))
        else:
            operations.append(_operation("delete", key))
            if op is index_from:
                operations += [_operation("set", key, Value=""), _operation("delete", key)]
                answered.append(_Written(op.key))
    return Transaction(root, tuple(operations), tuple(answered))


def _first_deleted(ops: Iterable[Op]) -> Delete | None:
    return next((op for op in ops if isinstance(op, Delete)), None)


def _put(key: str, op: Put, *, absent: bool) -> list[Operation]:
    if len(op.value) > REQUEST_MAX_BYTES:
        raise ConfigError("value", f"of {op.key!r} has {len(op.value)} bytes, Consul takes {REQUEST_MAX_BYTES}")
    value = base64.b64encode(op.value).decode()
    if op.lease_id is None:
        put = _operation("set", key, Value=value)
    else:
        put = _operation("lock", key, Value=value, Session=op.lease_id)
    return [put] if absent else [_operation("delete", key), put]


def _operation(verb: str, key: str, **rest: Any) -> Operation:
    return {"Verb": verb, "Key": key, **rest}


class _Reader:
    """Deals the pairs of an answer out to the operations that they answer.

    Consul strings them together with nothing in between. A tree's pairs rise strictly and share its prefix. One that
    goes on may look like the next put's pair only if it is that very key, and those differ by their index: what
    was put has the transaction's own, which is the highest.
    """

    def __init__(self, pairs: Sequence[Entry], writes: bool) -> None:
        self._pairs = pairs
        self._position = 0
        self._highest = max((pair.revision for pair in pairs), default=0)
        self._own = self._highest if writes else None

    def committed(self, answered: Sequence[_Answered], index_before: int) -> Committed:
        to_come = {step.key for step in answered if isinstance(step, _Written)}
        reads: list[tuple[Entry, ...]] = []
        for step in answered:
            if isinstance(step, _Tree):
                tree = self._tree(step.prefix, to_come)
                reads.append(tree if step.whole else tuple(pair for pair in tree if pair.key == step.prefix))
            else:
                self._one(step)
                to_come.discard(step.key)
        if self._position != len(self._pairs):
            raise ProtocolError("Consul answered more to a transaction than it was asked")
        revision = self._own if self._own is not None else max(self._highest, index_before)
        return Committed(revision, tuple(reads))

    def _one(self, step: _Checked | _Written) -> None:
        pair = self._pairs[self._position] if self._position < len(self._pairs) else None
        if pair is None or pair.key != step.key or (isinstance(step, _Written) and pair.revision != self._own):
            raise ProtocolError(f"Consul's answer to a transaction lacks what became of {step.key!r}")
        self._position += 1

    def _tree(self, prefix: str, to_come: set[str]) -> tuple[Entry, ...]:
        start = self._position
        last = ""
        for pair in self._pairs[start:]:
            put_next = pair.key in to_come and pair.revision == self._own
            if put_next or not pair.key.startswith(prefix) or (self._position > start and pair.key <= last):
                break
            last = pair.key
            self._position += 1
        return tuple(self._pairs[start : self._position])
