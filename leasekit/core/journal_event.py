"""One line of a journal: what a process believed, did or saw at one moment (JSON, `"schema": 1`).

Each line stands alone: rotated files and torn ones can be read without what was before. Keys that every line has:

| key | holds |
|---|---|
| `schema` | 1 |
| `event` | one of `Kind` |
| `process`, `seq` | who writes: a name for one life of one process; and the number of the line in it, from 1 |
| `host`, `pid` | the same for people |
| `boot_s`, `boot_id`, `time_namespace` | the suspend-aware clock, and what two lines must share for it to compare |
| `wall` | UTC: for people, and between machines, as far as their clocks agree |
| `lamport`, `clock` | Lamport's time and the vector clock of this event |
| `election`, `id`, `token` | what it is about; null where that is nothing |

What other keys a kind has stands beside it in `Kind`. Unknown keys and kinds are ignored when read.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from leasekit.core import logical
from leasekit.core.logical import VectorClock
from leasekit.core.records import utc

SCHEMA = 1
LONGEST_LINE = 65536
"""Bytes of one line. The vector, which has at most 64 entries, is the most of it."""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class Kind(enum.StrEnum):
    """What a line says. Times that end in `_s` are seconds of the line's own `boot_s` clock where they are instants."""

    CAMPAIGN = "campaign"
    """It begins to campaign. `store`: the URL, without secrets."""
    WITHDREW = "withdrew"
    """The campaign ended without being won."""
    OBSERVED = "observed"
    """It read another leadership than before in `leader`. `leader`: whose; null: nobody leads."""
    ELECTED = "elected"
    """It leads, as far as it knows. `lease`, `ttl_s`, `deadline_s`: until when that may be relied on."""
    RENEWED = "renewed"
    """A lease was renewed. `lease`, `ttl_s`, `deadline_s`; `renewals`: how many since the last such line;
    `least_left_s`: what was left of the lease when the latest of them came."""
    LOST = "lost"
    """It leads no more, and did not let go of it. `reason`, `deadline_s`."""
    RESIGNED = "resigned"
    """It let go. Keys as for `lost`."""
    TRANSFERRED = "transferred"
    """It handed over. Keys as for `lost`."""
    FENCED = "fenced"
    """A guard in this process refused `token`. `resource`, `highest`: the token that it had seen."""


ENDS = frozenset({Kind.LOST, Kind.RESIGNED, Kind.TRANSFERRED})


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes a journal, and by which clocks."""

    process: str
    host: str
    pid: int
    boot_id: str
    time_namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEvent:
    """One event, with all that a line has."""

    kind: Kind
    writer: Writer
    seq: int
    boot_s: float
    wall_s: float
    clock: VectorClock
    election: str | None = None
    id: str | None = None
    token: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[str, int]:
        """What names this event among all."""
        return self.writer.process, self.seq

    @property
    def deadline_s(self) -> float | None:
        """The deadline that it tells, on its own clock."""
        try:
            return _seconds(self.details.get("deadline_s"))
        except ValueError:
            return None

    def text(self, key: str) -> str | None:
        """A detail that is text, None if it is missing or something else."""
        value = self.details.get(key)
        return value if isinstance(value, str) else None


_COMMON = {
    *("schema", "event", "process", "seq", "host", "pid", "boot_s", "boot_id", "time_namespace", "wall"),
    *("lamport", "clock", "election", "id", "token"),
}


def dump(event: JournalEvent) -> bytes:
    """The line, with its line break."""
    writer = event.writer
    line = {
        "schema": SCHEMA,
        "event": event.kind.value,
        "process": writer.process,
        "seq": event.seq,
        "host": writer.host,
        "pid": writer.pid,
        "boot_s": round(event.boot_s, 6),
        "boot_id": writer.boot_id,
        "time_namespace": writer.time_namespace,
        "wall": utc(event.wall_s),
        "lamport": event.clock.lamport,
        "clock": dict(event.clock.counts),
        "election": event.election,
        "id": event.id,
        "token": event.token,
        **event.details,
    }
    return _encode(line).encode(errors="replace") + b"\n"


class NotAnEvent(ValueError):
    """This line tells nothing that can be read; the text says why."""


class Foreign(NotAnEvent):
    """This line is nothing that a leasekit has ever written."""


class LaterKind(NotAnEvent):
    """This line is of a kind, or of a schema, that a later leasekit writes."""


def load(line: bytes) -> JournalEvent:
    """Read a line. Raises NotAnEvent (`LaterKind`: only this leasekit cannot; `Foreign`: no journal has it)."""
    try:
        data = json.loads(line, parse_constant=_no_number)
        if b"\\u" in line:  # half a surrogate pair can be escaped, and could not be written out again
            _encode(data).encode()
    except (ValueError, RecursionError):
        raise Foreign("is not JSON") from None
    if not isinstance(data, dict) or "event" not in data or "clock" not in data:
        raise Foreign("is not a line of a journal")
    if data.get("schema") != SCHEMA:
        raise LaterKind(f"has schema {data.get('schema')!r}, this leasekit reads {SCHEMA}")
    try:
        kind = Kind(data["event"])
    except ValueError:
        raise LaterKind(f"tells of {data['event']!r}, which this leasekit does not know") from None
    try:
        return JournalEvent(
            kind=kind,
            writer=Writer(
                process=_text(data["process"]),
                host=_text(data["host"]),
                pid=_count(data["pid"]),
                boot_id=_text(data["boot_id"]),
                time_namespace=_text(data["time_namespace"]),
            ),
            seq=_count(data["seq"]),
            boot_s=_seconds(data["boot_s"]),
            wall_s=_moment(data["wall"]),
            clock=logical.read(data["clock"]),
            election=None if data["election"] is None else _text(data["election"]),
            id=None if data["id"] is None else _text(data["id"]),
            token=None if data["token"] is None else _count(data["token"]),
            details={key: value for key, value in data.items() if key not in _COMMON},
        )
    except KeyError as error:
        raise NotAnEvent(f"lacks {error}") from None
    except (ValueError, OverflowError) as error:
        raise NotAnEvent(f"is garbled: {error}") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 (what was read is wrong)
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _seconds(value: object) -> float:
    # The bound is some three centuries: what is above it is no moment that could be shown.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e10 < value < 1e10:
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)


def _moment(value: object) -> float:
    moment = datetime.fromisoformat(_text(value))
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
