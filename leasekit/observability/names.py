"""Keeps the number of label values bounded: names of elections and resources are the user's, and may be made up anew."""

from __future__ import annotations

MOST = 1000
OTHERS = "(others)"


class Names:
    """The first so many names stand for themselves, all further ones for `(others)`. From any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        """The label value for this name."""
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHERS
            self._known.add(name)
        return name
