"""The records under `<prefix>/<election>/`, as other programs read them (JSON, UTF-8, `"schema": 1`).

All keys are always present when written; unknown keys are ignored when read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from leasekit.errors import ConfigError, ProtocolError

SCHEMA = 1
HISTORY_LENGTH = 64
BASE_KEY = "base"

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,199}")


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the records of one election stand, relative to the store's prefix."""

    election: str

    @property
    def leader(self) -> str:
        return f"{self.election}/leader"

    @property
    def queue(self) -> str:
        """The prefix of all candidates' keys."""
        return f"{self.election}/candidates/"

    def candidate(self, id: str) -> str:
        return self.queue + id

    @property
    def history(self) -> str:
        return f"{self.election}/history"

    @property
    def request(self) -> str:
        return f"{self.election}/request"


def check_name(field_name: str, name: str) -> str:
    """Refuse an election name or id that cannot be a part of a key in every store and on every command line."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            field_name,
            f"{name!r} will not do: 1 to 200 letters, digits and any of . _ : @ + - , the first a letter or digit",
        )
    return name


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """What stands in `candidates/<id>`: who queues, and how urgently. `ttl_s` is the granted one."""

    id: str
    host: str
    pid: int
    priority: int
    ttl_s: float
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class LeaderRecord:
    """What stands in `leader`. `since` is UTC and for people only; the token is `base` + the key's revision."""

    id: str
    host: str
    pid: int
    ttl_s: float
    since: str
    base: int
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    clock: Mapping[str, int] = field(default_factory=dict, hash=False)

    @staticmethod
    def of(
        candidate: CandidateRecord, *, base: int, wall_s: float, clock: Mapping[str, int] | None = None
    ) -> LeaderRecord:
        """The record of this candidate's leadership, from now on. `clock`: what whoever puts it knows (`core.logical`)."""
        return LeaderRecord(
            id=candidate.id,
            host=candidate.host,
            pid=candidate.pid,
            ttl_s=candidate.ttl_s,
            since=utc(wall_s),
            base=base,
            meta=candidate.meta,
            clock=clock or {},
        )


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """What replaces `leader` in a forced resignation: nobody leads until the old lease is surely out of use.

    Bound to no lease. Whoever is first in the queue revokes `lease_id`, waits `ttl_s` (and drift), then claims.
    """

    lease_id: str
    ttl_s: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """An operator's wish, for the leadership with `token` alone: to resign, or to transfer to an id."""

    token: int
    action: str
    to: str | None


@dataclass(frozen=True, slots=True)
class PastLeadership:
    """One line of `history`; `ended` and `reason` are None while it lasts or if nobody could tell."""

    token: int
    id: str
    began: str
    ended: str | None
    reason: str | None


def utc(wall_s: float) -> str:
    """A moment as people write it, in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def dump_candidate(record: CandidateRecord) -> bytes:
    return dump_record(
        {
            "id": record.id,
            "host": record.host,
            "pid": record.pid,
            "priority": record.priority,
            "ttl_s": record.ttl_s,
            "meta": record.meta,
        }
    )


def dump_leader(record: LeaderRecord) -> bytes:
    return dump_record(
        {
            "id": record.id,
            "host": record.host,
            "pid": record.pid,
            "ttl_s": record.ttl_s,
            "since": record.since,
            "base": record.base,
            "meta": record.meta,
            "clock": record.clock,
        }
    )


def dump_hold(record: HoldRecord) -> bytes:
    """All keys of a leader record are there, so that a reader who knows no holds sees that nobody leads."""
    nobody: dict[str, Any] = {
        "id": None,
        "host": None,
        "pid": None,
        "ttl_s": None,
        "since": None,
        "base": 0,
        "meta": {},
        "clock": {},
    }
    return dump_record({**nobody, "hold": asdict(record)})


def dump_request(record: RequestRecord) -> bytes:
    return dump_record(asdict(record))


def dump_base(base: int) -> bytes:
    return str(base).encode()


def dump_history(past: Sequence[PastLeadership]) -> bytes:
    """The newest last; at most `HISTORY_LENGTH` are kept."""
    lines = [
        {"token": line.token, "id": line.id, "from": line.began, "to": line.ended, "reason": line.reason}
        for line in past[-HISTORY_LENGTH:]
    ]
    return dump_record({"leaderships": lines})


def load_candidate(value: bytes) -> CandidateRecord:
    data = load_record("candidate", value)
    with Reading("candidate"):
        return CandidateRecord(
            id=str(data["id"]),
            host=str(data["host"]),
            pid=int(data["pid"]),
            priority=int(data["priority"]),
            ttl_s=_duration_s(data["ttl_s"]),
            meta=dict(data["meta"]),
        )


def load_leader(value: bytes) -> LeaderRecord | HoldRecord:
    data = load_record("leader", value)
    with Reading("leader"):
        if data.get("hold") is not None:
            return HoldRecord(lease_id=str(data["hold"]["lease_id"]), ttl_s=_duration_s(data["hold"]["ttl_s"]))
        return LeaderRecord(
            id=str(data["id"]),
            host=str(data["host"]),
            pid=int(data["pid"]),
            ttl_s=_duration_s(data["ttl_s"]),
            since=str(data["since"]),
            base=int(data["base"]),
            meta=dict(data["meta"]),
            clock=dict(data["clock"]),
        )


def load_request(value: bytes) -> RequestRecord:
    data = load_record("request", value)
    with Reading("request"):
        to = data["to"]
        return RequestRecord(token=int(data["token"]), action=str(data["action"]), to=None if to is None else str(to))


def load_base(value: bytes) -> int:
    try:
        return int(value)
    except ValueError:
        raise ProtocolError(f"the key {BASE_KEY!r} does not hold an integer") from None


def load_history(value: bytes) -> tuple[PastLeadership, ...]:
    data = load_record("history", value)
    with Reading("history"):
        return tuple(
            PastLeadership(
                token=int(line["token"]), id=line["id"], began=line["from"], ended=line["to"], reason=line["reason"]
            )
            for line in data["leaderships"]
        )


def dump_record(data: Mapping[str, Any]) -> bytes:
    """A record as it stands in the store."""
    return _encode({"schema": SCHEMA, **data}).encode()


def load_record(what: str, value: bytes) -> dict[str, Any]:
    """The fields of a record of this schema; ProtocolError if it is none. `what` names it."""
    try:
        data = json.loads(value)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ProtocolError(f"the {what} record is not a JSON object: another program writes under this prefix")
    if data.get("schema") != SCHEMA:
        raise ProtocolError(f"the {what} record has schema {data.get('schema')!r}, this leasekit reads {SCHEMA}")
    return data


def _duration_s(value: Any) -> float:
    """Seconds that can be waited for. Python's JSON knows NaN and Infinity, which no deadline ever reaches."""
    seconds = float(value)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{seconds} is no duration")
    return seconds


class Reading:
    """Turns a missing or ill-typed field into a ProtocolError that names the record."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError | OverflowError):
            raise ProtocolError(f"the {self._what} record lacks or garbles a field: {error}") from None
