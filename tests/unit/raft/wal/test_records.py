"""Records to bytes and back, and that nothing else is taken for one."""

from __future__ import annotations

import pytest

from leasekit.backends.raft.core.types import Entry, EntryKind, HardState
from leasekit.backends.raft.wal import records
from leasekit.backends.raft.wal.records import Marker, Metadata, Record, Type


def encoded(payload: bytes = b"payload", *, segment: int = 3, offset: int = 0) -> bytes:
    data, _ = records.encode(Type.ENTRY, payload, segment=segment, offset=offset, previous=7, synced=5)
    return data


def test_a_record_is_read_back() -> None:
    data, crc = records.encode(Type.ENTRY, b"payload", segment=3, offset=0, previous=7, synced=5)
    assert records.decode(data, 0, segment=3) == Record(0, Type.ENTRY, b"payload", crc, 7, 5, len(data))


@pytest.mark.parametrize("byte", range(len(encoded())))
def test_every_byte_of_a_record_is_covered(byte: int) -> None:
    data = bytearray(encoded())
    data[byte] ^= 0x10
    assert isinstance(records.decode(bytes(data), 0, segment=3), str)


@pytest.mark.parametrize("size", range(len(encoded())))
def test_a_record_that_is_cut_off_is_none(size: int) -> None:
    assert isinstance(records.decode(encoded()[:size], 0, segment=3), str)
    assert isinstance(records.decode(encoded()[:size].ljust(200, b"\0"), 0, segment=3), str)


def test_a_record_at_anothers_place_is_none() -> None:
    assert isinstance(records.decode(b"x" + encoded(offset=0), 1, segment=3), str)
    assert isinstance(records.decode(encoded(segment=3), 0, segment=4), str)


def test_too_large_a_payload_is_refused() -> None:
    with pytest.raises(ValueError, match="is the most"):
        encoded(bytes(records.PAYLOAD_BYTES_MAX + 1))
    assert isinstance(records.decode(encoded(bytes(records.PAYLOAD_BYTES_MAX)), 0, segment=3), Record)


@pytest.mark.parametrize("kind", EntryKind)
@pytest.mark.parametrize("data", [b"", b"\0\xff" * 100])
def test_an_entry_is_read_back(kind: EntryKind, data: bytes) -> None:
    entry = Entry(2**40, 2**33, kind, data)
    assert records.decode_entry(records.encode_entry(entry)) == entry


@pytest.mark.parametrize("vote", [None, "", "a", "Bücher"])
def test_a_hard_state_is_read_back_and_no_vote_is_not_an_empty_one(vote: str | None) -> None:
    state = HardState(term=2**40, vote=vote, commit=2**41)
    assert records.decode_hard_state(records.encode_hard_state(state)) == state


def test_a_marker_and_metadata_are_read_back() -> None:
    for marker in (Marker(1, 2, reset=True), Marker(2**40, 3, reset=False)):
        assert records.decode_marker(records.encode_marker(marker)) == marker
    metadata = Metadata(records.FORMAT_VERSION, head_bytes=70)
    assert records.decode_metadata(records.encode_metadata(metadata)) == metadata
    assert records.version_of(records.encode_metadata(metadata)) == records.FORMAT_VERSION
