"""Clients at work on a Raft cluster while a test breaks it, each on a connection and in a session of its own.

Some put, swap and read a few keys; some campaign for one with leases; all write down unique entries in a ledger, which a
watch follows. At the end it is judged as a whole (`support.raft_history`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from leasekit import urls
from leasekit.backends.raft import open_store
from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, At, Compare, Entry, Get, Put, Resync, Store
from support.raft_contenders import PLACE, Contender
from support.raft_history import Change, History, Look, Seen
from support.raft_lookers import Lookers
from support.team import SLACK_S, now_s, wait_until

T = TypeVar("T")

_KEYS = 3
_ROUND_S = 1.0
"""The keys change after so long: the search for an order is quick on short histories."""
_PAUSE_S = 0.02
LEDGER = "ledger/"
PATIENCE_S = 2 * SLACK_S
"""For clients, members and links between them, all on one busy machine."""


class Load:
    """A context manager: at its end the clients stop, and what they were told is judged. The cluster must serve then."""

    def __init__(
        self, url: str, *, clients: int = 4, contenders: int = 3, timeout_s: float = 2.0, seed: int | None = None
    ) -> None:
        self.history = History()
        self.timeout_s = timeout_s
        self._url = url
        self._clients = clients
        self._contenders = contenders
        self._random = Random(seed)
        self._began_s = now_s()
        self._acknowledged = 0
        self._told: dict[str, int] = {}
        """Of the ledger, by the watch."""
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(PATIENCE_S)
        self.goes_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._loop is not None and self._stop is not None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * PATIENCE_S)
        if kind is None:
            assert not self._thread.is_alive(), "the clients do not come to an end"
            self._raise_failure()
            self.history.judge()

    @property
    def acknowledged(self) -> int:
        """How many changes were acknowledged so far."""
        self._raise_failure()
        return self._acknowledged

    @property
    def failed(self) -> int:
        """How many requests were not answered in time, those of contenders not counted."""
        unanswered = ("changes with unknown outcome", "changes surely not made", "reads without answer")
        return sum(self.history.counts[what] for what in unanswered)

    def goes_on(self, more: int = 20, timeout_s: float = PATIENCE_S) -> float:
        """Wait until so many more changes are acknowledged; how long that took, in seconds."""
        began_s, target = now_s(), self.acknowledged + more
        wait_until(lambda: self.acknowledged >= target, timeout_s, f"{more} more changes", self.account)
        return now_s() - began_s

    def stands_still(self) -> None:
        """See that nothing is acknowledged which is asked for from now on, until requests have failed."""
        since_s, failed = now_s(), self.failed

        def some_failed() -> bool:
            self._raise_failure()
            # Each client may be waiting for an answer to what it asked for before.
            return self.failed > failed + self._clients

        wait_until(some_failed, PATIENCE_S, "requests fail", self.account)
        answered = [
            change for change in self.history.changes if change.called_s > since_s and change.swapped is not None
        ]
        assert not answered, f"acknowledged since {since_s}: {answered}"

    def account(self) -> str:
        """What came of the requests, for people."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self.history.counts.items()))

    def _raise_failure(self) -> None:
        error = self._failure
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is not None:
            raise error

    # In the clients' thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 (raised again in the test's thread)
            self._failure = error
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:

            def opened() -> Store:
                store = open_store(urls.parse(self._url))
                stack.push_async_callback(store.aclose)
                return store

            watching = asyncio.create_task(self._watch(opened()))
            async with asyncio.TaskGroup() as group:
                for number in range(self._clients):
                    group.create_task(self._work(f"c{number}", opened(), Random(self._random.random())))
                for number in range(self._contenders):
                    contender = Contender(f"l{number}", opened(), self.history, Random(self._random.random()))
                    group.create_task(contender.run(self._stop))
                group.create_task(Lookers(self._url, self.history, self._keys).run(self._stop))
                group.create_task(self._end_with(watching))
                self._ready.set_result(None)
            await self._settle(opened(), watching)

    async def _end_with(self, watching: asyncio.Task[None]) -> None:
        """A watch never ends by itself: its failure is that of all."""
        assert self._stop is not None
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((stopping, watching), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            await watching
        await stopping

    async def _work(self, name: str, store: Store, random: Random) -> None:
        assert self._stop is not None
        last: dict[str, Entry] = {}
        number = 0
        while not self._stop.is_set():
            number += 1
            keys = self._keys()
            key, value = random.choice(keys), f"{name}-{number}".encode()
            match random.choices(["put", "swap", "get", "look", "note"], [2, 3, 3, 2, 2])[0]:
                case "put":
                    await self._change(name, store, key, value)
                case "swap":
                    await self._change(name, store, key, value, swap=True, expected=last.get(key))
                case "note":
                    await self._change(name, store, f"{LEDGER}{name}/{number:06}", value)
                case "get":
                    await self._get(name, store, key, last)
                case "look":
                    await self._look(name, store, keys, last)
            await asyncio.sleep(random.uniform(0, _PAUSE_S))

    def _keys(self) -> list[str]:
        """Those of this round."""
        return [f"keys/{int((now_s() - self._began_s) / _ROUND_S)}/{key}" for key in range(_KEYS)]

    async def _change(
        self, name: str, store: Store, key: str, value: bytes, *, swap: bool = False, expected: Entry | None = None
    ) -> None:
        compares: tuple[Compare, ...] = ()
        if swap:
            compares = (Absent(key),) if expected is None else (At(key, expected.revision),)

        def change(*, swapped: bool | None, returned_s: float, revision: int | None = None) -> Change:
            return Change(
                client=name,
                key=key,
                value=value,
                called_s=called_s,
                returned_s=returned_s,
                conditional=swap,
                expected=expected.value if expected else None,
                swapped=swapped,
                revision=revision,
            )

        called_s = now_s()
        try:
            committed = await store.transact(compares, (Put(key, value),), timeout_s=self.timeout_s)
        except OutcomeUnknown:
            self.history.changes.append(change(swapped=None, returned_s=float("inf")))
            self.history.counts["changes with unknown outcome"] += 1
        except StoreUnavailable:
            self.history.refused.add(value)
            self.history.counts["changes surely not made"] += 1
        else:
            revision = committed.revision if committed else None
            self.history.changes.append(change(swapped=bool(committed), returned_s=now_s(), revision=revision))
            self.history.counts["changes"] += 1
            self._acknowledged += 1

    async def _get(self, name: str, store: Store, key: str, last: dict[str, Entry]) -> None:
        called_s = now_s()
        entry = await self._read(lambda: store.get(key, timeout_s=self.timeout_s))
        if isinstance(entry, StoreUnavailable):
            return
        look = Look(client=name, seen=(_seen(key, entry),), called_s=called_s, returned_s=now_s())
        self.history.looks.append(look)
        if entry:
            last[key] = entry

    async def _look(self, name: str, store: Store, keys: Sequence[str], last: dict[str, Entry]) -> None:
        called_s = now_s()
        gets = tuple(Get(key) for key in keys)
        committed = await self._read(lambda: store.transact((), gets, timeout_s=self.timeout_s))
        if isinstance(committed, StoreUnavailable):
            return
        assert committed is not None
        returned_s = now_s()
        found = {entry.key: entry for entries in committed.reads for entry in entries}
        last.update(found)
        seen = tuple(_seen(key, found.get(key)) for key in keys)
        self.history.looks.append(
            Look(client=name, seen=seen, called_s=called_s, returned_s=returned_s, revision=committed.revision)
        )

    async def _read(self, ask: Callable[[], Awaitable[T]]) -> T | StoreUnavailable:
        try:
            answer = await ask()
        except StoreUnavailable as error:
            self.history.counts["reads without answer"] += 1
            return error
        self.history.counts["reads"] += 1
        return answer

    # The ledger's watch, and the end.

    async def _watch(self, store: Store) -> None:
        last, begun_anew = 0, False
        async for told in store.watch(LEDGER, prefix=True, after=0):
            if isinstance(told, Resync):
                begun_anew = True
                self.history.counts["watches begun anew"] += 1
                entries = (await store.scan(LEDGER, timeout_s=PATIENCE_S)).entries
                self._told.update({entry.key: entry.revision for entry in entries})
                continue
            assert told.revision >= last, f"a watch goes back from {last}: {told}"
            assert begun_anew or told.key not in self._told, f"was told before: {told}"
            last = self._told[told.key] = told.revision

    async def _settle(self, store: Store, watching: asyncio.Task[None]) -> None:
        """Read everything once more, and wait until the watch has told all of the ledger."""
        called_s = now_s()
        found = await store.scan("", timeout_s=PATIENCE_S)
        entries = {entry.key: entry for entry in found.entries}
        returned_s = now_s()
        keys = {change.key for change in self.history.changes} | (entries.keys() - {PLACE})
        self.history.looks.append(
            Look(
                client="the last",
                seen=tuple(_seen(key, entries.get(key)) for key in sorted(keys)),
                called_s=called_s,
                returned_s=returned_s,
                revision=found.revision,
            )
        )
        ledger = {key: entry.revision for key, entry in entries.items() if key.startswith(LEDGER)}
        give_up_s = now_s() + PATIENCE_S
        while ledger.keys() - self._told.keys() and not watching.done() and now_s() < give_up_s:
            await asyncio.sleep(0.02)
        if watching.done():
            await watching
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        # What was in doubt and came later still may be told beyond what the scan showed.
        missing = {key: revision for key, revision in ledger.items() if self._told.get(key) != revision}
        assert not missing, f"the watch has not told, or not rightly: {missing}"


def _seen(key: str, entry: Entry | None) -> Seen:
    return Seen(key) if entry is None else Seen(key, entry.value, entry.revision)
