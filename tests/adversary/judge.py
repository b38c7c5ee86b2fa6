"""What must be true of a round, whatever happened in it. Pure: a record and a resource's content in, a verdict out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adversary.record import Attempt, Elected, Held, Outcome

FIRST, SECOND = "first", "second"
"""The two writers: the one elected first, and its successor."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one round. `violations` say what is wrong, for people."""

    attempts: int
    accepted: int
    stale: int
    """Attempts that began when a write of a higher token was known to be accepted: each had to be refused."""
    refused: int
    stale_accepted: int
    """Writes that the resource took although it had taken one of a higher token."""
    violations: tuple[str, ...]


def judge(attempts: Sequence[Attempt], held: Sequence[Held], elected: Sequence[Elected]) -> Verdict:
    """Judge one round.

    Args:
        attempts: in the order in which they began.
        held: what the resource has taken, in the order in which it took it.
        elected: all leaderships that were won.
    """
    stale = set(_stale(attempts))
    taken = {(write.writer, write.number) for write in held}
    stale_accepted = {key for key in stale if key in taken} | set(_overtaken(held))
    violations = [
        *(f"{writer}'s write {number} was taken after one of a higher token" for writer, number in stale_accepted),
        *_unlike_what_was_told(attempts, held),
        *_wrong_tokens(attempts, elected),
    ]
    told = Counter(attempt.outcome for attempt in attempts)
    return Verdict(
        attempts=len(attempts),
        accepted=told[Outcome.ACCEPTED],
        stale=len(stale),
        refused=told[Outcome.REFUSED],
        stale_accepted=len(stale_accepted),
        violations=tuple(violations),
    )


def _stale(attempts: Sequence[Attempt]) -> Iterator[tuple[str, int]]:
    acknowledged = sorted(
        (attempt.ended, attempt.token)
        for attempt in attempts
        if attempt.outcome is Outcome.ACCEPTED and attempt.ended is not None
    )
    highest, at = -1, 0
    for attempt in sorted(attempts, key=lambda attempt: attempt.began):
        while at < len(acknowledged) and acknowledged[at][0] < attempt.began:
            highest = max(highest, acknowledged[at][1])
            at += 1
        if attempt.token < highest:
            yield attempt.writer, attempt.number


def _overtaken(held: Sequence[Held]) -> Iterator[tuple[str, int]]:
    highest = -1
    for write in held:
        if write.token < highest:
            yield write.writer, write.number
        highest = max(highest, write.token)


def _unlike_what_was_told(attempts: Sequence[Attempt], held: Sequence[Held]) -> Iterator[str]:
    """Who was told that it wrote has written, who was told that it did not has not. Without an answer, either may be."""
    by_key = {(attempt.writer, attempt.number): attempt for attempt in attempts}
    times = Counter((write.writer, write.number) for write in held)
    for write in held:
        attempt = by_key.get((write.writer, write.number))
        if attempt is None:
            yield f"the resource holds {write}, which nobody wrote"
        elif attempt.token != write.token:
            yield f"the resource holds {write}, which was written with token {attempt.token}"
    for key, attempt in by_key.items():
        if times[key] > 1:
            yield f"the resource holds {attempt} {times[key]} times"
        if attempt.outcome is Outcome.ACCEPTED and not times[key]:
            yield f"the resource lacks {attempt}, and no error was raised"
        if attempt.outcome in (Outcome.REFUSED, Outcome.FAILED) and times[key]:
            yield f"the resource holds {attempt}"


def _wrong_tokens(attempts: Sequence[Attempt], elected: Sequence[Elected]) -> Iterator[str]:
    given = {(one.writer, one.token) for one in elected}
    for attempt in attempts:
        if (attempt.writer, attempt.token) not in given:
            yield f"{attempt} is of a token that its writer was not elected with"
    for earlier in elected:
        for later in elected:
            # Of two that campaigned at the same time, either may have been elected first.
            if earlier.place < later.campaigned and later.token <= earlier.token:
                yield f"the token did not rise: {earlier}, then {later}"
    for token, times in Counter(one.token for one in elected).items():
        if times > 1:
            yield f"token {token} was given {times} times"
