"""What many rounds measured, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from fire.faults import FAULTS
from fire.rounds import Outcome

Row = Sequence[str]


def all_of(outcomes: Sequence[Outcome]) -> str:
    """All tables, in Markdown."""
    return "\n\n".join([*in_time(outcomes), *too_late(outcomes)]) + "\n"


def in_time(outcomes: Sequence[Outcome]) -> list[str]:
    """For each fault that leaves somebody to stop the command: how long before the deadline and the next leader."""
    tables = []
    for store in _names(outcome.store for outcome in outcomes):
        ours = [outcome for outcome in outcomes if outcome.store == store and outcome.continued_s is None]
        faults = _names(outcome.fault for outcome in ours)
        kinds = _names(kind for outcome in ours for kind in outcome.last_signs_s)
        if not ours:
            continue
        rows = [[fault, str(len(_of(ours, fault))), *_late_and_margin(_of(ours, fault))] for fault in faults]
        tables.append(
            f"{store}, all kinds together\n\n"
            + _table(
                ["fault", "rounds", "last sign of life - deadline, ms (max)", "next leader - last sign (min)"], rows
            )
        )
        rows = [[kind, *(_late_and_margin(_of(ours, fault), kind)[0] for fault in faults)] for kind in kinds]
        tables.append(f"{store}, last sign of life - deadline, ms (max)\n\n" + _table(["kind", *faults], rows))
        rows = [[kind, *(_late_and_margin(_of(ours, fault), kind)[1] for fault in faults)] for kind in kinds]
        tables.append(f"{store}, next leader - last sign of life, ms (min)\n\n" + _table(["kind", *faults], rows))
    return tables


def too_late(outcomes: Sequence[Outcome]) -> list[str]:
    """For each fault that leaves nobody: what came of it."""
    rows = []
    for store in _names(outcome.store for outcome in outcomes):
        ours = [outcome for outcome in outcomes if outcome.store == store and outcome.continued_s is not None]
        for fault in _names(outcome.fault for outcome in ours):
            rounds = _of(ours, fault)
            lives = [life for outcome in rounds if (life := life_after_s(outcome)) is not None]
            writes = [outcome.writes for outcome in rounds if outcome.writes is not None]
            tried, accepted = (sum(each) for each in zip(*((w.tried, w.accepted) for w in writes), strict=True))
            told = [f"{median(lives) * 1000:.0f}", f"{max(lives) * 1000:.0f}", str(tried), str(accepted)]
            rows.append([store, fault, str(len(rounds)), *told])
    heading = ["store", "fault", "rounds", "life after it, ms (median)", "(max)", "stale writes tried", "accepted"]
    return [_table(heading, rows)] if rows else []


def life_after_s(outcome: Outcome) -> float | None:
    """How long the last process of the command lived after those who could stop it were continued."""
    if outcome.continued_s is None:
        return None
    return max(0.0, *(sign - outcome.continued_s for sign in outcome.last_signs_s.values()))


def late_s(outcome: Outcome, kind: str | None = None) -> float:
    """How long after the deadline the last sign of life came; negative: before."""
    return _last_sign_s(outcome, kind) - outcome.deadline_s


def margin_s(outcome: Outcome, kind: str | None = None) -> float:
    """How long before the next leader's election the last sign of life came."""
    return outcome.elected_s - _last_sign_s(outcome, kind)


def broken(outcome: Outcome, *, allowed_late_s: float = 0.0) -> list[str]:
    """What this round breaks of the promises; nothing, if all is well. `allowed_late_s`: for a machine that is busy."""
    found = []
    if outcome.left_behind:
        found.append(f"{outcome.left_behind} kinds of processes were never stopped")
    if outcome.writes is not None and outcome.writes.accepted:
        found.append(f"{outcome.writes.accepted} stale writes were accepted")
    if not FAULTS[outcome.fault].both_frozen:
        late = {kind: late_s(outcome, kind) for kind in outcome.last_signs_s}
        found += [
            f"{kind} lived {s * 1000:.1f} ms beyond the deadline" for kind, s in late.items() if s > allowed_late_s
        ]
        over = {kind: margin_s(outcome, kind) for kind in outcome.last_signs_s}
        found += [
            f"{kind} lived {-s * 1000:.1f} ms into the next leadership"
            for kind, s in over.items()
            if s <= -allowed_late_s
        ]
    return [f"{outcome.store}, {outcome.fault}: {what}" for what in found]


def _late_and_margin(outcomes: Sequence[Outcome], kind: str | None = None) -> tuple[str, str]:
    late = max(late_s(outcome, kind) for outcome in outcomes)
    margin = min(margin_s(outcome, kind) for outcome in outcomes)
    return f"{late * 1000:.1f}", f"{margin * 1000:.1f}"


def _last_sign_s(outcome: Outcome, kind: str | None) -> float:
    return max(outcome.last_signs_s.values()) if kind is None else outcome.last_signs_s[kind]


def _of(outcomes: Sequence[Outcome], fault: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.fault == fault]


def _names(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _table(heading: Row, rows: Sequence[Row]) -> str:
    lines = [heading, ["---", *("---:" for _ in heading[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
