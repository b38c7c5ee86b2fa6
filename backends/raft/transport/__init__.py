"""Members and clients over TCP, with TLS or without. `Listener` takes connections, `PeerLinks` makes those to members.

One port serves both kinds. A connection begins with a Hello, and is closed if none comes, if it is another cluster's, if
no version is common, or if the certificate is not that of the member that it says to be (`security`). Frames that are too
long or make no sense end their own connection and nothing else. Nothing waits without a bound: members' messages are
dropped when a link does not keep up, a client that reads too slowly is disconnected.
"""

from __future__ import annotations

from leasekit.backends.raft.transport.identity import Identity
from leasekit.backends.raft.transport.incoming import Client, Handler
from leasekit.backends.raft.transport.listener import MAX_CLIENTS, Listener
from leasekit.backends.raft.transport.peers import PeerLinks
from leasekit.backends.raft.transport.security import Security, load

__all__ = ["MAX_CLIENTS", "Client", "Handler", "Identity", "Listener", "PeerLinks", "Security", "load"]
