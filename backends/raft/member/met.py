"""Which other members this one has ever heard from, durably noted before the first word of theirs counts.

A member forgets its votes and what it has acknowledged when its directory is lost. Started anew with an empty one it
could vote twice in a term, and help to elect a leader without entries that it once acknowledged. From its own side that
cannot be told from a first start, so the others are asked whether they have met it.
"""

from __future__ import annotations

import json
from pathlib import Path

from leasekit.backends.raft.core.types import MemberId
from leasekit.backends.raft.wal.disk import Disk
from leasekit.backends.raft.wal.errors import Corrupt

NAME = "met"
_TEMPORARY = NAME + ".tmp"


class Met:
    """The ids, in a file beside the log. Raises what the disk raises."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._members = _read(disk)

    @property
    def members(self) -> frozenset[MemberId]:
        """Whom."""
        return self._members

    def add(self, member: MemberId) -> None:
        """Return when it is durable."""
        members = self._members | {member}
        if _TEMPORARY in self._disk.list():
            self._disk.delete(_TEMPORARY)
        file = self._disk.create(_TEMPORARY)
        try:
            file.append(json.dumps(sorted(members)).encode() + b"\n")
            file.datasync()
        finally:
            file.close()
        self._disk.rename(_TEMPORARY, NAME)
        self._disk.sync_directory()
        self._members = members


def problem(directory: Path) -> str | None:
    """What is wrong with the file in a member's data directory; None: nothing. Raises OSError."""
    try:
        _parse((directory / NAME).read_bytes())
    except FileNotFoundError:
        return None  # it has met nobody
    except Corrupt as error:
        return str(error)
    return None


def _read(disk: Disk) -> frozenset[MemberId]:
    return _parse(disk.read(NAME)) if NAME in disk.list() else frozenset()


def _parse(data: bytes) -> frozenset[MemberId]:
    try:
        members = json.loads(data)
    except ValueError as error:
        raise Corrupt(NAME, 0, "it is no JSON") from error
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        raise Corrupt(NAME, 0, "it is no list of members")
    return frozenset(members)
