"""leasekit: one leader among many processes, over a store that you already run."""

__version__ = "0.1.0"
