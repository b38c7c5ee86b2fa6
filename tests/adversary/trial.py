"""Many rounds side by side."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from adversary.disturbances import Disturbance, possible
from adversary.round import Plan, Result, play
from adversary.stage import Stage

GUARDS = ("sql", "sqlite", "redis", "file", "http", "store")


def plans(
    pairs: Iterable[tuple[str, str]],
    rounds: int,
    *,
    seed: int,
    ttl_s: float,
    guarded: bool = True,
    only: Sequence[Disturbance] = (),
) -> list[Plan]:
    """`rounds` for each pair of a store and a guard, each disturbance as often as the others, pairs and disturbances mixed."""
    chances = random.Random(seed)
    made = []
    for store, guard in pairs:
        having = [disturbance for disturbance in possible(store) if not only or disturbance in only]
        chances.shuffle(having)
        for disturbance in itertools.islice(itertools.cycle(having), rounds):
            made.append(Plan(store, guard, disturbance, guarded, ttl_s, chances.getrandbits(32)))
    chances.shuffle(made)
    return made


def run(made: Sequence[Plan], stage: Stage, *, abreast: int) -> Iterator[Result]:
    """Play them, `abreast` at a time; results as they come. What a round raises goes through."""
    with ThreadPoolExecutor(abreast, thread_name_prefix="round") as pool:
        playing = [pool.submit(play, plan, stage) for plan in made]
        try:
            for done in as_completed(playing):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
