"""One lease for all elections of a process on one store with one ttl: granted on first need, renewed, given back.

The keeper also removes what ended candidacies left on the lease (`leasekit.core.remains`), since the lease would keep
those keys alive. Everything here runs on the engine's loop, except that any thread may read `belief`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from leasekit import retry
from leasekit.clock import Clock, Instant
from leasekit.core.events import TrustEnded
from leasekit.core.lease import Belief, check_timing
from leasekit.core.records import Keys
from leasekit.core.remains import Remains, Verdict
from leasekit.errors import AuthError, ConfigError, LeasekitError, LeaseLost, LossReason, ProtocolError
from leasekit.journal import OFF, Journal
from leasekit.observability.events import Outcome
from leasekit.observability.store_news import StoreNews
from leasekit.store import Store

Listener = Callable[[TrustEnded], None]

# A renewal that is refused for its credentials may come through once they are mended; the deadline decides.
NOT_RENEWED = (*retry.UNANSWERED, AuthError, ProtocolError)
RENEWAL_SHARE = 6
"""One attempt at a renewal takes at most this part of the ttl (DESIGN section 5, rule 4)."""
TIDY_TIMEOUT_S = 2.0
LATE_S = 0.001
"""A timer that fires before its moment, by ever so little, would be set again and again."""
LONGEST_SLEEP_S = 1.0
"""Between two looks at the clock while a lease is held: so long after a suspend it is renewed, or found to be over."""
GRANT_TIMEOUT_S = 2.0
"""Of one attempt. Short enough that whoever waits for seconds is told what is wrong, not only that time is up."""


class Keeper:
    """Keeps one shared lease."""

    def __init__(self, store: Store, ttl_s: float, *, clock: Clock, random: Random, journal: Journal = OFF) -> None:
        check_timing(ttl_s=ttl_s)
        self._store = store
        self._ttl_s = ttl_s
        self._clock = clock
        self._random = random
        self._journal = journal
        self._news = StoreNews(store.url, clock)
        self.belief = Belief(epoch=0)
        self.led: dict[str, int] = {}
        """Highest revision led at on this lease, by election (ELECTION.md, rule 6)."""
        self.ungranted: LeasekitError | None = None
        """Why there is no lease yet, if one is wanted: the last answer to that."""
        self._listeners: set[Listener] = set()
        self._remains: list[Remains] = []
        self._tidying = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._hurry = asyncio.Event()
        self._renew_at: Instant = clock.now()
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._idle_since: Instant | None = clock.now()
        self._closed = False

    @property
    def requested_ttl_s(self) -> float:
        """The ttl asked for; the granted one is `belief.ttl_s`."""
        return self._ttl_s

    @property
    def needed(self) -> bool:
        """Whether somebody campaigns or leads on the lease, or waits for it. From any thread."""
        return bool(self._listeners or self._waiting)

    @property
    def trusted(self) -> bool:
        """Whether the lease may be trusted now. From any thread, by the clock."""
        return self.belief.trusted(self._clock.now())

    # Users of the lease.

    def join(self, listener: Listener) -> None:
        """Keep the lease while this listener stays, and tell it when trust ends."""
        self._listeners.add(listener)
        self._idle_since = None

    def leave(self, listener: Listener) -> None:
        """No longer needed here. The lease is kept for one more ttl, so that the next one finds it in hand."""
        self._listeners.discard(listener)
        if not self._listeners:
            self._idle_since = self._clock.now()

    async def fresh(self) -> None:
        """Return once the lease has been granted or renewed, starting now. Waits for ever while no store answers.

        Raises:
            ConfigError, AuthError, ProtocolError: the store refuses to grant such a lease.
            ConfigError: this keeper was closed.
        """
        if self._closed:
            raise _closed()
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._hurry.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name=f"leasekit-keeper-{self._ttl_s:g}s")
        try:
            await waiting
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def unknown_to_store(self, lease_id: str) -> None:
        """A request learned that the store does not know this lease."""
        if lease_id == self.belief.lease_id:
            self._lose()

    # The life of the lease.

    async def _run(self) -> None:
        try:
            while True:
                if self.belief.lease_id is not None:
                    await self._until_due()
                    if self._idle_too_long():
                        await self.give_back(timeout_s=self._ttl_s / 3)
                    elif self.belief.lease_id is not None:  # not lost while waiting
                        await self._renew()
                elif self._waiting:
                    await self._grant()
                else:
                    return
        except LeasekitError as error:
            self._answer_waiting(error)
        except Exception as error:
            # A fault in the store's code. Without renewals the deadline ends what relies on the lease.
            self._answer_waiting(error)
            raise

    async def _grant(self) -> None:
        timeout_s = max(1.0, min(GRANT_TIMEOUT_S, self._ttl_s / 3))
        async for attempt in retry.while_unanswered(self._random, stop=lambda: not self._waiting):
            with attempt:
                sent_at = self._clock.now()
                try:
                    lease = await self._store.grant(self._ttl_s, timeout_s=timeout_s)
                except LeasekitError as error:
                    self.ungranted = error
                    self._news.failed(error, renewing=False)
                    raise
        self.ungranted = None
        self._news.answered()
        check_timing(ttl_s=lease.ttl_s)
        self.led.clear()
        self._renew_at = sent_at.plus(lease.ttl_s / 3)
        self._fresh(self.belief.granted(lease.id, lease.ttl_s, sent_at=sent_at, now=self._clock.now()))

    async def _renew(self) -> None:
        """Attempts of at most ttl/6 each, one at a time, until one counts, the deadline comes, or the lease is lost."""
        belief = self.belief
        assert belief.lease_id is not None

        def too_late() -> bool:
            return belief.deadline is None or self._clock.now().reached(belief.deadline)

        try:
            async for attempt in retry.while_unanswered(
                self._random, stop=too_late, longest_s=belief.ttl_s / 12, errors=NOT_RENEWED
            ):
                with attempt:
                    sent_at = self._clock.now()
                    try:
                        ttl_s = await self._store.renew(belief.lease_id, timeout_s=belief.ttl_s / RENEWAL_SHARE)
                    except LeasekitError as error:
                        self._news.not_renewed(error, sent_at)
                        raise
        except LeaseLost:
            # Whatever the store calls it in its answer, else this would be asked again at once, for ever.
            self.unknown_to_store(belief.lease_id)
        except NOT_RENEWED:
            # The lease may live on in the store, and with it places in queues: the next round tries again.
            now = self._clock.now()
            self._renew_at = now.plus(retry.pause_s(10, self._random, longest_s=belief.ttl_s / 12))
            self._believe(self.belief.checked(now))
        else:
            if self.belief.lease_id == belief.lease_id:
                self._renew_at = sent_at.plus(ttl_s / 3)
                now = self._clock.now()
                left_s = self.belief.remaining_s(now)
                self._fresh(self.belief.renewed(ttl_s, sent_at=sent_at, now=now))
                self._journal.renewed(self.belief, left_s)
                self._news.renewed(sent_at, Outcome.RENEWED if left_s > 0 else Outcome.LATE)
                self._tidy_soon()

    async def _until_due(self) -> None:
        """Until the next renewal is due, or somebody needs one now. Timers do not count suspend; the clock does."""
        if not self._waiting:
            self._hurry.clear()
        while (due_in_s := self._clock.now().until(self._renew_at)) > 0:
            try:
                async with asyncio.timeout(min(due_in_s + LATE_S, LONGEST_SLEEP_S)):
                    await self._hurry.wait()
                # One renewal for each time of asking: if it fails, the next one comes when it is due.
                self._hurry.clear()
                return
            except TimeoutError:
                # Neither does the timer of the deadline count suspend.
                self.check_deadline()

    def _idle_too_long(self) -> bool:
        if self._idle_since is None or self._waiting or self._remains:
            return False
        return self._clock.now().reached(self._idle_since.plus(self._ttl_s))

    # What is believed of it.

    def _believe(self, belief: Belief) -> None:
        before, self.belief = self.belief, belief
        if before.lease_id == belief.lease_id and before.epoch != belief.epoch and before.deadline is not None:
            self._tell(TrustEnded(LossReason.DEADLINE, lease_gone=False))
        self._watch_deadline()

    def _fresh(self, belief: Belief) -> None:
        """A grant or a renewal was confirmed: that is what others wait for, if it came in time."""
        self._believe(belief)
        if belief.trusted(self._clock.now()):
            self._answer_waiting(None)

    def _lose(self) -> None:
        """The store does not know the lease. Before its deadline that means that somebody revoked it."""
        revoked = self.belief.trusted(self._clock.now())
        reason = LossReason.REVOKED if revoked else LossReason.EXPIRED
        self.belief = self.belief.lost(reason)
        self._remains.clear()
        self._watch_deadline()
        self._tell(TrustEnded(reason, lease_gone=True))
        self._hurry.set()

    def check_deadline(self) -> None:
        """Look at the clock: if the deadline has passed, whoever relies on the lease is told."""
        self._believe(self.belief.checked(self._clock.now()))

    def _watch_deadline(self) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        if self.belief.deadline is not None:
            left_s = self.belief.remaining_s(self._clock.now())
            self._deadline_timer = asyncio.get_running_loop().call_later(left_s + LATE_S, self.check_deadline)

    def _tell(self, event: TrustEnded) -> None:
        for listener in list(self._listeners):
            listener(event)

    def _answer_waiting(self, error: Exception | None) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    # What ended candidacies left behind.

    def disown(self, remains: Remains) -> None:
        """Remove these keys, now and if need be after each renewal."""
        if remains.lease_id == self.belief.lease_id:
            self._remains.append(remains)
            self._tidy_soon()

    async def take_back(self, keys: Keys, id: str) -> Remains | None:
        """A new candidacy begins under this id: what the old one left is its own affair from now on."""
        async with self._tidying:
            for remains in self._remains:
                if remains.keys == keys and remains.id == id:
                    self._remains.remove(remains)
                    return remains
        return None

    def tidy(self) -> None:
        """Look once more for what remains: a pass that is under way may have looked too early."""
        if self._remains:
            task = asyncio.create_task(self._tidy(), name="leasekit-tidy")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _tidy_soon(self) -> None:
        if not self._tidying.locked():
            self.tidy()

    async def _tidy(self) -> None:
        """One pass over all remains, those included that come up meanwhile."""
        later: list[Remains] = []
        async with self._tidying:
            while (remains := next((one for one in self._remains if one not in later), None)) is not None:
                after, verdict = await self._remove(remains)
                if remains not in self._remains:
                    continue
                self._remains.remove(remains)
                if verdict is Verdict.REVOKE:
                    await self.give_back(timeout_s=TIDY_TIMEOUT_S)
                elif verdict is Verdict.LATER:
                    self._remains.append(after)
                    later.append(after)

    async def _remove(self, remains: Remains) -> tuple[Remains, Verdict]:
        verdict = Verdict.NOW
        while verdict is Verdict.NOW:
            looking = remains.found is None
            compares, ops = remains.request()
            try:
                committed = await self._store.transact(compares, ops, timeout_s=TIDY_TIMEOUT_S)
            except LeasekitError:
                remains, verdict = remains.unanswered(self._clock.now())
                continue
            if committed is None:
                remains, verdict = remains.refused()
            elif looking:
                remains, verdict = remains.looked(committed.reads, self._clock.now())
            else:
                remains, verdict = remains.deleted(self._clock.now())
        return remains, verdict

    # The end.

    async def give_back(self, *, timeout_s: float) -> None:
        """Revoke the lease: every key on it goes. If the store cannot be told, the lease runs out by itself."""
        lease_id = self.belief.lease_id
        if lease_id is None:
            return
        self._lose()
        try:
            await self._store.revoke(lease_id, timeout_s=timeout_s)
        except LeasekitError:
            return

    async def aclose(self, *, timeout_s: float) -> None:
        """Stop renewing and give the lease back, within `timeout_s`. Whoever waits for the lease gets a ConfigError."""
        self._closed = True
        self._answer_waiting(_closed())
        tasks = [*self._tasks, *([self._running] if self._running else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s / 2)
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        await self.give_back(timeout_s=timeout_s / 2)


def _closed() -> ConfigError:
    return ConfigError("store", "this connection was closed; connect anew")
