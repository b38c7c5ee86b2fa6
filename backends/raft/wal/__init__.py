"""The durable log: checksummed records in segments, snapshots beside them, on any `Disk`."""
