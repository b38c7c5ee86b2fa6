"""Scripts that tell how members of a Raft cluster talk: commands at the margin, and what happens then below, indented.

    cluster a b c
    campaign a
    deliver
      a -> b PreVote for term 1, log ends 0/0

Places in a log are index/term. `python -m support.raft_script FILE...` (in tests/) writes what happens into the files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVote,
    PreVoteReply,
    SnapshotPiece,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from leasekit.backends.raft.core.types import Entry, EntryKind, MemberId, Membership, Role
from support.raft import CONFIG, PLAIN, Cluster, found, leading


class _Scripted(Cluster):
    """A cluster whose messages wait until the script has them delivered, and which notes what happens."""

    def __init__(self, *args: object, **settings: object) -> None:
        self.queue: list[Message] = []
        self.events: list[str] = []
        super().__init__(*args, **settings)  # type: ignore[arg-type]

    def send(self, message: Message) -> None:
        """Let it wait."""
        self.queue.append(message)

    def note_applied(self, name: MemberId, entry: Entry) -> None:
        """Note it, too."""
        super().note_applied(name, entry)
        self.events.append(f"{name} applies {_entry(entry)}")


class Script:
    """Runs one script."""

    def __init__(self) -> None:
        self._cluster: _Scripted
        self._seen: dict[MemberId, tuple[Role, int]] = {}

    def run(self, text: str) -> str:
        """The script with what happened in place of what it says happens."""
        lines = []
        for line in text.splitlines():
            if line.startswith("  "):
                continue
            lines.append(line)
            if line and not line.startswith("#"):
                lines += [f"  {event}" for event in self._do(*line.split())]
        return "\n".join(lines) + "\n"

    def _do(self, command: str, *words: str) -> list[str]:
        if command == "cluster":
            self._begin(words)
            return []
        doing: Callable[..., Iterable[str] | None] = getattr(self, f"_{command.replace('-', '_')}")
        self._cluster.events = []
        try:
            said = doing(*words)
        except NotNow as error:
            said = [f"not now: {error}"]
        self._notice()
        return [*(said or ()), *self._cluster.events]

    def _begin(self, words: tuple[str, ...]) -> None:
        """`a b c`, then `learner=d`, `plain` (no pre-vote, no check-quorum), `a=1,1,2` (a log), `a.term=3`, `pieces=4`."""
        settings = dict(word.split("=") for word in words if "=" in word)
        names = [word for word in words if "=" not in word and word != "plain"]
        learners = [settings["learner"]] if "learner" in settings else []
        config = PLAIN if "plain" in words else CONFIG
        # Only the script lets time pass, so chance has no part in it.
        config = replace(config, election_spread_ticks=0, snapshot_piece_bytes=int(settings.get("pieces", 1 << 20)))
        disks = {}
        for name in names:
            terms = [int(term) for term in settings.get(name, "").split(",") if term]
            term = int(settings.get(f"{name}.term", terms[-1] if terms else 0))
            disks[name] = found(names, *terms, term=term, learners=learners)
        self._cluster = _Scripted(names, learners=learners, config=config, found=disks)
        self._seen = {name: (Role.FOLLOWER, member.raft.term) for name, member in self._cluster.members.items()}

    def _notice(self) -> None:
        for name, member in self._cluster.members.items():
            now = member.raft.role, member.raft.term
            if member.up and self._seen.get(name) != now:
                self._cluster.events.append(f"{name} is {now[0].value} in term {now[1]}")
            self._seen[name] = now
            self._cluster.events += [f"{name} may answer {read.context} from {read.index} on" for read in member.reads]
            self._cluster.events += [f"{name} cannot answer {context}" for context in member.lost_reads]
            member.reads, member.lost_reads = [], []

    # Commands: the network.

    def _deliver(self, *links: str) -> list[str]:
        """What is on the way now, on these links (`a->b`) or on all."""
        due = [message for message in self._cluster.queue if _on(message, links)]
        self._cluster.queue = [message for message in self._cluster.queue if not _on(message, links)]
        for message in due:
            member = self._cluster[message.to]
            self._cluster.events.append(say(message) if member.up else f"{say(message)} (down)")
            if member.up:
                member.raft.step(message)
                member.work()
                self._notice()
        return []

    def _drop(self, *links: str) -> list[str]:
        lost = [message for message in self._cluster.queue if _on(message, links)]
        self._cluster.queue = [message for message in self._cluster.queue if not _on(message, links)]
        return [f"{say(message)} is lost" for message in lost]

    def _settle(self, quietly: str = "") -> None:
        """Deliver until nothing is on the way."""
        for _ in range(100):
            if not self._cluster.queue:
                break
            self._deliver()
        if quietly:
            self._cluster.events = []

    # Commands: members.

    def _tick(self, name: MemberId, ticks: str = "1") -> None:
        for _ in range(int(ticks)):
            self._cluster[name].raft.tick()
            self._cluster[name].work()

    def _campaign(self, name: MemberId) -> None:
        self._cluster[name].raft.campaign()
        self._cluster[name].work()

    def _propose(self, name: MemberId, data: str) -> None:
        leading(self._cluster[name].raft).propose(data.encode())
        self._cluster[name].work()

    def _read(self, name: MemberId, context: str) -> None:
        leading(self._cluster[name].raft).read(context)
        self._cluster[name].work()

    def _transfer(self, name: MemberId, to: MemberId) -> None:
        leading(self._cluster[name].raft).transfer(to)
        self._cluster[name].work()

    def _learner(self, name: MemberId, member: MemberId) -> None:
        leading(self._cluster[name].raft).add_learner(member, f"{member}:1")
        self._cluster[name].work()

    def _promote(self, name: MemberId, member: MemberId) -> None:
        leading(self._cluster[name].raft).promote(member)
        self._cluster[name].work()

    def _remove(self, name: MemberId, member: MemberId) -> None:
        leading(self._cluster[name].raft).remove(member)
        self._cluster[name].work()

    def _join(self, name: MemberId) -> None:
        self._cluster.join(name)
        self._seen[name] = Role.FOLLOWER, 0

    def _hold(self, name: MemberId) -> None:
        """The disk of `name` is slow from now on."""
        self._cluster[name].holds_writes = True

    def _sync(self, name: MemberId) -> None:
        """It has done all that it was given."""
        self._cluster[name].sync()

    def _crash(self, name: MemberId) -> None:
        """Nothing that was not durable is left."""
        self._cluster[name].disk.pending.clear()
        self._cluster[name].crash()

    def _start(self, name: MemberId) -> None:
        self._cluster[name].holds_writes = False
        self._cluster[name].start()
        self._seen[name] = Role.FOLLOWER, self._cluster[name].raft.term

    def _compact(self, name: MemberId) -> None:
        self._cluster[name].compact()

    def _status(self, *names: MemberId) -> list[str]:
        return [self._line(name) for name in names or self._cluster.members]

    def _line(self, name: MemberId) -> str:
        member = self._cluster[name]
        if not member.up:
            return f"{name} is down"
        raft, log = member.raft, member.raft.log
        terms = " ".join(str(log.term(index)) for index in range(log.base.index + 1, log.last_index + 1))
        base = f"[{log.base.index}/{log.base.term}] " if log.base.index else ""
        return (
            f"{name}: {raft.role.value}, term {raft.term}, log {base}{terms or '-'}, "
            f"committed {log.committed}, {_membership(raft.membership)}"
        )


def _on(message: Message, links: tuple[str, ...]) -> bool:
    return not links or f"{message.sender}->{message.to}" in links


def say(message: Message) -> str:
    """The message in a line."""
    match message:
        case PreVote():
            said = f"PreVote for term {message.term}, log ends {message.last_index}/{message.last_term}"
        case Vote():
            by = " by transfer" if message.transfer else ""
            said = f"Vote in term {message.term}{by}, log ends {message.last_index}/{message.last_term}"
        case PreVoteReply() | VoteReply():
            said = f"{type(message).__name__} {'yes' if message.granted else 'no'}, term {message.term}"
        case Append():
            new = " ".join(_entry(entry) for entry in message.entries) or "nothing"
            said = (
                f"Append in term {message.term} after {message.previous_index}/{message.previous_term}: {new}; "
                f"committed {message.commit}"
            )
        case AppendReply(rejected=True):
            said = (
                f"AppendReply no, not after {message.index}, try {message.hint_index}/{message.hint_term}, "
                f"term {message.term}"
            )
        case AppendReply():
            said = f"AppendReply up to {message.index}, term {message.term}"
        case Heartbeat():
            said = f"Heartbeat in term {message.term}, round {message.round}, committed {message.commit}"
        case HeartbeatReply():
            said = f"HeartbeatReply round {message.round}, term {message.term}"
        case SnapshotPiece(meta=meta):
            said = f"SnapshotPiece of {meta.index}/{meta.term}, {message.offset}+{len(message.data)} of {message.size}"
        case SnapshotReply():
            said = f"SnapshotReply of {message.index}, go on from {message.offset}"
        case TimeoutNow():
            said = f"TimeoutNow in term {message.term}"
        case _:
            said = repr(message)
    return f"{message.sender} -> {message.to} {said}"


def _entry(entry: Entry) -> str:
    place = f"{entry.index}/{entry.term}"
    if entry.kind is EntryKind.MEMBERSHIP:
        return f"{place}({_membership(memberships.decode(entry.data))})"
    return f"{place}={entry.data.decode()}" if entry.data else f"{place}"


def _membership(membership: Membership) -> str:
    voters, learners = "".join(sorted(membership.voters)), "".join(sorted(membership.learners))
    return f"voters {voters or '-'}" + (f" learners {learners}" if learners else "")


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(Script().run(path.read_text()))
