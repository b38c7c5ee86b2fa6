"""A link between members over a network that loses everything for a while, without telling anybody."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

from leasekit.backends.raft.core.messages import Heartbeat
from leasekit.backends.raft.core.types import Membership
from leasekit.backends.raft.transport import Identity, PeerLinks
from support.netns import Network
from support.raft_patience import OwnTime

_MEMBER = """
import asyncio, sys
from leasekit.backends.raft.transport import Identity, Listener

class Handler:
    def on_message(self, message): print(message.round, flush=True)
    def on_request(self, client, request): pass
    def on_disconnect(self, client): pass

async def main():
    await Listener(Identity("b", "c"), Handler()).start(sys.argv[1], 7001)
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
_CUT_S = 6.0
_PATIENCE_S = 60.0


async def test_a_link_is_given_up_in_a_partition_and_is_back_soon_after_it() -> None:
    with Network() as network:
        host = network.host()
        member = host.popen([sys.executable, "-c", _MEMBER, host.address], stdout=subprocess.PIPE)
        try:
            assert member.stdout is not None
            assert await asyncio.to_thread(member.stdout.readline) == "ready\n"
            await _partition(network, f"{host.address}:7001", member)
        finally:
            member.kill()
            member.communicate()


async def _partition(network: Network, address: str, member: subprocess.Popen[str]) -> None:
    links = PeerLinks(Identity("a", "c"), random=random.Random(1))
    links.update(Membership(voters={"b": address}))
    round = 0

    async def speak_until(connected: bool) -> float:
        """Send heartbeats, as a leader does, until the link is up or down; how long it took, as this loop has time."""
        nonlocal round
        async with asyncio.timeout(_PATIENCE_S), OwnTime() as time:
            while bool(links.connected()) != connected:
                round += 1
                links.send(Heartbeat(sender="a", to="b", term=1, commit=0, round=round))
                await asyncio.sleep(0.05)
        return time.passed_s

    await speak_until(True)
    await asyncio.to_thread(network.hosts[0].cut)
    assert await speak_until(False) < _CUT_S - 1, "what is not acknowledged ends the connection"
    await asyncio.sleep(2)
    await asyncio.to_thread(network.hosts[0].heal)
    assert await speak_until(True) < 4
    links.send(Heartbeat(sender="a", to="b", term=1, commit=0, round=1_000_000))
    assert member.stdout is not None
    async with asyncio.timeout(_PATIENCE_S):
        while await asyncio.to_thread(member.stdout.readline) != "1000000\n":
            pass
    await links.aclose()
