"""Rules taken out of the core, one at a time. Each must bring a counterexample back.

A mutation is a way to patch the core (or a quirk of the modelled shell, or of the operator) and the smallest setting
found in which the rule matters. Not here, since their absence brings no wrong state within the model:

* Renewing first when a third of the ttl or less is left (4): it saves a claim that would come too late, no more.
* A claim over a hold compares the hold's revision (10c): its own candidate key and the lease already protect it.
* Revoking the lease when remains are not settled after 2 x ttl (11): the model's store answers sooner than that.
* Queueing to settle a doubt after a single try (12): what a late try leaves is found by `Remains` as well.
* That who claims before it looks gives way to a higher priority (a claim after a look may overtake it as well).
* Priority, the wait on an id that another lease holds, and two candidates of one process.

Unit tests in `tests/unit/core` hold these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from leasekit.core import claim, contest, election, judge, queue, tenure
from leasekit.core import events as e
from leasekit.core.contest import Contest, Phase
from leasekit.core.lease import Belief
from leasekit.core.remains import Remains
from leasekit.store import Delete, NoneUnder
from model.moves import Menu
from model.process import KEYS, Quirks
from model.removals import (
    A_KEY,
    adopt_anything,
    any_request,
    applied,
    blind_to_leader,
    forgetting_led,
    free_at_once,
    instead,
    leader_in_between_unseen,
    leaves_unlooked,
    looks_first,
    mine_by_id,
    never_out_of_turn,
    no_doubt,
    not_comparing,
    not_doing,
    not_watching,
    of_base,
    of_candidate,
    of_leader,
    old_news_counts,
    only_gone_counts,
    released_clean,
    renewed_as_if_nothing_happened,
    settled_after_doubt,
    settled_in_doubt,
    taken_for_revoked,
    token_of_creation,
    transfer_refused_is_done,
    unknown_taken_for,
    without_disown,
)
from model.storage import CONSUL
from model.world import Setting


@dataclass(frozen=True)
class Mutation:
    """A rule of ELECTION.md taken out, and where that shows."""

    rule: str
    removed: str
    setting: Setting
    patches: tuple[tuple[Any, str, Any], ...] = ()
    quirks: Quirks = field(default_factory=Quirks)
    operator: frozenset[str] = frozenset()
    """Additions to the wishes, for what an operator does wrong."""

    @property
    def name(self) -> str:
        return f"rule {self.rule}: {self.removed}"

    @property
    def mutated_setting(self) -> Setting:
        menu = replace(self.setting.menu, wishes=self.setting.menu.wishes | self.operator)
        return replace(self.setting, quirks=self.quirks, menu=menu)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this, the core is without the rule."""
        with ExitStack() as stack:
            for owner, name, value in self.patches:
                stack.enter_context(patch.object(owner, name, value))
            yield


def setting(
    *,
    faults: str = "",
    wishes: str = "",
    faults_max: int = 1,
    wishes_max: int = 1,
    faulty: str = "ABC",
    wishing: str = "ABC",
    **options: Any,
) -> Setting:
    """A setting with these faults and wishes, of these processes."""
    menu = Menu(
        faults=frozenset(filter(None, faults.split(", "))),
        wishes=frozenset(filter(None, wishes.split(", "))),
        faulty=frozenset(faulty),
        wishing=frozenset(wishing),
    )
    return Setting(faults=faults_max if faults else 0, wishes=wishes_max if wishes else 0, menu=menu, **options)


PAUSE = setting(faults="pause", campaigns=1)
LATE = setting(faults="applied late", wishes="give up", campaigns=1)
LATE_RESIGN = setting(faults="applied late", wishes="give up, resign", wishes_max=2, campaigns=1, faulty="A")
TRANSFER = setting(wishes="transfer", campaigns=1)
TRANSFER_OF_THREE = replace(TRANSFER, processes=3)
FORCE = setting(wishes="force", campaigns=1)
CLAIMS = (Phase.CLAIMING, Phase.CLAIMING_AT_ONCE)

MUTATIONS = (
    Mutation(
        "2",
        "one's own key is not watched",
        TRANSFER_OF_THREE,
        not_watching(lambda state, key: key == state.candidate_key),
    ),
    Mutation(
        "2",
        "the predecessor's key is not watched",
        setting(wishes="give up", processes=3, campaigns=1),
        not_watching(lambda state, key: key not in (state.candidate_key, KEYS.leader)),
    ),
    Mutation(
        "2",
        "leader is not watched",
        setting(wishes="transfer, resign", wishes_max=2, processes=3, campaigns=1),
        not_watching(lambda state, key: key == KEYS.leader),
    ),
    Mutation(
        "2",
        "a key created again is taken for the same",
        setting(wishes="resign", store=CONSUL),
        ((election, "_seen", only_gone_counts),),
    ),
    Mutation(
        "3",
        "a claim does not compare that leader is absent",
        setting(faults="pause", wishes="resign", faulty="B", wishing="A"),
        not_comparing(Phase.CLAIMING, of_leader),
    ),
    Mutation(
        "3",
        "a claim at once does not compare that leader is absent",
        setting(campaigns=1),
        not_comparing(Phase.CLAIMING_AT_ONCE, lambda compare: of_leader(compare) or isinstance(compare, NoneUnder)),
    ),
    Mutation(
        "3",
        "a claim does not compare one's own candidate key",
        setting(faults="applied late", wishes="resign, give up", wishes_max=2, faulty="B"),
        not_comparing(Phase.CLAIMING, of_candidate),
    ),
    Mutation(
        "3",
        "a claim at once does not compare that nobody queues",
        setting(wishes="resign"),
        not_comparing(Phase.CLAIMING_AT_ONCE, lambda compare: isinstance(compare, NoneUnder)),
    ),
    Mutation(
        "3",
        "a claim does not compare base",
        setting(faults="pause", wishes="rebase, resign", wishes_max=2, campaigns=1, faulty="A", wishing="B"),
        not_comparing(Phase.CLAIMING_AT_ONCE, of_base),
    ),
    Mutation("4", "a claim extends the deadline", PAUSE, quirks=Quirks(claims_extend_deadline=True)),
    Mutation(
        "4",
        "the deadline is not looked at when the reply comes",
        PAUSE,
        ((Contest, "lease_trusted", lambda state, ctx: True),),
    ),
    Mutation(
        "5", "nobody claims out of turn", setting(idler=True, campaigns=1), ((judge, "_queued", never_out_of_turn),)
    ),
    Mutation(
        "5",
        "who waits out of turn does not mind others being elected",
        setting(wishes="resign", campaigns=1, idler=True),
        ((election, "_seen", leader_in_between_unseen),),
    ),
    Mutation(
        "11",
        "what ended candidacies left is not kept",
        setting(wishes="give up", campaigns=1),
        quirks=Quirks(drops_remains=True),
    ),
    Mutation(
        "6",
        "a record that was led at is adopted again",
        setting(faults="pause"),
        ((judge, "_adopt", adopt_anything),),
    ),
    Mutation(
        "6", "a new campaign does not learn what was led at", setting(faults="pause"), quirks=Quirks(forgets_led=True)
    ),
    Mutation(
        "6",
        "a record that is being deleted is adopted",
        setting(faults="pause", wishes="give up", faulty="A", wishing="A"),
        instead("remains", lambda _old: forgetting_led, contest),
    ),
    Mutation(
        "6",
        "a change from before the leadership ends it",
        setting(
            faults="told late",
            faulty="C",
            wishes="transfer, resign",
            wishes_max=2,
            processes=3,
            campaigns=1,
            timed_looks=True,
        ),
        instead("leader_seen", lambda _old: old_news_counts, tenure),
    ),
    Mutation(
        "7",
        "belief goes on until the store has confirmed a resignation",
        setting(faults="pause", wishes="resign", campaigns=1),
        quirks=Quirks(believes_while_releasing=True),
    ),
    Mutation(
        "8",
        "a resignation does not compare leader",
        setting(faults="cut", wishes="resign", campaigns=1),
        not_comparing(Phase.RESIGNING, of_leader),
    ),
    Mutation(
        "9",
        "a transfer does not compare leader",
        setting(faults="cut", wishes="transfer", campaigns=1, processes=3, faulty="A", wishing="A"),
        not_comparing(Phase.TRANSFERRING, of_leader),
    ),
    Mutation(
        "9",
        "a transfer does not compare the target's key",
        setting(wishes="transfer, give up", wishes_max=2, campaigns=1),
        not_comparing(Phase.TRANSFERRING, of_candidate),
    ),
    Mutation(
        "9",
        "a transfer leaves the old leader's candidate key",
        TRANSFER,
        not_doing(Phase.TRANSFERRING, lambda op: isinstance(op, Delete) and op.key == A_KEY),
    ),
    Mutation(
        "9",
        "a transfer leaves the target's candidate key",
        TRANSFER,
        not_doing(Phase.TRANSFERRING, lambda op: isinstance(op, Delete) and op.key != A_KEY and op.key != KEYS.request),
    ),
    Mutation(
        "9",
        "a refused transfer is taken for done",
        setting(wishes="transfer, give up", wishes_max=2, campaigns=1),
        instead("transfer_answered", lambda _old: transfer_refused_is_done, tenure),
    ),
    Mutation("9", "the token is made of the create revision", TRANSFER, ((queue, "token_of", token_of_creation),)),
    Mutation(
        "10",
        "a request for another leadership is obeyed",
        setting(wishes="request", wishes_max=2, campaigns=1),
        ((tenure, "_request_seen", any_request),),
    ),
    Mutation("10", "leader is deleted, and no hold put in its place", FORCE, operator=frozenset({"no hold"})),
    Mutation(
        "10",
        "the old lease is not revoked",
        setting(faults="told late", wishes="force", campaigns=1),
        instead("revoke", lambda _old: taken_for_revoked, judge),
    ),
    Mutation("10", "the hold is not waited out", FORCE, instead("hold_revoked", lambda _old: free_at_once, judge)),
    Mutation(
        "11",
        "after a passed deadline a renewal keeps the record alive",
        setting(faults="pause", campaigns=1),
        without_disown("trust_ended", tenure),
    ),
    Mutation("11", "a claim under way at the end is forgotten", LATE, no_doubt(*CLAIMS)),
    Mutation(
        "11",
        "an enqueue under way at the end is forgotten",
        LATE,
        no_doubt(Phase.ENQUEUEING),
    ),
    Mutation(
        "11",
        "who withdrew does not look for a record transferred to it",
        setting(wishes="transfer, give up", wishes_max=2, campaigns=1),
        ((Remains, "looked", blind_to_leader),),
    ),
    Mutation(
        "11",
        "a resignation without an answer is forgotten",
        setting(faults="applied late", wishes="resign", campaigns=1),
        without_disown("resign_answered", tenure),
    ),
    Mutation(
        "11",
        "a transfer that was given up is forgotten",
        setting(faults="applied late", wishes="transfer", campaigns=1),
        without_disown("abandon_release", tenure),
    ),
    Mutation(
        "11",
        "a campaign given up before it looked forgets what it took over",
        setting(wishes="give up", wishes_max=2, wishing="B"),
        instead("give_up", lambda _old: leaves_unlooked, claim),
    ),
    Mutation(
        "12",
        "a clean look settles a doubt",
        LATE,
        ((Remains, "_clean", settled_in_doubt),),
    ),
    Mutation(
        "12",
        "a look that began in doubt settles it when the doubt is over",
        setting(faults="applied late, pause", faults_max=2, wishes="give up", processes=1, campaigns=1),
        ((Remains, "_clean", settled_after_doubt),),
    ),
    Mutation(
        "12",
        "a resignation settles the doubt about a claim before it",
        setting(faults="applied late", wishes="resign", processes=1, campaigns=1),
        instead("resign_answered", lambda _old: released_clean, tenure),
    ),
    Mutation(
        "12",
        "in doubt about a claim, leader is watched by the first one only",
        setting(faults="applied late", wishes="resign", campaigns=1, idler=True),
        not_watching(
            lambda state, key: key == KEYS.leader and state.doubt_until is not None and not looks_first(state)
        ),
    ),
    Mutation(
        "12", "a claim without an answer is taken for refused", LATE_RESIGN, unknown_taken_for(e.Refused, *CLAIMS)
    ),
    Mutation(
        "12", "a claim without an answer is taken for not sent", LATE_RESIGN, unknown_taken_for(e.Unavailable, *CLAIMS)
    ),
    Mutation(
        "12",
        "an enqueue without an answer is taken for not sent",
        LATE,
        unknown_taken_for(e.Unavailable, Phase.ENQUEUEING),
    ),
    Mutation(
        "12",
        "a transfer without an answer is taken for done",
        setting(faults="applied late", wishes="transfer", campaigns=1),
        unknown_taken_for(applied, Phase.TRANSFERRING),
    ),
    Mutation(
        "Records",
        "mine is judged by the id",
        setting(faults="crash", campaigns=2),
        instead("holder_of", lambda _old: mine_by_id, queue),
    ),
    Mutation(
        "Time",
        "a renewal after the deadline goes on with the same trust",
        setting(faults="pause", campaigns=1),
        ((Belief, "renewed", renewed_as_if_nothing_happened),),
    ),
)
