"""What leasekit costs, beside what others cost: `python -m benchmarks`. Results of one run: docs/benchmarks.md."""
