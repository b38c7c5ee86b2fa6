"""From dataclasses to frame bodies and back: version byte, kind byte, and the fields as a msgpack list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack  # type: ignore[import-untyped]

from leasekit.backends.raft.wire.fields import Plain, Record
from leasekit.errors import ProtocolError


class Table:
    """The kinds of one family (messages, requests, ...), by the number that stands for each on the wire."""

    def __init__(self, name: str, records: dict[int, Record]) -> None:
        self.name = name
        self._by_number = records
        self._by_class = {record.cls: (number, record) for number, record in records.items()}

    def number_of(self, value: object) -> tuple[int, Record]:
        """How `value` is written. A KeyError is a fault of the program."""
        return self._by_class[type(value)]

    def record_of(self, number: int) -> Record:
        """What `number` stands for. Raises ProtocolError."""
        record = self._by_number.get(number)
        if record is None:
            raise ProtocolError(f"no {self.name} has the number {number}")
        return record

    @property
    def classes(self) -> Iterable[type[Any]]:
        """All kinds of this family."""
        return self._by_class.keys()


def pack(table: Table, value: object, version: int) -> bytes:
    """The body of a frame that holds `value`. Raises ValueError if a text in it is no Unicode (a lone surrogate)."""
    number, record = table.number_of(value)
    return pack_fields(version, number, record.write(value))


def pack_fields(version: int, number: int, fields: list[Plain]) -> bytes:
    """A body of these fields."""
    packed: bytes = msgpack.packb(fields)
    return bytes((version, number)) + packed


def unpack(table: Table, body: bytes, *, oldest: int, newest: int) -> Any:
    """What `pack` was given. Raises ProtocolError: another version, an unknown kind, or a field that is not as it must be."""
    return table.record_of(kind_of(body, oldest=oldest, newest=newest)).read(unpack_fields(body))


def kind_of(body: bytes, *, oldest: int, newest: int) -> int:
    """The kind byte of a body in a version that is spoken here. Raises ProtocolError."""
    if len(body) < 2:
        raise ProtocolError("a frame without version and kind")
    if not oldest <= body[0] <= newest:
        raise ProtocolError(f"a frame in version {body[0]}; spoken here: {oldest} to {newest}")
    return body[1]


def unpack_fields(body: bytes) -> Plain:
    """The plain fields of a body. Raises ProtocolError."""
    try:
        # No length in it can claim more than the frame holds: msgpack's limits are the length of what it is given.
        return msgpack.unpackb(memoryview(body)[2:], raw=False, use_list=True, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(f"a frame that is no msgpack ({type(error).__name__})") from None
