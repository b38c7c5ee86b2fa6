"""Drives one candidate's contest: carries out what the pure core decides, and tells it what happened.

Everything here runs on the engine's loop. There is one task for the request under way, one for each watched key
(`leasekit.watches`), and timers; the decisions are all in `leasekit.core.election`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any

from leasekit import retry
from leasekit.clock import Clock
from leasekit.core import events as e
from leasekit.core import queue, records
from leasekit.core.contest import Contest, Phase, Setup
from leasekit.core.election import step
from leasekit.core.records import RequestRecord
from leasekit.errors import (
    ConfigError,
    LeadershipLost,
    LeasekitError,
    LeaseLost,
    LossReason,
    NotElected,
    OutcomeUnknown,
    StoreUnavailable,
)
from leasekit.history import History
from leasekit.journal import OFF, Journal
from leasekit.keeper import Keeper
from leasekit.observability.hub import tell_of
from leasekit.store import Committed, Entry, Store
from leasekit.tenure import Tenure
from leasekit.watches import Watches

SHORTEST_REQUEST_TIMEOUT_S = 1.0
WAKE_LATE_S = 0.001
"""A timer that fires before its moment, by ever so little, would make a look that is repeated at once."""


class Elector:
    """One candidate of one election. Campaigns one at a time."""

    def __init__(
        self,
        setup: Setup,
        store: Store,
        keeper: Keeper,
        history: History,
        *,
        clock: Clock,
        random: Random,
        journal: Journal = OFF,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._random = random
        self.setup = setup
        """What the next campaign goes by."""
        self._contest = Contest(setup)
        self._history = history
        self._journal = journal
        self._inbox: deque[e.Event] = deque()
        self._stepping = False
        self._watches = Watches(store, self._feed, self._listening, pause_s=self._longest_pause_s())
        self._timer: asyncio.TimerHandle | None = None
        self._pauses = 0
        self._unanswered: LeasekitError | None = None
        self._waiting: int | None = None
        self._campaign: asyncio.Future[Tenure | None] | None = None
        self._release: asyncio.Future[e.Released] | None = None
        self._tenure: Tenure | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._leasing: asyncio.Task[None] | None = None
        self._joined = False
        self._closed = False
        self._retired = asyncio.Event()

    @property
    def tenure(self) -> Tenure | None:
        """The leadership held, if any."""
        return self._tenure

    @property
    def idle(self) -> bool:
        """Whether it neither campaigns nor leads nor lets go."""
        return self._contest.phase is Phase.IDLE and self._campaign is None

    @property
    def waiting(self) -> int | None:
        """How many queue behind the leader, as last seen in this candidacy; None: not seen. From any thread."""
        return None if self.idle else self._waiting

    # What the faces ask for.

    async def campaign(self, *, once: bool, timeout_s: float | None) -> Tenure | None:
        """Campaign until elected; with `once`, give up (None) if it is not possible now.

        Raises:
            NotElected: `timeout_s` passed first (with `once`: StoreUnavailable). Nothing is held.
            ConfigError: already campaigning or leading under this id, or the id is another process's.
        """
        self._refuse_a_second()
        campaign: asyncio.Future[Tenure | None] = asyncio.get_running_loop().create_future()
        self._campaign = campaign
        self._unanswered = None
        tenure = None
        try:
            async with asyncio.timeout(timeout_s) as limit:
                await self._let_the_last_end()
                await self._begin(once)
                tenure = await campaign
        except TimeoutError:
            if not limit.expired():  # a fault in the store's code
                raise
            raise self._out_of_time(once, timeout_s) from self._why_unanswered
        finally:
            self._campaign = None
            if tenure is None:
                # Not won, out of time, or interrupted: what was won in this very moment is resigned.
                self._withdraw()
                self._journal.withdrew(self.setup.keys.election, self.setup.id)
        return tenure

    def _refuse_a_second(self) -> None:
        tenure = self._tenure
        if self._campaign is not None or (tenure is not None and (tenure.loss is None or tenure.wish is not None)):
            raise ConfigError(
                "id",
                f"{self._contest.setup.id!r} already campaigns or leads in election "
                f"{self._contest.setup.keys.election!r} here; another candidate needs an Election with an id of its own",
            )

    async def _let_the_last_end(self) -> None:
        """Who asks may have seen the last leadership end before this loop did, or while the store is still told of it."""
        while self._contest.phase is not Phase.IDLE:
            self._retired.clear()
            await self._retired.wait()

    @property
    def _why_unanswered(self) -> LeasekitError | None:
        return self._unanswered or self._keeper.ungranted

    def _out_of_time(self, once: bool, timeout_s: float | None) -> LeasekitError:
        election = self._contest.setup.keys.election
        why = f": {self._why_unanswered}" if self._why_unanswered is not None else ""
        if once:
            return StoreUnavailable(f"no answer about {election!r} within {timeout_s:g} s{why}")
        return NotElected(f"not elected in {election!r} within {timeout_s:g} s{why}")

    async def _begin(self, once: bool) -> None:
        keys, id = self.setup.keys, self.setup.id
        self._join()
        earlier = await self._keeper.take_back(keys, id)
        self._contest = self._contest._replace(
            setup=self.setup,
            led=max(self._keeper.led.get(keys.election, 0), earlier.led if earlier else 0),
            lease_id=earlier.lease_id if earlier else self._contest.lease_id,
            doubt_until=earlier.doubt_until if earlier else None,
        )
        self._waiting = None
        self._journal.campaign(keys.election, id, store=self._store.url)
        self._feed(e.Campaign(once))

    def _withdraw(self) -> None:
        """Leave the election, whatever had been reached."""
        if self._tenure is not None:
            self._tenure.end(LossReason.RESIGNED)
        self._feed(e.GiveUp())

    async def resign(self, tenure: Tenure, *, timeout_s: float) -> None:
        """Let go of the leadership: belief ends first, then the store is told. Gives up telling after `timeout_s`."""
        tenure.end(LossReason.RESIGNED)
        if tenure is self._tenure:
            await self._let_go(e.Resign(), timeout_s)

    async def transfer(self, tenure: Tenure, to: str, *, timeout_s: float) -> bool:
        """Hand over to the candidate `to`. False: it had gone by the time that belief had ended; resigned instead.

        Raises:
            ConfigError: no such candidate queues now; goes on leading.
            LeadershipLost: it was over before.
            OutcomeUnknown: the store did not confirm it. Belief has ended in any case.
        """
        if tenure.wish is None:
            tenure.check()
        keys = self._contest.setup.keys
        committed = await self._store.transact((), queue.look_ops(keys), timeout_s=timeout_s)
        assert committed is not None, "a transaction that compares nothing is not refused"
        look = queue.read_look(committed.reads, committed.revision)
        entry = look.candidate(keys.candidate(to))
        if entry is None or to == tenure.id:
            raise ConfigError("to", f"no other candidate {to!r} queues in election {tenure.election!r}")
        records.load_candidate(entry.value)  # raises here what would otherwise come up when belief has ended
        if tenure is not self._tenure:
            raise LeadershipLost(tenure.loss or LossReason.RESIGNED, election=tenure.election, token=tenure.token)
        tenure.end(LossReason.TRANSFERRED)
        released = await self._let_go(
            e.Transfer(entry, look.base, self._clock.wall_s(), self._journal.clock), timeout_s
        )
        if released is None or not released.confirmed:
            raise OutcomeUnknown(f"the store did not confirm the transfer of {tenure.election!r} to {to!r}")
        return released.reason is LossReason.TRANSFERRED

    def close(self) -> None:
        """The connection is closed: a campaign fails, a leadership ends. The keeper, closed next, ends it in the store."""
        self._closed = True
        if self._campaign is not None and not self._campaign.done():
            self._campaign.set_exception(ConfigError("store", "this connection was closed; connect anew"))
        if self._tenure is not None:
            self._tenure.end(LossReason.CLOSED)

    async def _let_go(self, event: e.Resign | e.Transfer, timeout_s: float) -> e.Released | None:
        release = self._release
        if release is None or release.done():
            release = self._release = asyncio.get_running_loop().create_future()
            self._feed(event)
        try:
            await asyncio.wait([release], timeout=timeout_s)
            return release.result() if release.done() else None
        finally:
            if not release.done():
                self._feed(e.GiveUp())

    # Stepping the core.

    def _feed(self, event: e.Event) -> None:
        """Let the core take `event`. Events that come up meanwhile wait their turn."""
        self._inbox.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                self._hear(event)
                ctx = e.Context(self._clock.now(), self._clock.wall_s(), self._keeper.belief, self._journal.clock)
                try:
                    self._contest, actions = step(self._contest, event, ctx)
                except Exception as error:
                    # A fault of ours as well: whoever campaigns is not to wait for ever.
                    if isinstance(event, e.GiveUp):
                        raise
                    actions = (e.Failed(error),)
                for action in actions:
                    self._carry_out(action)
        finally:
            self._stepping = False
        self._watches.follow(self._contest.watching, waiting=self._contest.phase is Phase.WAITING)
        self._follow_timer()
        if self._listening():
            for told in self._watches.unheard():
                self._feed(told)
        if self._contest.phase is Phase.IDLE:
            self._retired.set()
            if self._leasing is not None:
                self._leasing.cancel()
        if self.idle and not self._inbox:
            self._leave()

    def _hear(self, event: e.Event) -> None:
        """What whoever put a `leader` record knew is known here once it is read."""
        if not self._journal.on:
            return
        key, id = self._contest.setup.keys.leader, self._contest.setup.id
        match event:
            case e.Seen() if event.key == key:
                seen: list[Entry | None] = [event.entry]
            case e.Applied():
                seen = [entry for entries in event.committed.reads for entry in entries if entry.key == key]
            case _:
                return
        for entry in seen:
            holder = queue.holder_of(entry, lease_id=self._contest.lease_id, id=id)
            self._journal.saw(self._contest.setup.keys.election, id, entry, mine=holder is queue.Holder.ME)

    def _carry_out(self, action: e.Action) -> None:
        match action:
            case e.Transact():
                self._ask(action.number, lambda: self._transact(action))
            case e.Revoke():
                self._ask(action.number, lambda: self._revoke(action.lease_id))
            case e.Pause():
                self._pauses += 1
                self._wake_in(retry.pause_s(self._pauses, self._random, longest_s=self._longest_pause_s()))
            case e.NeedLease():
                if action.unknown is not None:
                    self._keeper.unknown_to_store(action.unknown)
                self._leasing = self._start(self._get_lease())
            case e.RenewLease():
                self._leasing = self._start(self._get_lease())
            case e.Elected():
                self._elected(action)
            case e.Lost():
                self._lost(action.reason)
            case e.NotElected():
                self._settle(None)
            case e.Failed():
                self._failed(action.error)
            case e.Asked():
                self._asked(action.request)
            case e.Released():
                self._released(action)
            case e.Disown():
                self._keeper.disown(action.remains)

    def _elected(self, elected: e.Elected) -> None:
        keys, id = self._contest.setup.keys, self._contest.setup.id
        self._note_led()
        call_here = _caller(asyncio.get_running_loop())
        tenure = Tenure(
            election=keys.election,
            id=id,
            token=elected.token,
            belief=lambda: self._keeper.belief,
            notice_deadline=lambda: call_here(self._keeper.check_deadline),
            clock=self._clock,
        )
        self._journal.elected(keys.election, id, tenure.token, self._keeper.belief)
        # At once, in whatever thread: a journal tells when belief ended, not when the loop heard of it.
        tenure.on_end(lambda reason: self._journal.ended(keys.election, id, tenure.token, reason))
        tell_of(tenure, store=self._store.url)
        tenure.on_end(lambda reason: call_here(self._ended, tenure, reason))
        self._tenure = tenure
        self._history.began(tenure.token, tenure.id, over_hold=elected.over_hold)
        if self._campaign is None:
            self._withdraw()
        else:
            self._settle(tenure)

    def _ended(self, tenure: Tenure, reason: LossReason) -> None:
        """Whoever ended it, the user's thread included: let go in the store as well, if that is still to be done."""
        self._history.ended(tenure.token, tenure.id, reason)
        if tenure is self._tenure and tenure.wish is None and not self._closed and self._contest.leads:
            self._feed(e.Resign())

    def _lost(self, reason: LossReason) -> None:
        self._note_led()
        tenure, self._tenure = self._tenure, None
        if tenure is not None:
            tenure.end(reason)

    def _note_led(self) -> None:
        """Other candidates of the election may have led on this lease meanwhile."""
        election = self._contest.setup.keys.election
        self._keeper.led[election] = max(self._keeper.led.get(election, 0), self._contest.led)

    def _released(self, released: e.Released) -> None:
        self._tenure = None
        if self._release is not None and not self._release.done():
            self._release.set_result(released)

    def _failed(self, error: Exception) -> None:
        self._lost(LossReason.SUPERSEDED)
        if self._campaign is not None and not self._campaign.done():
            self._campaign.set_exception(error)
        elif self._release is not None and not self._release.done():
            self._release.set_exception(error)
        if not self.idle:
            self._inbox.append(e.GiveUp())

    def _settle(self, tenure: Tenure | None) -> None:
        if self._campaign is not None and not self._campaign.done():
            self._campaign.set_result(tenure)

    def _asked(self, request: RequestRecord) -> None:
        tenure = self._tenure
        understood = request.action == ("resign" if request.to is None else "transfer")
        if tenure is not None and understood and not tenure.ask(request):
            self._start(self._obey(tenure, request))

    async def _obey(self, tenure: Tenure, request: RequestRecord) -> None:
        """Nobody here is known to be at work, so the holder is told by the loss, then the store."""
        timeout_s = self._request_timeout_s()
        with contextlib.suppress(LeasekitError):  # not to be done: leads on, and the operator gets no answer
            if request.to is not None:
                await self.transfer(tenure, request.to, timeout_s=timeout_s)
            else:
                await self.resign(tenure, timeout_s=timeout_s)

    # Requests.

    def _ask(self, number: int, request: Callable[[], Awaitable[Committed | None]]) -> None:
        self._cancel_timer()
        self._start(self._answer(number, request))

    async def _answer(self, number: int, request: Callable[[], Awaitable[Committed | None]]) -> None:
        answer: e.Answer
        try:
            committed = await request()
        except LeaseLost as lost:
            answer = e.LeaseGone(number, lost.lease_id)
        except OutcomeUnknown as error:
            self._unanswered = error
            answer = e.Unknown(number)
        except StoreUnavailable as error:
            self._unanswered = error
            answer = e.Unavailable(number)
        except Exception as error:  # noqa: BLE001 (likewise)
            if number != self._contest.number:
                return
            if self._contest.phase is not Phase.CHECKING:
                self._failed(error)
                self._feed(e.GiveUp())
                return
            # A leader whose read is refused leads on: the deadline decides.
            answer = e.Unavailable(number)
        else:
            self._pauses = 0
            answer = e.Refused(number) if committed is None else e.Applied(number, committed)
            if number != self._contest.number and committed is not None:
                # Given up while it was under way: what it wrote may have come after a look for what remains.
                self._keeper.tidy()
        self._feed(answer)

    async def _transact(self, request: e.Transact) -> Committed | None:
        committed = await self._store.transact(request.compares, request.ops, timeout_s=self._request_timeout_s())
        if committed is not None:
            keys, id = self._contest.setup.keys, self._contest.setup.id
            waiting = queue.waiting(keys, id, request.compares, request.ops, committed.reads)
            self._waiting = self._waiting if waiting is None else waiting
        return committed

    async def _revoke(self, lease_id: str) -> Committed:
        await self._store.revoke(lease_id, timeout_s=self._request_timeout_s())
        return Committed(0)

    async def _get_lease(self) -> None:
        try:
            await self._keeper.fresh()
        except Exception as error:  # noqa: BLE001 (a fault in a store's code is told to whoever campaigns)
            self._failed(error)
            self._feed(e.GiveUp())
        else:
            self._feed(e.LeaseReady())

    def _request_timeout_s(self) -> float:
        return max(SHORTEST_REQUEST_TIMEOUT_S, self._keeper.requested_ttl_s / 6)

    def _longest_pause_s(self) -> float:
        return min(retry.LONGEST_PAUSE_S, self._keeper.requested_ttl_s / 6)

    # Watches and timers.

    def _listening(self) -> bool:
        """Whether the contest heeds its watches now; while a request is under way it does not."""
        return self._contest.phase in (Phase.WAITING, Phase.LEADING)

    def _follow_timer(self) -> None:
        wake_at = self._contest.wake_at
        if wake_at is not None:
            self._wake_in(max(0.0, self._clock.now().until(wake_at)) + WAKE_LATE_S)
        elif self._contest.phase in (Phase.IDLE, Phase.LEADING, Phase.LEASING, Phase.RENEWING):
            self._cancel_timer()

    def _wake_in(self, delay_s: float) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._feed(e.Wake())

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Belonging to the keeper.

    def _join(self) -> None:
        if not self._joined:
            self._joined = True
            self._keeper.join(self._trust_ended)

    def _leave(self) -> None:
        if self._joined:
            self._joined = False
            self._keeper.leave(self._trust_ended)

    def _trust_ended(self, event: e.TrustEnded) -> None:
        self._feed(event)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _caller(loop: asyncio.AbstractEventLoop) -> Callable[..., object]:
    """Has something called on `loop`, soon, from any thread. From the loop's own it need not be woken by its pipe."""
    own = threading.get_ident()

    def call(function: Callable[..., object], *args: object) -> None:
        (loop.call_soon if threading.get_ident() == own else loop.call_soon_threadsafe)(function, *args)

    return call
