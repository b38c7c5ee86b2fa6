"""`python -m leasekit`."""

from leasekit.cli.main import main

if __name__ == "__main__":
    main()
