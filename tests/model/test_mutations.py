"""The model would notice if a rule were missing: without it there is a counterexample, with it there is none."""

from __future__ import annotations

from functools import cache

import pytest

from model.explore import Result, explore
from model.mutations import MUTATIONS, Mutation
from model.world import Setting

# The counterexamples come within 25,000 states; breadth first, so the intact core is looked at about as deep.
STATES_MAX = 25_000


@cache
def intact(setting: Setting) -> Result:
    return explore(setting, states_max=STATES_MAX)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_missing_rule_is_noticed(mutation: Mutation) -> None:
    assert intact(mutation.setting).counterexample is None, "the setting is wrong even with the rule"
    with mutation.applied():
        result = explore(mutation.mutated_setting, states_max=STATES_MAX)
    assert result.counterexample is not None, f"{result.states} states without it, and none is wrong"
    # Readable: it names the moves from the beginning on, and the processes after each.
    assert str(result.counterexample).startswith(result.counterexample.error)
    assert result.counterexample.trace[0][0] == "the beginning"


def test_the_same_core_is_intact_again_after_a_mutation() -> None:
    mutation = MUTATIONS[0]
    with mutation.applied():
        pass
    assert explore(mutation.setting, states_max=STATES_MAX).counterexample is None
