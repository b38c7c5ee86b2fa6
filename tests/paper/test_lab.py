"""Scenarios after the laboratory of MIT's course 6.5840, told anew for cores on a virtual network.

A tick stands for 20 ms: elections after one to two seconds, heartbeats every tenth.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.types import Role
from support.raft import Cluster, Member, leading

_CONFIG = Config(election_ticks=50, heartbeat_ticks=5)
_SECOND = 50
_SMALL_PIECES = replace(_CONFIG, snapshot_piece_bytes=64)


def _cluster(names: str, seed: int = 0, config: Config = _CONFIG) -> Cluster:
    return Cluster(names, config=config, seed=seed)


def _unreliable(cluster: Cluster) -> None:
    """A tenth of all messages is lost, and all take up to half a heartbeat."""
    cluster.loss, cluster.delay_ticks = 0.1, (1, 3)


def _majority_and_rest(cluster: Cluster, leader: Member) -> tuple[list[str], list[str]]:
    """The leader with as many others as are not a majority, and the rest."""
    others = [name for name in cluster.members if name != leader.name]
    few = len(cluster.members) // 2
    return [leader.name, *others[: few - 1]], others[few - 1 :]


def _flood(member: Member, count: int, mark: str) -> None:
    """Proposals that nobody is asked to agree on."""
    for number in range(count):
        leading(member.raft).propose(b"%s %d" % (mark.encode(), number))
    member.work()


# Elections.


def test_initial_election() -> None:
    cluster = _cluster("abc")
    leader = cluster.leader(within=5 * _SECOND)
    cluster.tick(_SECOND)
    terms = {member.raft.term for member in cluster.members.values()}
    cluster.tick(4 * _SECOND)
    assert {member.raft.term for member in cluster.members.values()} == terms == {leader.raft.term}
    assert cluster.leaders() == [leader]


def test_re_election() -> None:
    cluster = _cluster("abc")
    first = cluster.leader()
    cluster.isolate(first.name)
    second = cluster.leader(among=set("abc") - {first.name}, within=5 * _SECOND)
    cluster.heal()
    cluster.tick(2 * _SECOND)
    assert cluster.leaders() == [second]
    third = next(name for name in "abc" if name not in (first.name, second.name))
    cluster.isolate(second.name)
    cluster.isolate(third)
    cluster.tick(10 * _SECOND)
    assert cluster.leaders() == [], "two of three hear nobody"
    cluster.heal()
    cluster.leader(within=5 * _SECOND)


@pytest.mark.parametrize("seed", range(5))
def test_many_elections(seed: int) -> None:
    cluster = _cluster("abcdefg", seed)
    cluster.leader()
    for _ in range(10):
        away = cluster.random.sample("abcdefg", 3)
        cluster.isolate(*away[:1])
        cluster.isolate(*away[1:])
        cluster.leader(among=set("abcdefg") - set(away), within=10 * _SECOND)
        cluster.heal()
    cluster.leader(within=5 * _SECOND)


# Agreement.


def test_basic_agreement() -> None:
    cluster = _cluster("abc")
    for data in (b"100", b"200", b"300"):
        assert all(data not in member.commands for member in cluster.members.values())
        cluster.agree(data)
    assert [member.commands for member in cluster.members.values()] == [[b"100", b"200", b"300"]] * 3


def test_each_command_is_sent_once_to_each_peer() -> None:
    cluster = _cluster("abc")
    cluster.agree(b"first")
    cluster.tick(_SECOND)
    before, size = cluster.bytes_sent, 0
    for number in range(10):
        data = b"%d" % number * 5000
        cluster.agree(data)
        size += len(data)
    assert cluster.bytes_sent - before <= 2 * size + 50_000


def test_failure_of_followers() -> None:
    cluster = _cluster("abc")
    cluster.agree(b"101")
    leader = cluster.leader()
    one, other = (name for name in "abc" if name != leader.name)
    cluster.isolate(one)
    cluster.agree(b"102", on=[leader.name, other])
    cluster.isolate(other)
    leading(leader.raft).propose(b"104")
    leader.work()
    cluster.tick(4 * _SECOND)
    assert all(b"104" not in member.commands for member in cluster.members.values())


def test_failure_of_leaders() -> None:
    cluster = _cluster("abc")
    cluster.agree(b"101")
    first = cluster.leader()
    cluster.isolate(first.name)
    rest = set("abc") - {first.name}
    cluster.agree(b"102", on=rest)
    second = cluster.leader(among=rest)
    cluster.isolate(second.name)
    leading(second.raft).propose(b"104")
    second.work()
    cluster.tick(4 * _SECOND)
    assert all(b"104" not in member.commands for member in cluster.members.values())


def test_agreement_though_a_follower_comes_and_goes() -> None:
    cluster = _cluster("abc")
    cluster.agree(b"101")
    away = next(name for name in "abc" if name != cluster.leader().name)
    cluster.isolate(away)
    for number in range(102, 106):
        cluster.agree(b"%d" % number, on=set("abc") - {away})
        cluster.tick(_SECOND // 2)
    cluster.heal()
    cluster.agree(b"106")
    cluster.tick(_SECOND)
    cluster.agree(b"107")
    assert len({tuple(member.commands) for member in cluster.members.values()}) == 1


def test_no_agreement_with_too_many_followers_gone() -> None:
    cluster = _cluster("abcde")
    cluster.agree(b"10")
    leader = cluster.leader()
    gone = [name for name in "abcde" if name != leader.name][:3]
    for name in gone:
        cluster.isolate(name)
    index = cluster.propose(b"20", leader)
    cluster.tick(2 * _SECOND)
    assert all(member.raft.log.committed < index for member in cluster.members.values())
    cluster.heal()
    cluster.agree(b"30")
    cluster.agree(b"1000")
    cluster.check_logs()


def test_concurrent_proposals_all_get_a_place() -> None:
    cluster = _cluster("abc")
    leader = cluster.leader()
    places = [leading(leader.raft).propose(b"%d" % number) for number in range(5)]
    leader.work()
    assert len(set(places)) == 5
    cluster.until(lambda: all(len(member.commands) == 5 for member in cluster.members.values()))


def test_rejoin_of_a_leader_with_entries_nobody_has() -> None:
    cluster = _cluster("abc")
    cluster.agree(b"101")
    first = cluster.leader()
    cluster.isolate(first.name)
    _flood(first, 3, "lost")
    rest = set("abc") - {first.name}
    cluster.agree(b"103", on=rest)
    second = cluster.leader(among=rest)
    cluster.isolate(second.name)
    cluster.down -= {(one, other) for one, other in cluster.down if second.name not in (one, other)}
    cluster.agree(b"104", on=set("abc") - {second.name})
    cluster.heal()
    cluster.agree(b"105")
    assert [member.commands for member in cluster.members.values()] == [[b"101", b"103", b"104", b"105"]] * 3


def test_backing_up_over_long_divergences_is_quick() -> None:
    """Fifty entries of one leader, then fifty of another, and so on; in the end everybody has the same."""
    cluster = _cluster("abcde")
    cluster.agree(b"first")
    one = cluster.leader()
    minority, majority = _majority_and_rest(cluster, one)
    for name in majority:
        cluster.isolate(name)
    _flood(one, 50, "of a minority")
    cluster.tick(_SECOND // 2)
    cluster.heal()
    cluster.isolate(*minority)
    two = cluster.leader(among=majority)
    for number in range(50):
        cluster.agree(b"agreed %d" % number, on=majority, within=5 * _SECOND)
    other = next(name for name in majority if name != two.name)
    cluster.isolate(other)
    _flood(two, 50, "not agreed")
    cluster.tick(_SECOND // 2)
    cluster.heal()
    cluster.isolate(*[name for name in majority if name != other and name != two.name][:1], two.name)
    cluster.agree(b"second", on=[*minority, other])
    for number in range(50):
        cluster.agree(b"agreed too %d" % number, on=[*minority, other], within=5 * _SECOND)
    cluster.heal()
    sent = cluster.sent["Append"]
    cluster.agree(b"last", within=3 * _SECOND)
    assert cluster.sent["Append"] - sent < 60, "an entry at a time would be hundreds"
    assert cluster["a"].commands[-1] == b"last"
    assert not any(command.startswith(b"of a minority") for command in cluster["a"].commands)
    cluster.check_logs()


def test_elections_agreements_and_silence_cost_few_messages() -> None:
    cluster = _cluster("abc")
    leader = cluster.leader()
    assert sum(cluster.sent.values()) <= 30
    cluster.tick(_SECOND)
    before = cluster.sent.copy()
    count = 10
    for number in range(count):
        cluster.propose(b"%d" % number, leader)
    cluster.until(lambda: all(len(member.commands) == count for member in cluster.members.values()))
    assert (cluster.sent - before)["Append"] <= (count + 1 + 3) * 3
    cluster.tick(_SECOND)
    before = cluster.sent.copy()
    cluster.tick(_SECOND)
    assert (cluster.sent - before).total() <= 60
    assert (cluster.sent - before)["Append"] == 0


# Restarts.


def _restart(cluster: Cluster, *names: str) -> None:
    for name in names:
        if cluster[name].up:
            cluster[name].crash()
    for name in names:
        cluster[name].start()


def test_basic_persistence() -> None:
    cluster = _cluster("abc")
    cluster.agree(b"11")
    _restart(cluster, *"abc")
    cluster.agree(b"12")
    leader = cluster.leader()
    _restart(cluster, leader.name)
    cluster.agree(b"13")
    leader = cluster.leader()
    leader.crash()
    cluster.agree(b"14", on=set("abc") - {leader.name})
    leader.start()
    cluster.until(lambda: leader.commands[-1:] == [b"14"])
    follower = next(name for name in "abc" if name != cluster.leader().name)
    cluster[follower].crash()
    cluster.agree(b"15", on=set("abc") - {follower})
    cluster[follower].start()
    cluster.agree(b"16")
    assert cluster["a"].commands == [b"11", b"12", b"13", b"14", b"15", b"16"]


@pytest.mark.parametrize("seed", range(3))
def test_more_persistence(seed: int) -> None:
    """Two of five go, three agree, those go and the two come back with one of them, five times over."""
    cluster = _cluster("abcde", seed)
    for turn in range(5):
        cluster.agree(b"all %d" % turn)
        first = cluster.leader().name
        order = first + "abcde".replace(first, "")
        away, rest = order[1:3], order[0] + order[3:]
        cluster.isolate(*away)
        cluster.agree(b"three %d" % turn, on=rest)
        for name in rest:
            cluster[name].crash()
        cluster.heal()
        for name in away:
            _restart(cluster, name)
        cluster.tick(_SECOND)
        cluster[order[3]].start()
        cluster.agree(b"two and one %d" % turn, on=[*away, order[3]])
        cluster[order[4]].start()
        cluster[order[0]].start()
    cluster.agree(b"1000")
    assert len(cluster["a"].commands) == 16
    cluster.check_logs()


def test_a_cut_off_leader_and_follower_crash_and_the_leader_restarts() -> None:
    cluster = _cluster("abc")
    cluster.agree(b"101")
    leader = cluster.leader()
    one, other = (name for name in "abc" if name != leader.name)
    cluster.isolate(other)
    cluster.agree(b"102", on=[leader.name, one])
    leader.crash()
    cluster[one].crash()
    cluster.heal()
    leader.start()
    cluster.agree(b"103", on=[leader.name, other])
    cluster[one].start()
    cluster.agree(b"104")
    assert cluster[one].commands == [b"101", b"102", b"103", b"104"]


@pytest.mark.parametrize("seed", range(3))
def test_figure_8_a_thousand_times(seed: int) -> None:
    """Leaders propose and crash at once, or a little later; whoever applied anything applied the same."""
    cluster = _cluster("abcde", seed)
    number = 0
    for _ in range(1000):
        for member in cluster.leaders():
            number += 1
            leading(member.raft).propose(b"%d" % number)
            member.work()
        leader = next(iter(cluster.leaders()), None)
        long = cluster.random.random() < 0.1
        cluster.tick(cluster.random.randint(1, 25) if long else cluster.random.randint(0, 2))
        if leader is not None and leader.up:
            leader.crash()
        if sum(member.up for member in cluster.members.values()) < 3:
            down = [member for member in cluster.members.values() if not member.up]
            cluster.random.choice(down).start()
    for member in cluster.members.values():
        if not member.up:
            member.start()
    cluster.agree(b"last", within=20 * _SECOND)
    assert cluster["a"].raft.term > 20
    cluster.check_logs()


# A bad network.


def test_agreement_on_an_unreliable_network() -> None:
    cluster = _cluster("abcde")
    _unreliable(cluster)
    for turn in range(1, 20):
        for part in range(4):
            cluster.propose(b"%d %d" % (turn, part))
        cluster.agree(b"%d" % turn, within=20 * _SECOND)
    cluster.loss = 0
    cluster.agree(b"100")
    cluster.check_logs()


@pytest.mark.parametrize("seed", range(3))
def test_figure_8_on_an_unreliable_network(seed: int) -> None:
    """Leaders are cut off instead of crashing, and from the two hundredth turn on many messages come much later."""
    cluster = _cluster("abcde", seed)
    _unreliable(cluster)
    cluster.agree(b"first")
    for turn in range(1000):
        if turn == 200:
            cluster.straggle = 0.6
        leader = None
        for member in cluster.leaders():
            leader = member
            leading(member.raft).propose(b"%d" % turn)
            member.work()
        long = cluster.random.random() < 0.1
        cluster.tick(cluster.random.randint(1, 25) if long else cluster.random.randint(0, 2))
        if leader is not None and cluster.random.random() < 0.5:
            cluster.isolate(leader.name)
        if len(_reachable(cluster)) < 3:
            back = cluster.random.choice([name for name in "abcde" if name not in _reachable(cluster)])
            cluster.down = {link for link in cluster.down if back not in link}
    cluster.heal()
    cluster.agree(b"last", within=60 * _SECOND)
    cluster.check_logs()


def _reachable(cluster: Cluster) -> list[str]:
    """Who is linked with at least one other."""
    names = cluster.members
    return [name for name in names if any((name, other) not in cluster.down for other in names if other != name)]


@pytest.mark.parametrize("disk", ["fast", "slow"])
@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_churn(seed: int, reliable: bool, disk: str) -> None:
    """Members are cut off, crash and come back while three clients propose; what was agreed on stays, in one order."""
    cluster = _cluster("abcde", seed)
    if not reliable:
        _unreliable(cluster)
    if disk == "slow":
        cluster.disk_ticks = (0, 20)
    proposed: dict[tuple[int, int], bytes] = {}
    random = cluster.random
    for turn in range(60):
        for client in range(3):
            member = random.choice(list(cluster.members.values()))
            if member.up and member.raft.role is Role.LEADER:
                data = b"%d of %d" % (turn, client)
                try:
                    proposed[member.raft.term, leading(member.raft).propose(data)] = data
                except NotNow:
                    continue
                member.work()
        name = random.choice("abcde")
        if random.random() < 0.2:
            cluster.isolate(name)
        if random.random() < 0.5:
            cluster.down = {link for link in cluster.down if name not in link}
        if random.random() < 0.2 and cluster[name].up:
            cluster[name].crash()
        elif not cluster[name].up:
            cluster[name].start()
        cluster.tick(random.randint(5, 40))
    cluster.heal()
    cluster.loss = 0
    for member in cluster.members.values():
        if not member.up:
            member.start()
    cluster.agree(b"last", within=20 * _SECOND)
    commands = [command for command in cluster["a"].commands if command != b"last"]
    assert len(commands) == len(set(commands)), "each was proposed once"
    assert set(commands) <= set(proposed.values())
    assert len(commands) > 2
    cluster.check_logs()


# Snapshots.


def _snapshots(names: str = "abc", *, seed: int, crash: bool, unreliable: bool, cut: bool) -> None:
    """Members take snapshots every ten entries; one in turn is away meanwhile and comes back."""
    cluster = _cluster(names, seed, _SMALL_PIECES)
    if unreliable:
        _unreliable(cluster)
    for member in cluster.members.values():
        member.snapshot_every = 10
    cluster.agree(b"first", within=20 * _SECOND)
    for turn in range(20):
        leader = cluster.leader()
        victim = next(name for name in names if name != leader.name)
        if turn % 3 == 1:
            victim = leader.name
        rest = [name for name in names if name != victim or not (cut or crash)]
        if cut:
            cluster.isolate(victim)
            cluster.agree(b"cut %d" % turn, on=rest, within=20 * _SECOND)
        if crash:
            cluster[victim].crash()
            cluster.agree(b"crashed %d" % turn, on=rest, within=20 * _SECOND)
        for number in range(cluster.random.randint(8, 20)):
            cluster.agree(b"%d %d" % (turn, number), on=rest, within=20 * _SECOND)
        cluster.heal()
        if crash:
            cluster[victim].start()
        cluster.agree(b"together %d" % turn, within=20 * _SECOND)
        for member in cluster.members.values():
            assert member.raft.log.last_index - member.raft.log.base.index < 40, "the log is trimmed"
    cluster.check_logs()
    assert len({tuple(member.commands) for member in cluster.members.values()}) <= 2
    assert not (cut or crash) or cluster.sent["SnapshotPiece"] > 20


def test_snapshots_basic() -> None:
    _snapshots(seed=0, crash=False, unreliable=False, cut=False)


def test_snapshots_installed_after_a_disconnection() -> None:
    _snapshots(seed=1, crash=False, unreliable=False, cut=True)


@pytest.mark.parametrize("seed", range(2))
def test_snapshots_installed_after_a_disconnection_on_an_unreliable_network(seed: int) -> None:
    _snapshots(seed=seed, crash=False, unreliable=True, cut=True)


def test_snapshots_installed_after_a_crash() -> None:
    _snapshots(seed=3, crash=True, unreliable=False, cut=False)


@pytest.mark.parametrize("seed", range(2))
def test_snapshots_installed_after_a_crash_on_an_unreliable_network(seed: int) -> None:
    _snapshots(seed=seed, crash=True, unreliable=True, cut=False)


def test_all_crash_and_start_from_snapshot_and_log() -> None:
    cluster = _cluster("abc", config=_SMALL_PIECES)
    for member in cluster.members.values():
        member.snapshot_every = 10
    expected = []
    for turn in range(5):
        for number in range(cluster.random.randint(8, 20)):
            expected.append(b"%d %d" % (turn, number))
            cluster.agree(expected[-1])
        _restart(cluster, *"abc")
        expected.append(b"after %d" % turn)
        cluster.agree(expected[-1])
    assert [member.commands for member in cluster.members.values()] == [expected] * 3


def test_a_snapshot_is_what_a_member_starts_with() -> None:
    """After a restart with nothing new, a snapshot of the same state is no different, and nothing is lost."""
    cluster = _cluster("abc", config=_SMALL_PIECES)
    for number in range(15):
        cluster.agree(b"%d" % number)
    for name in "abc":
        cluster[name].compact()
    for _ in range(3):
        _restart(cluster, *"abc")
        assert [len(member.commands) for member in cluster.members.values()] == [15] * 3
        cluster.leader()
        for name in "abc":
            cluster[name].compact()
    cluster.agree(b"last")
    assert len(cluster["b"].commands) == 16
