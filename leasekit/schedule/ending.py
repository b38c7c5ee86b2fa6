"""An event that tells when it is set, so that who waits for something else as well need not ask it now and then."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class Ending(threading.Event):
    """Not to be set in a signal handler: a listener may hold a lock that the interrupted code holds too."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: list[Callable[[], object]] = []

    def set(self) -> None:
        super().set()
        for listener in list(self._listeners):
            listener()

    @contextlib.contextmanager
    def telling(self, listener: Callable[[], object]) -> Iterator[None]:
        """While the body runs, have `listener` called once it is set, at once if it is; perhaps twice."""
        self._listeners.append(listener)
        if self.is_set():
            listener()
        try:
            yield
        finally:
            self._listeners.remove(listener)
