"""`python -m benchmarks [NAME...]`: measure all, or what is named, and print tables."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import time

from benchmarks import machine

# Name: rounds, such that all together take some minutes.
PROGRAMS = {
    "pair": 20,
    "handover": 20,
    "requests": 5,
    "idle": 1,
    "failover": 8,
    "startup": 20,
    "raft_elections": 1000,
    "raft_commits": 20,
}


def main() -> None:
    """Run the programs that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(PROGRAMS)}; none: all")
    parser.add_argument("--rounds", type=int, help="how often each is measured; more takes longer and is steadier")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - PROGRAMS.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    print(f"leasekit {machine.revision()}. {machine.described()}\n")
    for name in chosen.names or PROGRAMS:
        program = importlib.import_module(f"benchmarks.{name}")
        began_s = time.monotonic()
        for table in asyncio.run(program.run(chosen.rounds or PROGRAMS[name])):
            print(table)
        print(f"{name}: {time.monotonic() - began_s:.0f} s; {machine.load()}.\n", flush=True)


if __name__ == "__main__":
    main()
