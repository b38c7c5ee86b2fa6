"""Records: what the log's files are made of. See `segments` for how they are laid out in a file.

    magic | length | crc | previous | synced | type | payload
    4       4        4     4          4        1      length       all little-endian

* `crc`: CRC-32 of the segment's number, the record's offset in it, the rest of its header, and the payload. So a record
  that stands at another's place is no record.
* `previous`: the `crc` of the record before it, 0 for the first of all: the chain. It runs over the ends of segments.
* `synced`: how many bytes of this segment were known to be durable when the record was made. This is how recovery tells
  a torn tail, which was never acknowledged, from damage to what was.

This header and the first byte of `METADATA` are the same in all versions to come; payloads may change.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass

from leasekit.backends.raft.core.types import Entry, EntryKind, HardState

FORMAT_VERSION = 1
MAGIC = b"\xd7lkR"
PAYLOAD_BYTES_MAX = 16 * 2**20
"""Of one record; an entry's data may have `ENTRY_OVERHEAD_BYTES` less."""

_HEADER = struct.Struct("<4sIIIIB")
_COVERED = struct.Struct("<QIIIIB")
_METADATA = struct.Struct("<BI")
_HARD_STATE = struct.Struct("<QQ?")
_ENTRY = struct.Struct("<QQB")
_MARKER = struct.Struct("<QQ?")

HEADER_BYTES = _HEADER.size
METADATA_BYTES = _METADATA.size
ENTRY_OVERHEAD_BYTES = _ENTRY.size


class Type(enum.IntEnum):
    """What a record's payload is."""

    METADATA = 1
    """The first of each segment: `Metadata`."""
    SNAPSHOT = 2
    """There is a snapshot: `Marker`."""
    HARD_STATE = 3
    """`HardState`. The last one counts."""
    ENTRY = 4
    """`Entry`. Voids all with its index or a later one that stand before it."""
    SYNCED = 5
    """Empty: made after a sync, only for what its header says."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """`head_bytes`: so much of the segment was durable before the segment got its name."""

    version: int
    head_bytes: int


@dataclass(frozen=True, slots=True)
class Marker:
    """A durable snapshot of all up to `index`. `reset`: a received one, which voids every entry before it in the log."""

    index: int
    term: int
    reset: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A sound record: it is in its place, and its `crc` is right. That it follows the one before is not yet said."""

    offset: int
    type: int
    payload: bytes
    crc: int
    previous: int
    synced: int
    end: int
    """The offset of the byte after it."""


def encode(type: Type, payload: bytes, *, segment: int, offset: int, previous: int, synced: int) -> tuple[bytes, int]:
    """The record's bytes and its `crc`. Raises `ValueError` if the payload is too large."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a record of {len(payload)} bytes; {PAYLOAD_BYTES_MAX} is the most")
    crc = zlib.crc32(payload, zlib.crc32(_COVERED.pack(segment, offset, len(payload), previous, synced, type)))
    return _HEADER.pack(MAGIC, len(payload), crc, previous, synced, type) + payload, crc


def decode(data: bytes, offset: int, *, segment: int) -> Record | str:
    """The record at `offset` of a segment's bytes, or why there is none."""
    if offset + HEADER_BYTES > len(data):
        return "cut off within a record's header"
    magic, length, crc, previous, synced, type = _HEADER.unpack_from(data, offset)
    if magic != MAGIC:
        return "no record begins here"
    end = offset + HEADER_BYTES + length
    if length > PAYLOAD_BYTES_MAX or end > len(data):
        return f"a record of {length} bytes cannot be here"
    payload = data[offset + HEADER_BYTES : end]
    if crc != zlib.crc32(payload, zlib.crc32(_COVERED.pack(segment, offset, length, previous, synced, type))):
        return "the checksum is wrong"
    return Record(offset, type, payload, crc, previous, synced, end)


def encode_metadata(metadata: Metadata) -> bytes:
    return _METADATA.pack(metadata.version, metadata.head_bytes)


def decode_metadata(payload: bytes) -> Metadata:
    """Of a version that this program knows; of others `version_of` alone may be asked."""
    return Metadata(*_METADATA.unpack(payload))


def version_of(metadata: bytes) -> int:
    """The format's version, whatever it is."""
    return metadata[0]


def encode_hard_state(state: HardState) -> bytes:
    """A vote for nobody is not a vote for a member without a name."""
    return _HARD_STATE.pack(state.term, state.commit, state.vote is not None) + (state.vote or "").encode()


def decode_hard_state(payload: bytes) -> HardState:
    term, commit, voted = _HARD_STATE.unpack_from(payload)
    return HardState(term, payload[_HARD_STATE.size :].decode() if voted else None, commit)


def encode_entry(entry: Entry) -> bytes:
    return _ENTRY.pack(entry.index, entry.term, entry.kind) + entry.data


def decode_entry(payload: bytes) -> Entry:
    index, term, kind = _ENTRY.unpack_from(payload)
    return Entry(index, term, EntryKind(kind), payload[_ENTRY.size :])


def encode_marker(marker: Marker) -> bytes:
    return _MARKER.pack(marker.index, marker.term, marker.reset)


def decode_marker(payload: bytes) -> Marker:
    return Marker(*_MARKER.unpack(payload))
