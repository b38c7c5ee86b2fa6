"""`leasekit raft simulate`: the members' own code in virtual time, with everything going wrong that may."""

from __future__ import annotations

import click

from leasekit.cli import exit_codes


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="The first seed.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, metavar="K", help="How many seeds.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="J", help="Processes.")
@click.option("-v", "--verbose", is_flag=True, help="With one seed: tell all that happens.")
@click.option("--mutants", is_flag=True, help="Seed faults into the code one by one, and see that each is found.")
@click.pass_context
def simulate(ctx: click.Context, seed: int, count: int, jobs: int, verbose: bool, mutants: bool) -> None:
    """Run whole clusters in virtual time, with faults, and check what Raft promises.

    A seed decides everything: the cluster's size, its clients, lost and late messages, partitions, crashes that lose
    what was not synced, disks that fail, clocks that jump. The same seed is the same run, on any machine. With --count,
    seeds N to N + K - 1 are run, and what happened in them is summed up.

    Exits with 0 if all went well; 1 if a promise was broken (the seed is told), if --count seeds never met one of the
    rare things, or if a mutant was not found.
    """
    if mutants:
        from leasekit.backends.raft.simulator import mutants as seeded

        ctx.exit(exit_codes.OK if seeded.main(jobs=jobs, tell=click.echo) == 0 else exit_codes.NO)
    from leasekit.backends.raft.simulator import campaign

    if count == 1:
        fine = campaign.replay(seed, tell=click.echo, verbose=verbose).violation is None
    else:
        fine = campaign.run(seed, count, jobs=jobs, tell=click.echo, progress=_progress).passed
    ctx.exit(exit_codes.OK if fine else exit_codes.NO)


def _progress(line: str) -> None:
    click.echo(line, err=True)
