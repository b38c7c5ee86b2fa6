"""What clients do to the store: registers, several keys at once, leaderships on leases, watches."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

from leasekit.backends.raft.kv import outcomes
from leasekit.backends.raft.kv.commands import Grant, Renew, Revoke, Transact
from leasekit.backends.raft.requests import Event, NotLeader, Refused, Response, Unwatch, Watch
from leasekit.backends.raft.simulator import models
from leasekit.backends.raft.simulator.clients import Client, Denied, Does, Site, Sleep, Unsettled
from leasekit.backends.raft.simulator.connection import Connection
from leasekit.backends.raft.simulator.linearizability import Operation
from leasekit.backends.raft.simulator.reference import SLOWEST
from leasekit.store import Absent, At, Compare, Delete, Entry, Get, NoneUnder, Put


class Registers(Client):
    """Reads, writes and compare-and-swaps of a few keys; every value is written once, so that it names its revision."""

    def __init__(self, name: str, site: Site, rng: random.Random, history: list[Operation], keys: int) -> None:
        self._history = history
        self._keys = [f"r/{number}" for number in range(keys)]
        self._known: dict[str, Entry | None] = {}
        self._value = 0
        self.done = 0
        super().__init__(name, site, rng)

    def life(self) -> Does:
        while not self.stopping:
            yield Sleep(self.rng.expovariate(1 / 0.15))
            key = self.rng.choice(self._keys)
            kind = self.rng.random()
            if kind < 0.4 or (kind >= 0.7 and key not in self._known):
                yield from self._record(models.Read(key), self._read(key))
            elif kind < 0.7:
                yield from self._record(models.Write(value := self._new_value(), key), self._write(key, value))
            else:
                known, value = self._known[key], self._new_value()
                asked = models.Cas(None if known is None else known.value.decode(), value, key)
                yield from self._record(asked, self._swap(key, known, value))

    def _new_value(self) -> str:
        self._value += 1
        return f"{self.name}:{self._value}"

    def _record(self, asked: models.Read | models.Write | models.Cas, doing: Does) -> Does:
        now_s = self.site.schedule.now_s
        # As long as no answer has come, it may have been done: also if the run ends before.
        place = len(self._history)
        self._history.append(operation := Operation(client=self.name, input=asked, called=now_s))
        try:
            output = yield from doing
        except Unsettled:
            return
        except Denied:
            self._history[place] = replace(operation, input=models.Read(asked.key))
            return
        self.done += 1
        self._history[place] = replace(operation, output=output, returned=self.site.schedule.now_s)

    def _read(self, key: str) -> Does:
        committed = yield from self.read(Get(key))
        self._known[key] = committed.reads[0][0] if committed.reads[0] else None
        return committed.reads[0][0].value.decode() if committed.reads[0] else None

    def _write(self, key: str, value: str) -> Does:
        yield from self.perform(Transact((), (Put(key, value.encode()),)))
        return True

    def _swap(self, key: str, known: Entry | None, value: str) -> Does:
        compare: Compare = Absent(key) if known is None else At(key, known.revision)
        outcome = yield from self.perform(Transact((compare,), (Put(key, value.encode()), Get(key))))
        if outcome.committed is None:
            del self._known[key]
            return False
        self._known[key] = outcome.committed.reads[0][0]
        return True


class Several(Client):
    """Transactions over several keys, deletes, and reads of a prefix. The reference judges them."""

    def life(self) -> Does:
        count = 0
        while not self.stopping:
            yield Sleep(self.rng.expovariate(1 / 0.3))
            count += 1
            names = self.rng.sample(["m/a", "m/b", "m/c", "n/d"], 2)
            value = f"{self.name}:{count}".encode()
            try:
                if self.rng.random() < 0.3:
                    yield from self.read(Get("m/", prefix=True), Get(names[0]))
                else:
                    compares: tuple[Compare, ...] = ()
                    if self.rng.random() < 0.4:
                        compares = (Absent(names[1]) if self.rng.random() < 0.5 else NoneUnder("n/"),)
                    change = Delete(names[1]) if self.rng.random() < 0.4 else Put(names[1], value)
                    ops = (Put(names[0], value), change, Get("m/", prefix=True))
                    yield from self.perform(Transact(compares, ops))
            except (Unsettled, Denied):
                pass


class Burst(Client):
    """Writes many at once and waits for the last alone: a leader that is cut off gets a long tail of its own."""

    def life(self) -> Does:
        yield from self.open_session()
        count = 0
        while not self.stopping:
            yield Sleep(self.rng.expovariate(1 / 0.4))
            count += 1
            puts = [Put(f"b/{self.rng.randint(0, 3)}", f"{self.name}:{count}:{n}".encode()) for n in range(8)]
            commands = [Transact((), (put,)) for put in puts[: self.rng.randint(1, 8)]]
            with contextlib.suppress(Unsettled, Denied):
                yield from self.perform_all(commands)


class Elector(Client):
    """Campaigns for a leadership on a lease, holds it for a while, and ends it in one of four ways."""

    def __init__(self, name: str, site: Site, rng: random.Random, key: str, ttl_s: float) -> None:
        self._key = key
        self._ttl_s = ttl_s
        self._lease_id = ""
        self._lease_asked_s = 0.0
        self.led = 0
        super().__init__(name, site, rng)

    def life(self) -> Does:
        while not self.stopping:
            yield Sleep(self.rng.expovariate(1 / 0.5))
            try:
                token = yield from self._campaign()
                if token is not None:
                    self.led += 1
                    yield from self._lead(token)
            except (Unsettled, Denied):
                self._lease_id = ""

    def _campaign(self) -> Does:
        if not self._lease_id:
            asked_s = self.site.schedule.now_s
            granted = yield from self.perform(Grant(round(self._ttl_s * 1000)))
            self._lease_id = granted.lease_id
            self._trust(asked_s)
        claim = Transact((Absent(self._key),), (Put(self._key, self.name.encode(), self._lease_id),))
        outcome = yield from self.perform(claim)
        if isinstance(outcome, outcomes.LeaseUnknown):
            self._lease_id = ""
            return None
        return None if outcome.committed is None else outcome.committed.revision

    def _trust(self, asked_s: float) -> None:
        self._lease_asked_s = asked_s
        self.site.reference.renewed(self._lease_id, self._ttl_s, asked_s)

    def _believe(self, token: int) -> None:
        until_s = self._lease_asked_s + self._ttl_s / SLOWEST
        self.site.reference.believes(self._key, self.name, token, until_s, self.site.schedule.now_s)

    def _lead(self, token: int) -> Does:
        self._believe(token)
        for _ in range(self.rng.randint(0, 5)):
            yield Sleep(self._ttl_s / 3)
            asked_s = self.site.schedule.now_s
            outcome = yield from self.perform(Renew(self._lease_id), tries=4)
            if isinstance(outcome, outcomes.LeaseUnknown):
                self._lease_id = ""
                return
            self._trust(asked_s)
            self._believe(token)
        end = self.rng.choice(["resign", "revoke", "vanish", "vanish"])
        if end == "vanish":
            self._lease_id = ""
            return
        self.site.reference.gave_up(self._key, token)
        if end == "resign":
            yield from self.perform(Transact((At(self._key, token),), (Delete(self._key),)))
        else:
            yield from self.perform(Revoke(self._lease_id))
            self._lease_id = ""


class Watcher:
    """Watches a key or a prefix, for ever, over all losses of connection: goes on from the last revision that it was told."""

    def __init__(self, name: str, site: Site, rng: random.Random, key: str, *, prefix: bool) -> None:
        self.after = 0
        self._name = name
        self._site = site
        self._rng = rng
        self._key = key
        self._prefix = prefix
        self._connection: Connection | None = None
        self._request = 0
        self._target: str | None = None
        self._begin()

    def _begin(self) -> None:
        members = self._site.members()
        target = self._target if self._target in members else self._rng.choice(members)
        assert target is not None
        self._target = None
        if self._connection is not None:
            self._connection.close()
        self._request += 1
        number = self._request
        self._connection = self._site.connect(self._name, target, self._heard, self._broken)
        if self._connection is not None:
            watch = Watch(id=number, key=self._key, prefix=self._prefix, after=self.after)
            self._connection.send(watch)
        # Silence may mean that nothing happens, or that nobody is there: after a while, try another.
        self._site.schedule.after(self._rng.uniform(1, 4), lambda: self._again(number))

    def _again(self, number: int) -> None:
        if number == self._request:
            if self._connection is not None and self._connection.open and self._rng.random() < 0.3:
                self._connection.send(Unwatch(id=0, watch=number))
            self._begin()

    def _broken(self, connection: Connection) -> None:
        if connection is self._connection:
            self._again(self._request)

    def _heard(self, response: Response) -> None:
        if response.id != self._request:
            return
        match response:
            case Event():
                self._site.trace.note("event", self._name, response)
                self._site.reference.watched(self._key, self._prefix, self.after, response)
                self.after = response.revision
            case NotLeader(leader=leader):
                self._target = leader
                self._try_again_soon()
            case Refused():
                self._try_again_soon()

    def _try_again_soon(self) -> None:
        number = self._request
        self._site.schedule.after(self._rng.uniform(0.05, 0.3), lambda: self._again(number))
