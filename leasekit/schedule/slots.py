"""Slots, blocking: what `leasekit.Slots` is. Every call may be made from any thread but the engine's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

from leasekit import engine
from leasekit.connection import shared
from leasekit.errors import ConfigError
from leasekit.schedule import current
from leasekit.schedule.claims import Claimed
from leasekit.schedule.ending import Ending
from leasekit.schedule.job import DEFAULTS, Job, under
from leasekit.schedule.plan import Guarantee, Missed, Overlap
from leasekit.schedule.records import Line, Outcome, SlotsRecord
from leasekit.schedule.times import Schedule
from leasekit.schedule.verdict import is_forked, verdict
from leasekit.schedule.workers import Worker
from leasekit.sync import STOP_POLL_S, ConnectedStore, Leadership


class Run:
    """A slot that is this process's to run. Use it with `with`: its end is written down on the way out.

    The run is a leadership of its own: it is renewed until the run ends, and its token is higher than that of every
    earlier run. A body that raises nothing is written down as done, one that raises as failed; a run whose leadership
    was lost before its end as lost.
    """

    def __init__(self, job: Job, claimed: Claimed) -> None:
        self._job = job
        self._claimed = claimed
        self._finished = False
        self._entered = ExitStack()
        self.leadership = Leadership(claimed.tenure, claimed.election)
        """Renewed while the run goes on; `leasekit.current()` within it."""

    @property
    def name(self) -> str:
        """The job's name."""
        return self._job.name

    @property
    def slot(self) -> datetime:
        """The nominal instant that this run is for, UTC."""
        return self._claimed.slot

    @property
    def attempt(self) -> int:
        """1, or more where an earlier run of this slot was lost."""
        return self._claimed.attempt

    @property
    def token(self) -> int:
        """The fencing token: strictly higher than that of every earlier run of this job."""
        return self._claimed.tenure.token

    def finish(self, outcome: Outcome, detail: str | None = None) -> None:
        """Write down how it ended, and let go. Stop the work first. Once; later calls do nothing.

        A store that cannot be reached is tried until the lease has run out; then it is logged that the run counts as lost.
        """
        if not self._finished and not is_forked(self.leadership):
            self._finished = True
            # Not `run`: an interrupt goes on its way, and the end is written all the same.
            engine.get().submit(self._job.finish(self._claimed, outcome, detail)).result()
            self.leadership.resign()

    def __enter__(self) -> Self:
        self._entered.enter_context(current.within(self))
        self._entered.enter_context(under(self.leadership))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._entered.close()
        self.finish(*verdict(self.leadership, error))

    def __repr__(self) -> str:
        return (
            f"<Run of {self.name!r}, slot {self.slot:%Y-%m-%dT%H:%M:%SZ}, attempt {self.attempt}, token {self.token}>"
        )


class Slots:
    """The slots of one job: each is claimed by one process, on whichever machine, whatever its clock says.

        slots = leasekit.Slots("nightly", "0 3 * * *", tz="Europe/Paris")
        if run := slots.claim(slot):
            with run:
                ...

    One `claim` or `next_run` at a time: another one, from another thread, waits until it has returned.

    Args:
        name: the job's name; that of an election, too.
        schedule: five cron fields, six with seconds first, `@daily` and its kin, `every 30s`; None where only slots
            that are named will be claimed.
        store: what `connect` gave, or a URL, or None for the default.
        tz: by whose clocks the fields are meant, an IANA name; None: UTC.
        id: the worker's id; None: `host-pid-random`.
        ttl_s, overlap, missed, guarantee, max_late_s, max_skew_s, jitter_s, allow_unchecked_clock:
            see `leasekit.schedule.plan.Policy`.

    Raises:
        ConfigError: naming the argument and how to mend it.
    """

    def __init__(
        self,
        name: str,
        schedule: str | Schedule | None = None,
        *,
        store: ConnectedStore | str | None = None,
        tz: str | None = None,
        id: str | None = None,
        ttl_s: float = DEFAULTS.ttl_s,
        overlap: Overlap = DEFAULTS.overlap,
        missed: Missed = DEFAULTS.missed,
        guarantee: Guarantee = DEFAULTS.guarantee,
        max_late_s: float = DEFAULTS.max_late_s,
        max_skew_s: float = DEFAULTS.max_skew_s,
        jitter_s: float = DEFAULTS.jitter_s,
        allow_unchecked_clock: bool = False,
    ) -> None:
        self._job = Job(
            name,
            schedule,
            connection=store.connection if isinstance(store, ConnectedStore) else shared(store),
            tz=tz,
            id=id,
            ttl_s=ttl_s,
            overlap=overlap,
            missed=missed,
            guarantee=guarantee,
            max_late_s=max_late_s,
            max_skew_s=max_skew_s,
            jitter_s=jitter_s,
            allow_unchecked_clock=allow_unchecked_clock,
        )

    @property
    def name(self) -> str:
        """The job's name."""
        return self._job.name

    @property
    def id(self) -> str:
        """This worker's id."""
        return self._job.id

    @property
    def schedule(self) -> Schedule | None:
        """When it fires."""
        return self._job.schedule

    def claim(self, slot: datetime | None = None) -> Run | None:
        """Claim this slot. None: it is not to be run here, being claimed already, too late, or passed over.

        Waits for an earlier run to end where `overlap` is `queue_one` or `cancel_other`. A run of this slot that is lost
        later is attempted again (`at_least_once`) by who claims the slot again; `next_run` sees to that by itself.
        `missed` and `jitter_s` play no part here.

        Args:
            slot: its nominal instant, with a time zone; None: the latest one of the schedule, by this machine's clock:
                for who was started by it.

        Raises:
            SlotTooEarly: it lies further ahead of the store's time than `max_skew_s`. Try again `early_s` later.
            StoreUnavailable, OutcomeUnknown: the store does not answer. Asking again settles it.
            ConfigError: `slot` has no time zone, or is missing and there is no schedule.
        """

        async def claimed() -> Run | None:
            run = await self._job.claim(slot)
            return None if run is None else Run(self._job, run)

        return engine.get().run(claimed(), discard=self._discard)

    def next_run(self, stop: threading.Event | None = None) -> Run | None:
        """Wait for the next slot that is this process's to run; None once `stop` is set.

        While the store does not answer it goes on asking. Call it again at once, also while the run goes on: what
        becomes of slots that come due meanwhile is decided here.

        Raises:
            ConfigError: there is no schedule, or no clock to check this machine's by.
            AuthError, ProtocolError: what the store or its records say cannot be worked with.
        """
        if stop is not None and stop.is_set():
            return None
        outcome = engine.get().submit(self._next_run())
        try:
            if _done_before(outcome, stop):
                return outcome.result()
        except BaseException:
            engine.get().abandon(outcome, self._discard)
            raise
        engine.get().abandon(outcome, self._discard)
        return None

    def lines(self, limit: int = 20) -> list[Line]:
        """What became of the last slots, the newest last; 64 are kept."""
        if limit < 1:
            raise ConfigError("limit", f"is {limit}; it must be 1 or more")
        record = self.record()
        return [] if record is None else list(record.lines[-limit:])

    def record(self) -> SlotsRecord | None:
        """How far the job has come; None if it has never been served."""
        return engine.get().run(self._job.record())

    def upcoming(self, count: int = 5) -> list[datetime]:
        """The next slots, without jitter, in UTC; fewer if there are no more."""
        return engine.get().run(self._job.upcoming(count))

    def workers(self) -> list[Worker]:
        """Who serves the job now."""
        return engine.get().run(self._job.workers())

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Show this process among the job's workers while the body runs."""
        keeping = engine.get().submit(self._job.keep_registered())
        try:
            yield
        finally:
            engine.get().abandon(keeping)

    async def _next_run(self) -> Run:
        return Run(self._job, await self._job.next_run())

    def _discard(self, run: Run | None) -> None:
        """Claimed in the moment in which the caller was interrupted."""
        if run is not None:
            run._finished = True
            engine.get().submit(self._job.give_up(run._claimed))

    def __repr__(self) -> str:
        return f"<Slots of {self.name!r} over {self._job.connection.url}>"


def _done_before(outcome: Future[Run], stop: threading.Event | None) -> bool:
    """Wait until it is done, or `stop` is set; whether it is done."""
    if stop is None:
        wait([outcome])
        return True
    if isinstance(stop, Ending):
        news = threading.Event()
        outcome.add_done_callback(lambda _: news.set())
        with stop.telling(news.set):
            news.wait()
        return outcome.done()
    while not stop.is_set():
        if wait([outcome], STOP_POLL_S).done:
            return True
    return False
