"""Fixtures for tests of programs on leasekit: a store in memory, and time that moves when the test says so.

    # conftest.py
    pytest_plugins = ["leasekit.integrations.pytest"]

    # test_reports.py
    def test_the_report_stops_when_the_leadership_is_lost(leasekit_store, leasekit_clock):
        def lose_the_store() -> None:
            leasekit_store.go_down()
            leasekit_clock.advance(60)          # nobody sleeps

        with pytest.raises(leasekit.LeadershipLost):
            write_report(after_each_page=lose_the_store)

In a test that uses either, all that leasekit does in this process goes by `leasekit_clock`, and every store that the
program names, by whatever URL, is `leasekit_store`: the program is tested as it stands, decorators, module-level
connections and all. Time stands still but for `advance`, and while the program waits for leasekit (for its turn, say): then
it goes by as usual, and quicker under `leasekit_clock.run(function)` and `await leasekit_clock.wait_for(awaitable)`. What
the program itself waits for (`time.sleep`, `asyncio.sleep`) takes real time.

Not for `stop="process"` and `stop="exit"`, whose deadlines other processes hold, nor for forks and subprocesses, which
know nothing of the test's clock: give those an SQLite file and a short `ttl_s`.
"""

from __future__ import annotations

from collections.abc import Iterator

try:
    import pytest
except ImportError as error:
    raise ImportError("leasekit.integrations.pytest needs pytest: pip install pytest") from error

from leasekit.testing.stepped import SteppedClock
from leasekit.testing.surroundings import StoreInMemory, surroundings

__all__ = ["SteppedClock", "StoreInMemory", "leasekit_clock", "leasekit_store"]


@pytest.fixture
def _leasekit_surroundings() -> Iterator[tuple[SteppedClock, StoreInMemory]]:
    with surroundings() as both:
        yield both


@pytest.fixture
def leasekit_clock(_leasekit_surroundings: tuple[SteppedClock, StoreInMemory]) -> SteppedClock:
    """Time, as leasekit sees it: `advance(s)`, `suspend(s)`, `run(function)`, `wait_for(awaitable)`."""
    return _leasekit_surroundings[0]


@pytest.fixture
def leasekit_store(_leasekit_surroundings: tuple[SteppedClock, StoreInMemory]) -> StoreInMemory:
    """Every store that the program names: `go_down()`, `come_up()`, `depose(election)`, `elsewhere(election)`."""
    return _leasekit_surroundings[1]
