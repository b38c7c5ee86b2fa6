"""msgpack with types: bytes and plain data, nothing else. Maps and extensions, which nothing here uses, are refused."""

from __future__ import annotations

from collections.abc import Callable

import msgpack  # type: ignore[import-untyped]

_packb: Callable[[object], bytes] = msgpack.packb
_unpackb: Callable[..., object] = msgpack.unpackb

# All that the unpacker raises for bytes that are not one well-formed object.
_NOT_PLAIN = (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException)


class NotPlain(ValueError):
    """The bytes are not one packed object, or the object cannot be packed."""


def pack(plain: object) -> bytes:
    """The bytes of lists, strings, bytes, integers, booleans and None. Raises NotPlain."""
    try:
        return _packb(plain)
    except (ValueError, TypeError, OverflowError) as error:
        raise NotPlain(f"cannot be packed: {error}") from error


def unpack(data: bytes) -> object:
    """What was packed; lists become tuples. Raises NotPlain if there is less or more than one object."""
    try:
        return _unpackb(data, use_list=False, max_map_len=0, max_ext_len=0)
    except _NOT_PLAIN as error:
        raise NotPlain(f"not well-formed: {type(error).__name__}") from error


class PlainReader:
    """Packed objects one behind the other."""

    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        self._unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=len(data), max_map_len=0, max_ext_len=0)
        self._unpacker.feed(data)

    def next(self) -> object:
        """The next object. Raises NotPlain if there is none."""
        try:
            plain: object = self._unpacker.unpack()
        except _NOT_PLAIN as error:
            raise NotPlain(f"not well-formed: {type(error).__name__}") from error
        return plain

    def at_end(self) -> bool:
        """Whether everything has been read."""
        return bool(self._unpacker.tell() == self._size)
