"""Everything at once: losses, repeats, stragglers, slow disks, crashes, cuts, hand-overs, snapshots and new members.

While it lasts nothing may be applied twice, in another order, or be lost; when it is over, the cluster works again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.membership import NotNow
from support.raft import Cluster, Member, leading

_CONFIG = Config(election_ticks=20, heartbeat_ticks=4, snapshot_piece_bytes=40, max_inflight=4, max_append_bytes=200)
_CONFIGS = [_CONFIG, replace(_CONFIG, pre_vote=False), replace(_CONFIG, pre_vote=False, check_quorum=False)]


class _Storm:
    def __init__(self, seed: int) -> None:
        self.cluster = Cluster("abc", config=_CONFIGS[seed % 3], seed=seed)
        self.random = self.cluster.random
        self.names = iter("defghijklmnopqrstuvwxyz")
        self.seen: dict[str, int] = {}
        self.cluster.loss = self.random.choice([0, 0.05, 0.2])
        self.cluster.repeat = self.random.choice([0, 0.1])
        self.cluster.straggle = self.random.choice([0, 0.02])
        self.cluster.delay_ticks = (1, self.random.choice([1, 3, 8]))
        self.cluster.disk_ticks = (0, self.random.choice([0, 3, 10]))

    def blow(self, turns: int) -> None:
        doings: list[tuple[Callable[[Member], object], int]] = [
            (self._propose, 20),
            (self._crash, 2),
            (self._cut, 2),
            (self._heal, 4),
            (self._compact, 4),
            (self._transfer, 1),
            (self._add, 1),
            (self._promote, 2),
            (self._remove, 1),
        ]
        for turn in range(turns):
            doing = self.random.choices([doing for doing, _ in doings], [weight for _, weight in doings])[0]
            member = self.random.choice(list(self.cluster.members.values()))
            leaders = self.cluster.leaders()
            with suppress(NotNow):
                doing(leaders[0] if leaders and self.random.random() < 0.8 else member)
            for other in self.cluster.members.values():
                if not other.up and self.random.random() < 0.2:
                    other.start()
            self.cluster.tick(self.random.randint(1, 12))
            if turn % 10 == 0:
                self.cluster.check_logs()
                self._check_durable()

    def calm_down(self) -> None:
        cluster = self.cluster
        cluster.loss = cluster.straggle = cluster.repeat = 0
        cluster.heal()
        for member in cluster.members.values():
            if not member.up:
                member.start()
        cluster.until(self._settled, within=100 * _CONFIG.election_ticks)
        leader = cluster.leaders()[0]
        for name, member in cluster.members.items():
            if name not in leader.raft.membership:
                member.crash()  # who was removed is stopped; without pre-vote it would disturb
        cluster.agree(b"after the storm", on=leader.raft.membership.voters, within=100 * _CONFIG.election_ticks)
        cluster.check_logs()

    def _settled(self) -> bool:
        """Whether there is a leader whose membership is committed."""
        leader = next(iter(self.cluster.leaders()), None)
        return leader is not None and leading(leader.raft).committed_own_term

    def _check_durable(self) -> None:
        """What a majority of those concerned had committed never goes back."""
        for name, member in self.cluster.members.items():
            if member.up:
                assert member.raft.log.committed >= member.raft.log.applied
                assert member.disk.content.hard_state.term >= self.seen.get(name, 0)
                self.seen[name] = member.disk.content.hard_state.term

    def _propose(self, member: Member) -> None:
        if member.up and member.raft.leading:
            leading(member.raft).propose(b"%d by %s" % (self.cluster.now, member.name.encode()))
            member.work()

    def _crash(self, member: Member) -> None:
        if member.up:
            member.crash()

    def _cut(self, member: Member) -> None:
        others = [name for name in self.cluster.members if name != member.name]
        if self.random.random() < 0.3:
            self.cluster.isolate(member.name)
        elif self.random.random() < 0.5:
            self.cluster.down |= {(member.name, self.random.choice(others))}
        else:
            self.cluster.down |= {(self.random.choice(others), member.name)}

    def _heal(self, member: Member) -> None:
        self.cluster.heal()

    def _compact(self, member: Member) -> None:
        if member.up:
            member.compact(self.random.choice([0, 0, 5]))

    def _transfer(self, member: Member) -> None:
        if member.up and member.raft.leading:
            leading(member.raft).transfer(None)
            member.work()

    def _add(self, member: Member) -> None:
        if member.up and member.raft.leading and len(self.cluster.members) < 7:
            name = next(self.names)
            leading(member.raft).add_learner(name, f"{name}:1")
            self.cluster.join(name)
            member.work()

    def _promote(self, member: Member) -> None:
        if member.up and member.raft.leading and member.raft.membership.learners:
            leading(member.raft).promote(self.random.choice(list(member.raft.membership.learners)))
            member.work()

    def _remove(self, member: Member) -> None:
        if member.up and member.raft.leading and len(member.raft.membership.voters) > 2:
            leading(member.raft).remove(self.random.choice(list(member.raft.membership.voters)))
            member.work()


@pytest.mark.parametrize("seed", range(30))
def test_a_storm_breaks_nothing_and_when_it_is_over_the_cluster_works(seed: int) -> None:
    storm = _Storm(seed)
    storm.blow(150)
    storm.calm_down()


def test_the_storms_are_storms() -> None:
    """They have to reach what they are for."""
    storms = [_Storm(seed) for seed in range(12)]
    for storm in storms:
        storm.blow(150)
    sent = sum((storm.cluster.sent for storm in storms), start=storms[0].cluster.sent.__class__())
    assert sent["SnapshotPiece"] > 100
    assert sent["TimeoutNow"] > 10
    assert sum(max(member.raft.term for member in storm.cluster.members.values()) for storm in storms) > 100
    assert sum(len(storm.cluster.members) for storm in storms) > 4 * len(storms)
    assert sum(max(len(member.commands) for member in storm.cluster.members.values()) for storm in storms) > 300
