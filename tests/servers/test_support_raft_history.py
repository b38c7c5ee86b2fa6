"""The judge of histories finds what cannot be, and lets pass what can."""

from __future__ import annotations

import math

import pytest

from support.evidence import Reign
from support.raft_history import Change, Ending, History, Look, Seen

X, Y = "keys/x", "keys/y"


def _put(key: str, value: bytes, at_s: float, revision: int | None = None, *, until_s: float | None = None) -> Change:
    known = revision is not None
    returned_s = (until_s or at_s + 1) if known else math.inf
    return Change(
        client="c",
        key=key,
        value=value,
        called_s=at_s,
        returned_s=returned_s,
        swapped=True if known else None,
        revision=revision,
    )


def _swap(key: str, expected: bytes | None, value: bytes, at_s: float, revision: int | None) -> Change:
    return Change(
        client="c",
        key=key,
        value=value,
        called_s=at_s,
        returned_s=at_s + 1,
        conditional=True,
        expected=expected,
        swapped=revision is not None,
        revision=revision,
    )


def _look(at_s: float, revision: int | None, *seen: Seen) -> Look:
    return Look(client="r", seen=seen, called_s=at_s, returned_s=at_s + 1, revision=revision)


def _judge(*told: Change | Look) -> None:
    changes = [each for each in told if isinstance(each, Change)]
    History(changes=changes, looks=[each for each in told if isinstance(each, Look)]).judge()


def test_what_can_be_passes() -> None:
    _judge(
        _put(X, b"1", 0, 5),
        _swap(X, b"1", b"2", 2, 7),
        _swap(X, b"1", b"3", 4, None),
        _put(Y, b"4", 6),
        _look(8, 9, Seen(X, b"2", 7), Seen(Y)),
        _look(10, None, Seen(X, b"2", 7)),
        # Nobody knew what became of it; it took effect in the end.
        _look(12, 20, Seen(Y, b"4", 11)),
    )


def test_a_write_that_is_lost() -> None:
    with pytest.raises(AssertionError, match="is missing in"):
        _judge(_put(X, b"1", 0, 5), _look(2, 6, Seen(X)))
    with pytest.raises(AssertionError, match="no order explains"):
        _judge(_put(X, b"1", 0, 5), _look(2, None, Seen(X)))


def test_a_stale_read() -> None:
    history = [_put(X, b"1", 0, 5), _put(X, b"2", 2, 6)]
    with pytest.raises(AssertionError, match="no order explains"):
        _judge(*history, _look(4, None, Seen(X, b"1", 5)))
    with pytest.raises(AssertionError, match="is stale"):
        _judge(*history, _look(4, 5, Seen(X, b"1", 5)))


def test_a_write_that_was_refused_and_is_there_all_the_same() -> None:
    history = History(looks=[_look(0, 5, Seen(X, b"1", 5))], refused={b"1"})
    with pytest.raises(AssertionError, match="surely not written"):
        history.judge()


def test_a_swap_that_two_have_won() -> None:
    with pytest.raises(AssertionError, match="no order explains"):
        _judge(_put(X, b"1", 0, 5), _swap(X, b"1", b"2", 2, 6), _swap(X, b"1", b"3", 2, 7))


def test_a_swap_that_was_lost_to_nobody() -> None:
    with pytest.raises(AssertionError, match="no order explains"):
        _judge(_put(X, b"1", 0, 5), _swap(X, b"1", b"2", 2, None))


def test_a_change_applied_twice() -> None:
    with pytest.raises(AssertionError, match="is at"):
        _judge(_put(X, b"1", 0), _look(2, 6, Seen(X, b"1", 5)), _look(4, 9, Seen(X, b"1", 8)))


def test_a_read_of_two_keys_that_were_never_so_at_one_moment() -> None:
    with pytest.raises(AssertionError, match="is missing in"):
        # All of it is under way at once, so that each key by itself has an order.
        _judge(
            _put(X, b"1", 0, 5, until_s=9),
            _put(Y, b"2", 0, 6, until_s=9),
            Look(client="r", seen=(Seen(X), Seen(Y, b"2", 6)), called_s=0, returned_s=9, revision=6),
        )


def test_a_change_at_a_revision_that_was_over_when_it_was_asked_for() -> None:
    with pytest.raises(AssertionError, match="goes back"):
        _judge(_put(X, b"1", 0, 9), _put(Y, b"2", 2, 5))
    with pytest.raises(AssertionError, match="two changes at revision 5"):
        _judge(_put(X, b"1", 0, 5), _put(Y, b"2", 0, 5))


def test_a_lease_that_ended_before_its_time() -> None:
    History(endings=[Ending("7", 2.0, 2.0)]).judge()
    with pytest.raises(AssertionError, match="before its time"):
        History(endings=[Ending("7", 2.0, 1.9)]).judge()


def test_two_leaders_and_a_token_that_did_not_rise() -> None:
    first = Reign("a", 0, 5, since_s=0.0, until_s=2.0)
    with pytest.raises(AssertionError, match="two leaders"):
        History(reigns=[first, Reign("b", 0, 6, since_s=1.9, until_s=3.0)]).judge()
    with pytest.raises(AssertionError, match="did not rise"):
        History(reigns=[first, Reign("b", 0, 4, since_s=2.1, until_s=3.0)]).judge()
