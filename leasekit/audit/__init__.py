"""What the journals of several processes tell together. Pure: bytes go in, a `Report` comes out."""

from leasekit.audit.reading import Reading, read_journal
from leasekit.audit.report import DEFAULT_MAX_SKEW_S, Report, audit

__all__ = ["DEFAULT_MAX_SKEW_S", "Reading", "Report", "audit", "read_journal"]
