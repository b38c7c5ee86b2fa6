"""The linearizability checker against trying every order, on histories small enough for that."""

from collections.abc import Hashable
from itertools import chain, combinations, permutations
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from leasekit.backends.raft.simulator import models
from leasekit.backends.raft.simulator.linearizability import UNKNOWN, Model, Operation, check


def explains(model: Model[Any], order: tuple[Operation, ...]) -> bool:
    """Whether doing these in this order gives the outputs, and no operation comes before one that had ended earlier."""
    states: dict[Hashable, Any] = {}
    for place, operation in enumerate(order):
        if any(later.known and later.returned < operation.called for later in order[place + 1 :]):
            return False
        part = model.part(operation.input)
        right, states[part] = model.step(states.get(part, model.initial), operation.input, operation.output)
        if not right:
            return False
    return True


def by_trying_everything(model: Model[Any], history: list[Operation]) -> bool:
    """Any subset of the operations with unknown outcomes may have been done; all others were."""
    known = [operation for operation in history if operation.known]
    unknown = [operation for operation in history if not operation.known]
    done_anyway = chain.from_iterable(combinations(unknown, size) for size in range(len(unknown) + 1))
    return any(explains(model, order) for done in done_anyway for order in permutations([*known, *done]))


VALUES = st.integers(0, 2)


@st.composite
def register_operations(draw: st.DrawFn) -> Operation:
    called = draw(st.integers(0, 9))
    returned = called + draw(st.integers(0, 6))
    key = draw(st.sampled_from("ab"))
    asked, output = draw(
        st.one_of(
            st.tuples(st.just(models.Read(key)), st.none() | VALUES),
            st.tuples(st.builds(models.Write, VALUES, st.just(key)), st.just(True)),
            st.tuples(st.builds(models.Cas, VALUES, VALUES, st.just(key)), st.booleans()),
        )
    )
    if draw(st.integers(0, 3)) == 0:
        return Operation(client=0, input=asked, called=called)
    return Operation(client=0, input=asked, output=output, called=called, returned=returned)


@st.composite
def text_operations(draw: st.DrawFn) -> Operation:
    called = draw(st.integers(0, 9))
    key, text = draw(st.sampled_from("ab")), draw(st.sampled_from("xy"))
    asked, output = draw(
        st.one_of(
            st.tuples(st.just(models.Get(key)), st.text("xy", max_size=2)),
            st.tuples(st.just(models.Put(key, text)), st.just(True)),
            st.tuples(st.just(models.Append(key, text)), st.just(True)),
        )
    )
    known = draw(st.booleans())
    returned = called + draw(st.integers(0, 6))
    if known:
        return Operation(client=0, input=asked, output=output, called=called, returned=returned)
    return Operation(client=0, input=asked, output=UNKNOWN, called=called)


@pytest.mark.timeout(600)  # six seconds of work; of chosen examples some have many more orders than others
@settings(max_examples=600, deadline=None)
@given(st.lists(register_operations(), max_size=6))
def test_registers_are_judged_as_by_trying_every_order(history: list[Operation]) -> None:
    expected = by_trying_everything(models.register, history)
    event(f"linearizable: {expected}")
    assert check(models.register, history).linearizable is expected


@settings(max_examples=300, deadline=None)
@given(st.lists(text_operations(), max_size=5))
def test_texts_are_judged_as_by_trying_every_order(history: list[Operation]) -> None:
    expected = by_trying_everything(models.texts, history)
    event(f"linearizable: {expected}")
    assert check(models.texts, history).linearizable is expected


def test_a_search_that_is_given_up_claims_nothing() -> None:
    history = [Operation(client=n, input=models.Write(n), output=True, called=0, returned=9) for n in range(8)]
    history.append(Operation(client=9, input=models.Read(), output="never written", called=1, returned=9))
    assert check(models.register, history, max_steps=50).linearizable is None
    assert check(models.register, history).linearizable is False
