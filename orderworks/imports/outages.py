"""Failed starts of plans and chunks: whether they count, and the reason to record."""

from datetime import timedelta

import redis
import sqlalchemy as sa

from orderworks.core.database import error_summary, is_transient
from orderworks.core.errors import Unavailable

STARTS_TTL = timedelta(days=7)
"""Time that Redis keeps counts of starts: as long as a file stays in the spool by default."""


def is_outage(error: Exception) -> bool:
    """Return whether an unavailable server caused the error: such a start does not count."""
    return isinstance(error, Unavailable | redis.RedisError) or is_transient(error)


def failure_reason(error: Exception) -> str:
    """The type and the first line of an error, for the ledger."""
    text = error_summary(error) if isinstance(error, sa.exc.DBAPIError) else str(error)
    return f"{type(error).__name__}: {text}".partition("\n")[0]
