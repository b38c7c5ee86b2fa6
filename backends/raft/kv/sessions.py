"""Sessions: what makes a retried command apply once, over changes of leader too (thesis section 6.3).

A session ends only when another one is opened beyond the limit: then the one that was not used for the longest time,
counted in log entries, since members have no clock in common.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from leasekit.backends.raft.kv.commands import Proposal
from leasekit.backends.raft.kv.limits import ANSWERS_KEPT_MAX, SESSIONS_MAX
from leasekit.backends.raft.kv.outcomes import (
    Forgotten,
    Outcome,
    SessionUnknown,
    TooManyOutstanding,
    Transacted,
    size_of,
)


@dataclass(slots=True)
class Session:
    """One client's: the outcomes of its sequences beyond `acknowledged`."""

    nonce: bytes
    acknowledged: int = 0
    kept: dict[int, Outcome] = field(default_factory=dict)


class Sessions:
    """All open sessions, the least recently used one first."""

    def __init__(self, sessions_max: int = SESSIONS_MAX, kept_max: int = ANSWERS_KEPT_MAX) -> None:
        self._sessions_max = sessions_max
        self._kept_max = kept_max
        self._by_id: OrderedDict[int, Session] = OrderedDict()
        self._by_nonce: dict[bytes, int] = {}
        self.size_bytes = 0
        """Of what kept answers have read."""

    def empty(self) -> Sessions:
        """None, under the same limits."""
        return Sessions(self._sessions_max, self._kept_max)

    def open(self, nonce: bytes, index: int) -> int:
        """The session that was opened with `nonce`, or a new one, named `index`."""
        session_id = self._by_nonce.get(nonce)
        if session_id is not None:
            self._by_id.move_to_end(session_id)
            return session_id
        if len(self._by_id) >= self._sessions_max:
            _, ended = self._by_id.popitem(last=False)
            del self._by_nonce[ended.nonce]
            for outcome in ended.kept.values():
                self.size_bytes -= _kept_bytes(outcome)
        self.add(index, Session(nonce))
        return index

    def answered(self, proposal: Proposal) -> Outcome | None:
        """The outcome of a proposal that is not to be applied: it was before, or may not be. None: apply, then `keep`."""
        session = self._by_id.get(proposal.session)
        if session is None:
            return SessionUnknown()
        self._by_id.move_to_end(proposal.session)
        if proposal.acknowledged > session.acknowledged:
            self._forget(session, proposal.acknowledged)
        if proposal.sequence <= session.acknowledged:
            return Forgotten()
        kept = session.kept.get(proposal.sequence)
        if kept is None and len(session.kept) >= self._kept_max:
            return TooManyOutstanding()
        return kept

    def keep(self, proposal: Proposal, outcome: Outcome) -> None:
        """Remember the outcome of a proposal that `answered` let pass."""
        self._by_id[proposal.session].kept[proposal.sequence] = outcome
        self.size_bytes += _kept_bytes(outcome)

    def add(self, session_id: int, session: Session) -> None:
        """Put in a session, as the most recently used one. Raises ValueError if its id or nonce is another's."""
        if session_id in self._by_id or session.nonce in self._by_nonce:
            raise ValueError("two sessions have the same id or nonce")
        self._by_id[session_id] = session
        self._by_nonce[session.nonce] = session_id
        self.size_bytes += sum([_kept_bytes(outcome) for outcome in session.kept.values()])

    def copies(self) -> list[tuple[int, Session]]:
        """All sessions, the least recently used one first, untouched by what happens to these from now on."""
        return [
            (session_id, Session(session.nonce, session.acknowledged, session.kept.copy()))
            for session_id, session in self._by_id.items()
        ]

    def _forget(self, session: Session, acknowledged: int) -> None:
        # A client that counts on is acknowledged by ones; one that leaps must not cost a step for each number.
        if acknowledged - session.acknowledged <= len(session.kept):
            sequences = [*range(session.acknowledged + 1, acknowledged + 1)]
        else:
            sequences = [sequence for sequence in session.kept if sequence <= acknowledged]
        for sequence in sequences:
            outcome = session.kept.pop(sequence, None)
            if outcome is not None:
                self.size_bytes -= _kept_bytes(outcome)
        session.acknowledged = acknowledged


def _kept_bytes(outcome: Outcome) -> int:
    if isinstance(outcome, Transacted) and outcome.committed is not None and outcome.committed.reads:
        return size_of(outcome.committed.reads)
    return 0
