"""Snapshot files, one for each snapshot. They count only once the log has a marker that names them.

    magic | version | crc | meta length | data length | meta | data       little-endian

`crc` is the CRC-32 of the version and of all that stands behind `crc`. `meta` is JSON: [index, term, voters, learners].
"""

from __future__ import annotations

import json
import re
import struct
import zlib

from leasekit.backends.raft.core.types import Membership, Snapshot, SnapshotMeta
from leasekit.backends.raft.wal.disk import Disk, Reader
from leasekit.backends.raft.wal.errors import Corrupt
from leasekit.backends.raft.wal.segments import TEMPORARY, Tally
from leasekit.errors import ConfigError

FORMAT_VERSION = 1
DATA_BYTES_MAX = 2**31

_MAGIC = b"\xd7lkS"
_HEADER = struct.Struct("<4sBI")
_LENGTHS = struct.Struct("<IQ")
_NAME = re.compile(r"snapshot-(\d{16})-(\d{16})\.snap")


def name_of(index: int, term: int) -> str:
    return f"snapshot-{index:016d}-{term:016d}.snap"


def is_snapshot(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def parse_name(name: str) -> tuple[int, int]:
    """The index and the term. Only of what `is_snapshot`."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), int(match[2])


def save(disk: Disk, snapshot: Snapshot, tally: Tally) -> None:
    """Return when the snapshot is durable under its name. One of the same name is replaced at one stroke."""
    name = name_of(snapshot.meta.index, snapshot.meta.term)
    data = _encode(snapshot)
    file = disk.create(name + TEMPORARY)
    try:
        file.append(data)
        file.datasync()
    finally:
        file.close()
    tally.bytes_written += len(data)
    tally.syncs += 1
    disk.rename(name + TEMPORARY, name)
    disk.sync_directory()


def load(reader: Reader, index: int, term: int) -> Snapshot:
    """The snapshot of this index and term.

    Raises:
        Corrupt: it is damaged, or there is none.
        ConfigError: it was written by a newer version. Use that one, or a later one.
    """
    name = name_of(index, term)
    if name not in reader.list():
        raise Corrupt(name, 0, "it is missing, although the log names it")
    snapshot = _decode(name, reader.read(name))
    if (snapshot.meta.index, snapshot.meta.term) != (index, term):
        raise Corrupt(name, 0, f"it is of index {snapshot.meta.index} and term {snapshot.meta.term}")
    return snapshot


def _encode(snapshot: Snapshot) -> bytes:
    if len(snapshot.data) > DATA_BYTES_MAX:
        raise ValueError(f"a snapshot of {len(snapshot.data)} bytes; {DATA_BYTES_MAX} is the most")
    meta = snapshot.meta
    members = dict(meta.membership.voters), dict(meta.membership.learners)
    encoded = json.dumps([meta.index, meta.term, *members], ensure_ascii=False, separators=(",", ":")).encode()
    start = _LENGTHS.pack(len(encoded), len(snapshot.data)) + encoded
    crc = zlib.crc32(snapshot.data, zlib.crc32(start, FORMAT_VERSION))
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, crc) + start + snapshot.data


def _decode(name: str, data: bytes) -> Snapshot:
    start = _HEADER.size + _LENGTHS.size
    if len(data) < start:
        raise Corrupt(name, len(data), "cut off within its header")
    magic, version, crc = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise Corrupt(name, 0, "it does not begin as a snapshot does")
    if zlib.crc32(memoryview(data)[_HEADER.size :], version) != crc:
        raise Corrupt(name, 0, "the checksum is wrong")
    if version != FORMAT_VERSION:
        raise ConfigError("data_dir", f"{name} has format version {version}; this program knows {FORMAT_VERSION}")
    meta_length, data_length = _LENGTHS.unpack_from(data, _HEADER.size)
    if start + meta_length + data_length != len(data):
        raise Corrupt(name, _HEADER.size, "its size is not what its header says")
    try:
        index, term, voters, learners = json.loads(data[start : start + meta_length])
    except ValueError as error:
        raise Corrupt(name, start, f"its header makes no sense: {error}") from error
    meta = SnapshotMeta(index, term, Membership(voters=voters, learners=learners))
    return Snapshot(meta, data[start + meta_length :])
