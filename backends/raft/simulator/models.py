"""What correct objects do: the models that histories are checked against."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from leasekit.backends.raft.simulator.linearizability import UNKNOWN, Model

Value = Hashable | None


@dataclass(frozen=True, slots=True)
class Read:
    """The register's value; None where it was never written."""

    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Write:
    """Set it. The output says nothing."""

    value: Value
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Cas:
    """Set it to `value` if it is `expected`. The output says whether."""

    expected: Value
    value: Value
    key: Hashable = None


def _register(state: Value, asked: object, output: object) -> tuple[bool, Value]:
    match asked:
        case Read():
            return output is UNKNOWN or output == state, state
        case Write(value=value):
            return True, value
        case Cas(expected=expected, value=value):
            swaps = state == expected
            return output is UNKNOWN or output == swaps, value if swaps else state
        case _:
            raise TypeError(f"not an operation on a register: {asked!r}")


def _key(asked: object) -> Hashable:
    assert isinstance(asked, Read | Write | Cas)
    return asked.key


register: Model[Value] = Model(initial=None, step=_register, part=_key)
"""One register per key: reads, writes, compare-and-swaps."""


@dataclass(frozen=True, slots=True)
class Get:
    """The text under `key`, empty at first."""

    key: str


@dataclass(frozen=True, slots=True)
class Put:
    """Replace it."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Append:
    """Add to its end."""

    key: str
    text: str


def _texts(state: str, asked: object, output: object) -> tuple[bool, str]:
    match asked:
        case Get():
            return output is UNKNOWN or output == state, state
        case Put(text=text):
            return True, text
        case Append(text=text):
            return True, state + text
        case _:
            raise TypeError(f"not an operation on texts: {asked!r}")


def _text_key(asked: object) -> str:
    assert isinstance(asked, Get | Put | Append)
    return asked.key


texts: Model[str] = Model(initial="", step=_texts, part=_text_key)
"""One text per key: put, append, get."""
