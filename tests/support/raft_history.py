"""What clients of a Raft cluster asked and were told, and what must be true of it whatever happened to the members.

Times are of one clock for all clients of this machine. Every value is written once, so it says which write it is of. An
outcome that nobody learnt is one at the end of all time: it may have taken effect at any moment after it was asked for.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from leasekit.backends.raft.simulator.linearizability import UNKNOWN, Operation, check
from leasekit.backends.raft.simulator.models import Cas, Read, Write, register
from support.evidence import Reign, assert_safe

_STEPS_MAX = 2_000_000
"""Of the search for an order, per key. Short histories take a few thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A put, or a compare-and-swap if `conditional`: of the value `expected`, None for a key that is not there.

    `swapped` is None if the outcome is not known; `revision` is that of the change if it was made.
    """

    client: str
    key: str
    value: bytes
    called_s: float
    returned_s: float = math.inf
    conditional: bool = False
    expected: bytes | None = None
    swapped: bool | None = None
    revision: int | None = None

    @property
    def operation(self) -> Operation:
        """For the search for an order."""
        asked = Cas(self.expected, self.value, self.key) if self.conditional else Write(self.value, self.key)
        told = UNKNOWN if self.swapped is None else self.swapped
        return Operation(client=self.client, input=asked, output=told, called=self.called_s, returned=self.returned_s)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a read showed of one key; both None if it was not there."""

    key: str
    value: bytes | None = None
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A read of some keys as of one moment. `revision` is None where the answer does not say the store's."""

    client: str
    seen: tuple[Seen, ...]
    called_s: float
    returned_s: float
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """A lease was seen to have ended, by an answer at `seen_s`, that was promised to live until `promised_until_s`."""

    lease_id: str
    promised_until_s: float
    seen_s: float


@dataclass(slots=True)
class History:
    """All of it. `judge` at the end."""

    changes: list[Change] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    refused: set[bytes] = field(default_factory=set)
    """Values of which the store said that they were surely not written, nor will be."""
    reigns: list[Reign] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def judge(self) -> None:
        """Raise AssertionError at the first thing that cannot be."""
        self._nothing_refused_is_there()
        self._revisions_tell_one_story()
        self._nobody_looks_back()
        self._linearizable()
        assert_safe(self.reigns)
        for ending in self.endings:
            assert ending.seen_s >= ending.promised_until_s, f"a lease ended before its time: {ending}"

    def _nothing_refused_is_there(self) -> None:
        for look in self.looks:
            for seen in look.seen:
                assert seen.value not in self.refused, f"was said to be surely not written: {seen} in {look}"

    def _linearizable(self) -> None:
        operations = [change.operation for change in self.changes]
        for look in self.looks:
            for seen in look.seen:
                asked = Read(seen.key)
                operations.append(
                    Operation(
                        client=look.client,
                        input=asked,
                        output=seen.value,
                        called=look.called_s,
                        returned=look.returned_s,
                    )
                )
        verdict = check(register, operations, max_steps=_STEPS_MAX)
        self.counts["steps of the search"] += verdict.steps
        assert verdict.linearizable is not None, f"no order of {verdict.part} was found in {_STEPS_MAX} steps"
        assert verdict.linearizable, self._account(str(verdict.part))

    def _versions(self) -> dict[str, list[tuple[int, bytes]]]:
        """Each key's values by their revisions, as far as anybody was told of them."""
        told: dict[bytes, tuple[str, int]] = {}
        seen = [Seen(change.key, change.value, change.revision) for change in self.changes if change.swapped]
        for each in [*seen, *(each for look in self.looks for each in look.seen if each.value is not None)]:
            assert each.value is not None and each.revision is not None
            first = told.setdefault(each.value, (each.key, each.revision))
            assert first == (each.key, each.revision), f"{each.value!r} is at {first} and at {each}"
        versions = defaultdict(list)
        by_revision: dict[int, bytes] = {}
        for value, (key, revision) in told.items():
            other = by_revision.setdefault(revision, value)
            assert other == value, f"two changes at revision {revision}: {other!r} and {value!r}"
            versions[key].append((revision, value))
        return {key: sorted(found) for key, found in versions.items()}

    def _revisions_tell_one_story(self) -> None:
        """What a read shows is the last change at or before its revision, over all keys that it shows."""
        versions = self._versions()
        for look in self.looks:
            for seen in look.seen:
                assert look.revision is None or seen.revision is None or seen.revision <= look.revision, look
                if look.revision is None:
                    continue
                known = versions.get(seen.key, [])
                place = bisect_right(known, look.revision, key=lambda version: version[0])
                last = known[place - 1] if place else (None, None)
                assert last == (seen.revision, seen.value), f"{last} is missing in {look}\n{self._account(seen.key)}"

    def _nobody_looks_back(self) -> None:
        """A change comes after all that anybody knew when it was asked for, and a read shows all of that."""
        known = [(change.returned_s, change.revision) for change in self.changes if change.revision is not None]
        known += [(look.returned_s, look.revision) for look in self.looks if look.revision is not None]
        known.sort()
        times, horizons, highest = [], [], 0
        for returned_s, revision in known:
            highest = max(highest, revision)
            times.append(returned_s)
            horizons.append(highest)

        def horizon(called_s: float) -> int:
            place = bisect_left(times, called_s)
            return horizons[place - 1] if place else 0

        for change in self.changes:
            assert change.revision is None or change.revision > horizon(change.called_s), f"goes back: {change}"
        for look in self.looks:
            assert look.revision is None or look.revision >= horizon(look.called_s), f"is stale: {look}"

    def _account(self, key: str) -> str:
        """All that concerns one key, for a failure's text."""
        lines = [(change.called_s, str(change)) for change in self.changes if change.key == key]
        lines += [(look.called_s, str(look)) for look in self.looks if key in [seen.key for seen in look.seen]]
        return "\n".join([f"no order explains {key}:", *(text for _, text in sorted(lines)[:200])])
