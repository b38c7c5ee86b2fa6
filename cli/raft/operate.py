"""`leasekit raft add, promote, remove, transfer, snapshot`: what operators do to a cluster that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import click

from leasekit.backends.raft.core.types import MemberId
from leasekit.backends.raft.member.config import check_id, split_address
from leasekit.backends.raft.requests import ChangeMembership, MemberAction, Request, TakeSnapshot, TransferLeadership
from leasekit.cli.options import Settings, store_options
from leasekit.cli.raft.cluster import Cluster, View
from leasekit.cli.session import note
from leasekit.errors import ConfigError, StoreUnavailable

_LOOK_AGAIN_S = 0.05


@click.command()
@click.argument("member", metavar="ID")
@click.argument("address", metavar="HOST:PORT")
@store_options
@click.pass_context
def add(ctx: click.Context, member: str, address: str) -> None:
    """Add the member ID, which listens on HOST:PORT, without a vote: it gets the log first.

    Start it with `leasekit raft serve --id ID --listen HOST:PORT --join MEMBER`, before this or after it; once it has
    caught up, `leasekit raft promote ID` gives it its vote. An id is used once: a member that has lost its data comes
    back under another one. With another address than before, it is the address that changes.
    """
    check_id(member)
    split_address(address)

    votes = False

    def needed(view: View) -> bool:
        nonlocal votes
        membership = view.membership
        votes = member in membership.voters
        for other, taken in {**membership.voters, **membership.learners}.items():
            if taken == address and other != member:
                raise ConfigError("HOST:PORT", f"{address} is the address of member {other!r}")
        return True

    _change(ctx, MemberAction.ADD, member, address, needed=needed)
    if votes:
        note(f"{member} is at {address} now, with its vote")
        return
    note(f"{member} at {address} is a member without a vote; `leasekit raft promote {member}` once it has caught up")


@click.command()
@click.argument("member", metavar="ID")
@store_options
@click.pass_context
def promote(ctx: click.Context, member: str) -> None:
    """Give the member ID, which was added before, its vote. Waits (--timeout) until it has caught up."""

    def needed(view: View) -> bool:
        _require_member(view, member)
        return member not in view.membership.voters

    _change(ctx, MemberAction.PROMOTE, member, needed=needed)
    note(f"{member} has a vote")


@click.command()
@click.argument("member", metavar="ID")
@store_options
@click.pass_context
def remove(ctx: click.Context, member: str) -> None:
    """Take the member ID out of the cluster. Refused if those that answer would then be no majority.

    Its process goes on and does nothing: stop it, and delete its data.
    """

    def needed(view: View) -> bool:
        _require_member(view, member)
        if list(view.membership.voters) == [member]:
            raise ConfigError("ID", f"{member!r} is the last member with a vote, and cannot be removed")
        return True

    _change(ctx, MemberAction.REMOVE, member, needed=needed)
    note(f"{member} is out of the cluster: stop it, and delete its data. Its id is not to be used again")


@click.command()
@click.argument("member", metavar="[ID]", required=False)
@store_options
@click.pass_context
def transfer(ctx: click.Context, member: str | None) -> None:
    """Hand Raft's leadership to the member ID, or to the one that is furthest: before the leader's machine goes down.

    Elections and jobs notice nothing but a moment's delay. Exits with 0 once another member leads.
    """
    cluster = Cluster(ctx.ensure_object(Settings))
    view = cluster.run(cluster.look())
    if member is not None and member not in view.membership.voters:
        raise ConfigError("ID", f"{member!r} is no member with a vote: {', '.join(view.membership.voters)} are")
    if view.leader is not None and len(view.membership.voters) < 2:
        raise ConfigError("ID", "there is no other member with a vote")
    if view.leader is not None and view.leader.member == member:
        note(f"{member} leads already")
        return
    successor = cluster.run(_hand_over(cluster, member))
    note(f"{successor} leads")


@click.command()
@click.option("--member", metavar="ID", help="Which one.  [default: the leader]")
@store_options
@click.pass_context
def snapshot(ctx: click.Context, member: str | None) -> None:
    """Snapshot a member's state now, and compact its log. Members do so by themselves every 10,000 entries."""
    cluster = Cluster(ctx.ensure_object(Settings))

    def make(number: int) -> Request:
        return TakeSnapshot(id=number)

    if member is None:
        cluster.run(cluster.ask_leader(make))
        note("the leader's state is in a snapshot")
        return
    view = cluster.run(cluster.look())
    _require_member(view, member)
    [seen] = [seen for seen in view.seen if seen.member == member]
    if seen.status is None:
        raise StoreUnavailable(f"{member} at {seen.address}: {seen.problem}")
    cluster.run(cluster.ask(seen.reached, make))
    note(f"the state of {member} is in a snapshot")


async def _hand_over(cluster: Cluster, to: MemberId | None) -> MemberId:
    """Ask for it, and wait for it; the new leader."""
    give_up_at = asyncio.get_running_loop().time() + cluster.timeout_s
    before = (await cluster.look()).leader
    await cluster.ask_leader(lambda number: TransferLeadership(id=number, to=to))
    while asyncio.get_running_loop().time() < give_up_at:
        now = (await cluster.look()).leader
        if now is not None and now.member is not None and (before is None or now.member != before.member):
            return now.member
        await asyncio.sleep(_LOOK_AGAIN_S)
    raise StoreUnavailable(f"the hand-over did not happen within {cluster.timeout_s:g} s: the leader leads on")


def _change(
    ctx: click.Context,
    action: MemberAction,
    member: MemberId,
    address: str = "",
    *,
    needed: Callable[[View], bool] | None = None,
) -> None:
    cluster = Cluster(ctx.ensure_object(Settings))
    if needed is None or needed(cluster.run(cluster.look())):
        cluster.run(cluster.ask_leader(lambda n: ChangeMembership(id=n, action=action, member=member, address=address)))


def _require_member(view: View, member: MemberId) -> None:
    membership = view.membership
    if member not in membership:
        known = ", ".join([*membership.voters, *membership.learners])
        raise ConfigError("ID", f"{member!r} is no member of this cluster: {known} are")
