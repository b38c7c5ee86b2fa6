"""The stores that leasekit brings. Each is reached through its entry point (a URL scheme), never by name."""
