"""All servers of a run: stores and resources, each started when a round first wants it."""

from __future__ import annotations

import itertools
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from adversary.resources import KINDS, Resource
from adversary.stores import Stores


class Stage:
    """Use as a context manager; rounds may be played on it side by side."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="leasekit-adversary-")))
        self.stores = Stores(self._stack, self._folder)
        self._lock = threading.Lock()
        self._resources: dict[str, Resource] = {}
        self._numbers = itertools.count()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def new_name(self) -> str:
        """A name for a round's resource."""
        return f"round-{next(self._numbers)}"

    def resource(self, guard: str) -> Resource:
        """The resources that this guard stands before."""
        with self._lock:
            if guard not in self._resources:
                folder = self._folder / guard
                folder.mkdir(exist_ok=True)  # an earlier try may have failed
                self._resources[guard] = KINDS[guard](self._stack, folder)
            return self._resources[guard]
