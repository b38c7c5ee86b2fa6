"""The types of what stands in a frame. Each says how a value is written, and reads strictly: anything else is refused."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from leasekit.errors import ProtocolError

MAX_NATURAL = 2**63 - 1
MAX_ID = 256
"""Longest id of a member or a cluster, in characters."""
MAX_ADDRESS = 1024

Plain = Any
"""What msgpack knows: None, bool, int, float, str, bytes, list, dict."""


@dataclass(frozen=True, slots=True)
class Type:
    """How one kind of value is read from its plain form, and written as such (None: it is plain already)."""

    read: Callable[[Plain], Any]
    write: Callable[[Any], Plain] | None = None


def _natural(plain: Plain) -> int:
    # Not isinstance: True is an int as well.
    if type(plain) is not int or not 0 <= plain <= MAX_NATURAL:
        raise ProtocolError("not a number from 0 to 2^63 - 1")
    return plain


def _flag(plain: Plain) -> bool:
    if type(plain) is not bool:
        raise ProtocolError("neither true nor false")
    return plain


def _real(plain: Plain) -> float:
    if type(plain) is not float or not math.isfinite(plain):
        raise ProtocolError("not a finite number")
    return plain


def _nothing(plain: Plain) -> None:
    if plain is not None:
        raise ProtocolError("not empty")


NATURAL = Type(_natural)
FLAG = Type(_flag)
REAL = Type(_real)
NOTHING = Type(_nothing)


def text(most: int | None = None, *, least: int = 0) -> Type:
    """Text of `least` to `most` characters (None: whatever a frame holds)."""

    def read(plain: Plain) -> str:
        if type(plain) is not str or len(plain) < least or (most is not None and len(plain) > most):
            raise ProtocolError("not a text of a length that is allowed")
        return plain

    return Type(read)


def blob(most: int | None = None) -> Type:
    """At most `most` bytes (None: whatever a frame holds)."""

    def read(plain: Plain) -> bytes:
        if type(plain) is not bytes or (most is not None and len(plain) > most):
            raise ProtocolError("not bytes of a length that is allowed")
        return plain

    return Type(read)


TEXT = text()
BLOB = blob()
ID = text(MAX_ID, least=1)
ADDRESS = text(MAX_ADDRESS)


def optional(kind: Type) -> Type:
    """None, or a value of `kind`."""
    read, write = kind.read, kind.write
    return Type(
        lambda plain: None if plain is None else read(plain),
        write and (lambda value: None if value is None else write(value)),
    )


def several(kind: Type, most: int | None = None) -> Type:
    """A tuple of at most `most` values of `kind` (None: whatever a frame holds)."""
    read, write = kind.read, kind.write

    def read_all(plain: Plain) -> tuple[Any, ...]:
        if type(plain) is not list or (most is not None and len(plain) > most):
            raise ProtocolError("not a list of a length that is allowed")
        return tuple([read(each) for each in plain])

    return Type(read_all, list if write is None else lambda values: [write(value) for value in values])


def mapping(of: Type) -> Type:
    """Ids, and for each a value of `of`."""
    read, write, read_id = of.read, of.write, ID.read

    def read_all(plain: Plain) -> dict[str, Any]:
        if type(plain) is not dict:
            raise ProtocolError("not a mapping")
        return {read_id(key): read(value) for key, value in plain.items()}

    return Type(read_all, dict if write is None else lambda values: {key: write(v) for key, v in values.items()})


def member_of(kinds: type[enum.Enum]) -> Type:
    """A member of an enumeration, by its value."""
    by_value = {member.value: member for member in kinds}

    def read(plain: Plain) -> enum.Enum:
        if type(plain) not in (int, str) or plain not in by_value:
            raise ProtocolError(f"not a {kinds.__name__}")
        return by_value[plain]

    return Type(read, attrgetter("value"))


class Record:
    """A dataclass, as the list of its fields. More at the end than is known here is ignored: a newer version's."""

    def __init__(self, cls: type[Any], **types: Type) -> None:
        self.cls = cls
        self._types = tuple((name, kind.read) for name, kind in types.items())
        self._writes = tuple((i, kind.write) for i, kind in enumerate(types.values()) if kind.write is not None)
        names = tuple(types)
        one = attrgetter(names[0])
        self._get: Callable[[Any], tuple[Any, ...]] = attrgetter(*names) if len(names) > 1 else lambda v: (one(v),)

    @property
    def type(self) -> Type:
        """For use within another."""
        return Type(self.read, self.write)

    def write(self, value: Any) -> list[Plain]:
        """The fields of `value`."""
        plain = list(self._get(value))
        for i, write in self._writes:
            plain[i] = write(plain[i])
        return plain

    def read(self, plain: Plain) -> Any:
        """Raises ProtocolError, naming what is wrong."""
        if type(plain) is not list or len(plain) < len(self._types):
            raise ProtocolError(f"{self.cls.__name__}: not a list of {len(self._types)} fields")
        name = ""
        values = {}
        try:
            for (name, read), field in zip(self._types, plain, strict=False):
                values[name] = read(field)
        except ProtocolError as error:
            raise ProtocolError(f"{self.cls.__name__}.{name}: {error}") from None
        return self.cls(**values)
