"""Explore the large settings: `PYTHONPATH=tests python -m model [--states N] [--workers N] [PART OF A NAME]`."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from model.explore import Result, explore
from model.settings import LARGE, SMALL


def _explore(name: str, states_max: int) -> Result:
    return explore((LARGE | SMALL)[name], states_max=states_max)


def main() -> int:
    """Exit code 1 if there is a counterexample."""
    parser = argparse.ArgumentParser(prog="python -m model", description="Explore the election in large settings.")
    parser.add_argument("name", nargs="?", default="", help="only settings whose name has this in it")
    parser.add_argument("--states", type=int, default=2_000_000, help="give up a setting after so many (2,000,000)")
    parser.add_argument("--workers", type=int, default=2, help="settings explored at a time (2); each takes some GB")
    options = parser.parse_args()
    names = [name for name in LARGE if options.name in name] or [name for name in SMALL if options.name in name]
    if not names:
        parser.error(f"no setting has {options.name!r} in its name: {', '.join([*LARGE, *SMALL])}")
    found = False
    with ProcessPoolExecutor(options.workers) as pool:
        asked = {pool.submit(_explore, name, options.states): name for name in names}
        for done in as_completed(asked):
            result = done.result()
            extent = "all" if result.complete else "the first"
            print(f"{asked[done]}: {extent} {result.states:,} states", flush=True)
            if result.counterexample is not None:
                found = True
                print(result.counterexample, flush=True)
    print("a counterexample was found" if found else "no counterexample")
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
