"""Takes news of elections from wherever it happens to whoever listens, without ever making the teller wait.

An elector tells from the engine's thread, which must not miss a renewal; a leadership ends in whatever thread notices,
and even while garbage is collected. So `tell` only puts the event into a queue, and each listener hears it on a thread
of its own: one that blocks or raises harms nobody else, and misses events once too many wait for it.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable

from leasekit import engine
from leasekit.errors import LossReason
from leasekit.observability import logs
from leasekit.observability.events import Elected, Ended, Event
from leasekit.tenure import Tenure

Listener = Callable[[Event], object]

MOST_WAITING = 10_000
"""Events that wait for a listener that does not keep up. Further ones are left out for it."""
EXIT_TIMEOUT_S = 1.0
"""How long the end of the process waits for listeners to hear the last."""

_log = logging.getLogger("leasekit")


class Relay:
    """Brings events to one listener, in order, on a thread that starts with the first."""

    def __init__(self, listener: Listener, wants: Callable[[Event], bool] = lambda _: True) -> None:
        self._listener = listener
        self._wants = wants
        self._begin()

    def _begin(self) -> None:
        # Its `put` may be interrupted by itself, as when collecting garbage ends a leadership within it.
        self._events: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._missed = 0
        self._failing = False

    def put(self, event: Event) -> None:
        """Have it heard soon; left out if too many wait already, or if the listener does not want it."""
        if not self._wants(event):
            return
        if self._events.qsize() >= MOST_WAITING:
            self._missed += 1  # logged by the listener's thread: a handler may block
            return
        self._events.put(event)
        if self._thread is None:
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until the listener has heard what was put; False if that takes longer than `timeout_s` seconds."""
        if self._thread is None and not self._events.empty():
            self._start()
        if self._thread is None:
            return self._events.empty()
        if self._ended:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        heard = threading.Event()
        self._events.put(heard)
        return heard.wait(timeout_s)

    def end(self) -> None:
        """Let the thread end when it has brought what waits."""
        self._ended = True
        self._events.put(None)

    def forked(self) -> None:
        """In a forked child: the thread is the parent's, and so are the events that wait."""
        self._begin()

    def _start(self) -> None:
        with self._starting:
            thread = threading.Thread(target=self._run, name="leasekit-listener", daemon=True)
            if self._thread is not None:  # another was first, or this one, within that call
                return
            self._thread = thread
            try:
                thread.start()
            except (
                RuntimeError
            ):  # the system has no thread to spare, or the interpreter ends: the next event tries again
                self._thread = None

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            if isinstance(event, threading.Event):
                event.set()
                continue
            if self._missed:
                missed, self._missed = self._missed, 0
                _log.warning("a listener did not keep up with what happens in elections: it missed %d events", missed)
            self._bring(event)

    def _bring(self, event: Event) -> None:
        try:
            self._listener(event)
        except Exception:  # noqa: BLE001 (whatever it is, the next event comes)
            if not self._failing:  # said once for each time of trouble
                _log.exception("a listener of what happens in elections failed")
            self._failing = True
        else:
            self._failing = False


class Hub:
    """Everybody who listens."""

    def __init__(self, *first: Relay) -> None:
        self._relays = first
        self._changing = threading.Lock()

    def add(self, relay: Relay) -> Callable[[], None]:
        """Have `relay` told from now on. Returns what ends that."""
        with self._changing:
            self._relays = (*self._relays, relay)

        def remove() -> None:
            with self._changing:
                if relay not in self._relays:
                    return
                self._relays = tuple(other for other in self._relays if other is not relay)
            relay.end()

        return remove

    def tell(self, event: Event) -> None:
        """Something happened. From any thread; returns at once and never raises."""
        for relay in self._relays:
            relay.put(event)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all have heard what was told; False if that takes one of them longer than `timeout_s` seconds."""
        heard = [relay.flush(timeout_s) for relay in self._relays]
        return all(heard)

    def forked(self) -> None:
        """In a forked child."""
        self._changing = threading.Lock()
        for relay in self._relays:
            relay.forked()


HUB = Hub(Relay(logs.write, logs.wanted))
"""Of this process. Logging is always there, and wants nothing while nobody reads it."""


def subscribe(listener: Listener) -> Callable[[], None]:
    """Have `listener` called with each `Event` of this process from now on. Returns what ends that.

    It is called on a thread of its own, one event at a time, soon after it happened; no election waits for it. What it
    raises is logged once. If more than 10,000 events wait for it, further ones are left out.
    """
    return HUB.add(Relay(listener))


def tell_of(tenure: Tenure, *, store: str) -> None:
    """A leadership has begun: tell of it, and of its end when that comes."""
    began = tenure.clock.now()
    HUB.tell(Elected(tenure.election, tenure.id, tenure.token, store, tenure.clock.wall_s()))

    def ended(reason: LossReason) -> None:
        lasted_s = max(0.0, tenure.clock.now().boot_s - began.boot_s)
        HUB.tell(Ended(tenure.election, tenure.id, tenure.token, reason, lasted_s, tenure.clock.wall_s()))

    tenure.on_end(ended)


def _flush() -> None:
    HUB.flush(EXIT_TIMEOUT_S)


# Before connections register theirs, which so come first, and may still have something to tell.
engine.before_exit(_flush)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=HUB.forked)
