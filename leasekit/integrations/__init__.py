"""leasekit where people already schedule and serve: one module per integration, each with an extra of its own."""
