"""Whose data directory this is. Votes and entries that are another member's must not be taken for one's own."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

from leasekit.backends.raft.core.types import MemberId
from leasekit.backends.raft.wal import segments, snapshots
from leasekit.backends.raft.wal.disk import Disk, Reader
from leasekit.backends.raft.wal.errors import Corrupt
from leasekit.backends.raft.wal.segments import TEMPORARY
from leasekit.errors import ConfigError

NAME = "identity"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """The cluster's id, and the member's within it."""

    cluster: str
    member: MemberId


def claim(disk: Disk, identity: Identity) -> None:
    """Make the directory this member's, durably, if it is nobody's yet. To be done before the log is opened.

    Raises:
        ConfigError: it is another's. Give the right directory, or the right ids.
        Corrupt: it cannot be told whose it is.
        DiskFull, DiskFailed: the disk does not do what it should.
    """
    found = read(disk)
    if found is None:
        _write(disk, identity)
    elif found != identity:
        raise ConfigError(
            "data_dir",
            f"it belongs to member {found.member!r} of cluster {found.cluster!r}, "
            f"not to member {identity.member!r} of cluster {identity.cluster!r}",
        )


def read(reader: Reader) -> Identity | None:
    """Whose it is; None if nobody's. Raises `Corrupt` and `ConfigError` as `claim` does."""
    names = reader.list()
    if NAME in names:
        return _decode(reader.read(NAME))
    for name in names:
        if segments.number_of(name) is not None or snapshots.is_snapshot(name):
            raise Corrupt(NAME, 0, f"it is missing, although there is {name}")
    return None


def _write(disk: Disk, identity: Identity) -> None:
    temporary = NAME + TEMPORARY
    if temporary in disk.list():
        disk.delete(temporary)
    file = disk.create(temporary)
    try:
        file.append(_encode(identity))
        file.datasync()
    finally:
        file.close()
    disk.rename(temporary, NAME)
    disk.sync_directory()


def _encode(identity: Identity) -> bytes:
    """One line of JSON for people to read, and its CRC-32 on the next."""
    content = {"format": FORMAT_VERSION, "cluster": identity.cluster, "member": identity.member}
    line = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    return line + b"%08x\n" % zlib.crc32(line)


def _decode(data: bytes) -> Identity:
    line, newline, check = data.partition(b"\n")
    if check != b"%08x\n" % zlib.crc32(line + newline):
        raise Corrupt(NAME, 0, "the checksum is wrong")
    content = json.loads(line)
    if content["format"] != FORMAT_VERSION:
        raise ConfigError("data_dir", f"{NAME} has format version {content['format']}: upgrade this program")
    return Identity(content["cluster"], content["member"])
