"""A member without its sockets, disk and timers: what production and the simulator both run."""

from leasekit.backends.raft.server.server import Freeze, Output, Server, ServerConfig

__all__ = ["Freeze", "Output", "Server", "ServerConfig"]
