"""The adversarial suite at length: `PYTHONPATH=tests python -m adversary [--store S] [--guard G] [--rounds N] ...`."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import pytest

from adversary.disturbances import Disturbance, missing
from adversary.results import keep, kept, summary, table
from adversary.round import Result
from adversary.stage import Stage
from adversary.stores import NAMES
from adversary.trial import GUARDS, plans, run


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m adversary", description="Let stale leaders write, and see that every guard refuses them."
    )
    parser.add_argument("--store", action="append", choices=NAMES, help="may be repeated; all if none is named")
    parser.add_argument("--guard", action="append", choices=GUARDS, help="may be repeated; all if none is named")
    parser.add_argument(
        "--rounds", type=int, default=20, help="for each pair of a store and a guard (20); 0: only the table"
    )
    parser.add_argument("--abreast", type=int, default=10, help="rounds side by side (10)")
    parser.add_argument("--ttl", type=float, default=2.0, metavar="S", help="of every lease, in seconds (2)")
    parser.add_argument("--seed", type=int, help="chooses disturbances and moments; random if it is not given")
    parser.add_argument(
        "--without-guard", action="store_true", help="plain writes: this must find accepted stale writes"
    )
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="append each round to FILE; the table is of all in it"
    )
    return parser.parse_args()


def _play(options: argparse.Namespace) -> list[Result]:
    stores, guards = options.store or NAMES, options.guard or GUARDS
    seed = random.getrandbits(32) if options.seed is None else options.seed
    for store in stores:
        for disturbance in Disturbance:
            if lack := missing(store, disturbance):
                print(f"not on {store}: {disturbance}, for want of {lack}", file=sys.stderr)
    pairs = [(store, guard) for store in stores for guard in guards]
    made = plans(pairs, options.rounds, seed=seed, ttl_s=options.ttl, guarded=not options.without_guard)
    print(f"seed {seed}: {len(made)} rounds, {options.abreast} side by side", file=sys.stderr)
    results = []
    with Stage() as stage:
        for result in run(made, stage, abreast=options.abreast):
            results.append(result)
            if options.results:
                keep(result, options.results)
            _say(result, len(results), len(made))
    return results


def _say(result: Result, number: int, count: int) -> None:
    plan, verdict = result.plan, result.verdict
    said = f"{verdict.stale} stale attempts, {verdict.refused} refusals, {verdict.stale_accepted} accepted"
    print(f"{number}/{count} {plan.store} {plan.guard} {plan.disturbance}: {said}", file=sys.stderr, flush=True)
    if result.missed:
        print(f"  did not come about: {', '.join(result.missed)}", file=sys.stderr)
    if result.broken or (plan.guarded and verdict.violations):
        print("\n".join(["  WRONG:", *verdict.violations, result.broken, result.account]), file=sys.stderr, flush=True)


def main() -> int:
    """Exit code 1 if anything is wrong in any round, or one broke off."""
    options = _options()
    try:
        results = _play(options) if options.rounds else []
    except (pytest.skip.Exception, pytest.fail.Exception) as missing_server:
        print(f"adversary: {missing_server}", file=sys.stderr)
        return 2
    if options.results:
        results = list(kept(options.results))
    print(f"{table(results)}\n\n{summary(results)}")
    return int(any(result.verdict.violations or result.broken for result in results))


if __name__ == "__main__":
    sys.exit(main())
