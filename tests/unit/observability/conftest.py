"""What several tests here need."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from leasekit import engine

PATIENCE_S = 30.0


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port on 127.0.0.1 where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield int(reserved.getsockname()[1])


@pytest.fixture
def stuck_engine() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """`with stuck_engine():` the engine's loop does nothing at all within."""

    @contextlib.contextmanager
    def stuck() -> Iterator[None]:
        entered, released = threading.Event(), threading.Event()

        def block() -> None:
            entered.set()
            released.wait(PATIENCE_S)

        engine.get().call(block)
        assert entered.wait(PATIENCE_S)
        try:
            yield
        finally:
            released.set()

    return stuck
