"""`PYTHONPATH=tests python -m cronproof [--store etcd|consul|raft|sqlite] [--slots N] [--minutes N] [--servers N] [--seed N] [--daemon]`."""

from __future__ import annotations

import argparse
import random
import sys

from cronproof.daemon import play_daemons
from cronproof.play import Script, play
from cronproof.stage import STORES


def main() -> int:
    """Exit code 1 if anything is not as promised."""
    parser = argparse.ArgumentParser(
        prog="python -m cronproof", description="Prove on real stores that slots run once."
    )
    parser.add_argument("--store", choices=STORES, action="append", help="on which store; may be repeated (all)")
    parser.add_argument("--slots", type=int, default=300, help="slots of the schedule with one each second (300)")
    parser.add_argument("--minutes", type=int, default=5, help="slots of the schedule with one each minute (5)")
    parser.add_argument("--servers", type=int, default=3, help="how many servers a store has (3)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the trouble that is made")
    parser.add_argument("--daemon", action="store_true", help="instead: two real cron daemons and one crontab line")
    given = parser.parse_args()
    failed = False
    for store in given.store or STORES:
        if given.daemon:
            wrong = play_daemons(store, given.minutes, print)
            print("\n".join([f"cron daemons, {store}: {len(wrong)} violations", *wrong]), flush=True)
            failed = failed or bool(wrong)
            continue
        script = Script(store, given.slots, given.minutes, given.seed, servers=given.servers)
        result = play(script, lambda text: print(text, file=sys.stderr))
        print(result, flush=True)
        failed = failed or bool(result.violations)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
