"""Measure: `PYTHONPATH=tests python -m fire [--rounds N] [--store STORE] [--abreast N] [PART OF A FAULT'S NAME]`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from fire import table
from fire.command import KINDS, WRITER
from fire.faults import possible
from fire.places import TTL_S, Site, site
from fire.rounds import Outcome, play_until_it_counts

NASTY = [kind for kind in KINDS if kind != WRITER]
"""Every kind of process. Writers come in where there is something to write."""


def main() -> int:
    """Exit code 1 if a promise was broken, or a round had no end."""
    options = _options()
    faults = [fault for fault in possible() if options.fault in fault]
    # Ended by a signal, it leaves nobody behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    wrong: list[str] = []
    try:
        for store in options.store or TTL_S:
            with site(store, options.ttl) as here:
                for told in _rounds(here, faults, options):
                    if isinstance(told, Outcome):
                        outcomes.append(told)
                        if options.output is not None:
                            options.output.write_text(table.all_of(outcomes))
                    lines = table.broken(told) if isinstance(told, Outcome) else [f"{store}, {told}"]
                    wrong += lines
                    print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted; this is what was measured so far", file=sys.stderr)
    print(table.all_of(outcomes), end="")
    return int(bool(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fire", description="Put `leasekit run` under fire, and measure.")
    parser.add_argument("fault", nargs="?", default="", help="only faults whose name has this in it")
    parser.add_argument("--store", choices=list(TTL_S), action="append", help="on this store (all); may be repeated")
    parser.add_argument("--rounds", type=int, default=20, help="of each fault on each store (20)")
    parser.add_argument("--abreast", type=int, default=4, help="rounds at a time (4)")
    parser.add_argument("--ttl", type=float, help="in seconds (4; 5 on Consul); longer on a busy machine")
    parser.add_argument("--seed", type=int, default=1, help="for the moments at which faults strike (1)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep the tables there, too, while they grow")
    return parser.parse_args()


def _rounds(here: Site, faults: Sequence[str], options: argparse.Namespace) -> Iterator[Outcome | str]:
    """The outcome of each round, in the order in which they end; a text for one that has no end."""
    pool = ThreadPoolExecutor(options.abreast)
    try:
        played = {
            pool.submit(play_until_it_counts, here, fault, NASTY, seed=f"{options.seed} {number}"): fault
            for number in range(options.rounds)
            for fault in faults
        }
        for done in as_completed(played):
            try:
                yield done.result()
            except AssertionError as error:
                yield f"{played[done]}: {error}"
    finally:
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    sys.exit(main())
