"""Open files of a gateway process: each connection of a client is one."""

import resource
import sys
from contextlib import suppress

BACKENDS = 200
"""Open files that clients leave to connections to PostgreSQL and Redis, the spool, and the log."""


def raise_limit() -> None:
    """Raise the limit of this process, and of those that it starts, as far as it may."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems allow less than the hard limit that they report.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections() -> int:
    """Return the number of connections that clients may have: with more, servers cannot be reached."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(soft - BACKENDS, soft // 2)


def max_streams(configured: int) -> int:
    """Return the number of event streams: as configured, but a quarter of the connections is left."""
    return min(configured, max_connections() * 3 // 4)
