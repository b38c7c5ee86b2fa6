"""The network between members: fair-loss links that lose, repeat, delay and reorder, and that can be cut one way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from leasekit.backends.raft.simulator.schedule import Schedule

Deliver = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad the links are. Fractions are of messages."""

    loss: float = 0.0
    """0 to 0.3."""
    repeats: float = 0.0
    """0 to 0.5."""
    delay_min_s: float = 0.0005
    delay_mean_s: float = 0.002
    """Of what is added to the least delay; exponential, so that messages overtake each other."""

    @staticmethod
    def drawn(rng: random.Random) -> Weather:
        """As bad as VOPR's, but so that half of the runs have a decent network."""
        bad = rng.random() < 0.5
        return Weather(
            loss=rng.uniform(0, 0.3) if bad and rng.random() < 0.5 else rng.uniform(0, 0.02),
            repeats=rng.uniform(0, 0.5) if rng.random() < 0.3 else 0.0,
            delay_min_s=rng.uniform(0, 0.03 if bad else 0.003),
            delay_mean_s=rng.uniform(0.03, 0.1) if bad and rng.random() < 0.5 else rng.uniform(0.001, 0.02),
        )


class Network:
    """Carries what it is given, perhaps. Ends are named; a link is an ordered pair of names."""

    def __init__(self, schedule: Schedule, rng: random.Random, weather: Weather) -> None:
        self.weather = weather
        self.lost = 0
        self._schedule = schedule
        self._rng = rng
        self._cut: set[tuple[str, str]] = set()
        self._clogged_until_s: dict[tuple[str, str], float] = {}

    def send(self, sender: str, to: str, deliver: Deliver) -> None:
        """Call `deliver` later: never, once or twice."""
        if (sender, to) in self._cut or self._rng.random() < self.weather.loss:
            self.lost += 1
            return
        self._schedule.at(self._arrival_s(sender, to), deliver)
        if self._rng.random() < self.weather.repeats:
            self._schedule.at(self._arrival_s(sender, to), deliver)

    def arrival_s(self, sender: str, to: str) -> float | None:
        """When what is sent now on a stream arrives; None if it cannot. Streams lose nothing: a loss costs time."""
        if (sender, to) in self._cut:
            return None
        again_s = 0.0
        while self._rng.random() < self.weather.loss:
            again_s += 0.2
        return self._arrival_s(sender, to) + again_s

    def _arrival_s(self, sender: str, to: str) -> float:
        delay_s = self.weather.delay_min_s + self._rng.expovariate(1 / self.weather.delay_mean_s)
        start_s = max(self._schedule.now_s, self._clogged_until_s.get((sender, to), 0.0))
        return start_s + delay_s

    def clog(self, sender: str, to: str, for_s: float) -> None:
        """Hold back what is sent on this link from now on, for `for_s` seconds."""
        self._clogged_until_s[sender, to] = self._schedule.now_s + for_s

    def cut(self, links: Iterable[tuple[str, str]]) -> None:
        """Lose everything that is sent on these links from now on."""
        self._cut.update(links)

    def is_cut(self, sender: str, to: str) -> bool:
        """Whether nothing comes through."""
        return (sender, to) in self._cut

    def heal(self) -> None:
        """Mend all links. The weather stays as it is."""
        self._cut.clear()
        self._clogged_until_s.clear()


def partition(rng: random.Random, members: list[str], leader: str | None) -> list[tuple[str, str]]:
    """The links to cut for a partition of a random kind (VOPR's three; the leader alone; and two that hang by a thread).

    One way: the one side hears nothing, but is heard.
    """
    members = members[:]
    rng.shuffle(members)
    kind = rng.choice(["size", "each", "single", "leader", "bridge", "star"])
    if kind == "star":
        # Only one member reaches all others, and it may have the oldest log (Cloudflare's outage of 2020).
        return [(a, b) for a in members for b in members if a != b and members[0] not in (a, b)]
    if kind == "bridge":
        middle, rest = members[0], members[1:]
        one, other = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        assert middle not in one
    elif kind == "size":
        size = rng.randint(1, max(1, len(members) - 1))
        one, other = members[:size], members[size:]
    elif kind == "each":
        one = [member for member in members if rng.random() < 0.5]
        other = [member for member in members if member not in one]
    else:
        alone = leader if kind == "leader" and leader in members else members[0]
        one, other = [alone], [member for member in members if member != alone]
    links = [(a, b) for a in one for b in other]
    back = [(b, a) for a, b in links]
    return rng.choice([links, back, [*links, *back], [*links, *back]])
