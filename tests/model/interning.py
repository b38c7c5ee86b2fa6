"""Equal values as one object, so that states can be hashed and compared by identity."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Interner(Generic[T]):
    """Makes a `T` of some fields, or finds the one that was made of equal fields."""

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._known: dict[tuple[Hashable, ...], T] = {}

    def __call__(self, *fields: Hashable) -> T:
        found = self._known.get(fields)
        if found is None:
            found = self._known[fields] = self._make(*fields)
        return found

    def __len__(self) -> int:
        return len(self._known)
