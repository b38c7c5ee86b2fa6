"""A version of Raft's messages that does not exist yet, to be spoken beside the one that does."""

from __future__ import annotations

from leasekit.backends.raft.wire import Codec
from leasekit.backends.raft.wire.codec import Table, kind_of, pack_fields, unpack_fields
from leasekit.backends.raft.wire.fields import Plain
from leasekit.errors import ProtocolError

_NEWS = "new in version 2"


class NewerCodec(Codec):
    """Speaks version 1, and a version 2 that has one more field at the end of everything."""

    newest = 2

    def pack(self, table: Table, value: object, version: int) -> bytes:
        number, record = table.number_of(value)
        fields = record.write(value)
        return pack_fields(version, number, [*fields, _NEWS] if version >= 2 else fields)

    def unpack(self, table: Table, body: bytes) -> Plain:
        number = kind_of(body, oldest=self.oldest, newest=self.newest)
        fields = unpack_fields(body)
        if body[0] >= 2 and (type(fields) is not list or fields[-1:] != [_NEWS]):
            raise ProtocolError("version 2 without what is new in it")
        return table.record_of(number).read(fields)


NEWER_CODEC = NewerCodec()
