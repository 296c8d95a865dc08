"""Reads of the change log. Triggers write there which customers a transaction changed, and the sums.

Two guarantees depend on the log. Cached reads: the fold invalidates the reads of a customer changed by
any writer, psql included. Reports: the rollups are the sum of the log. The fold is in `reports/fold.py`.
"""

import sqlalchemy as sa

from orderworks.core.schema import change_log
from orderworks.core.sql import THIS_TRANSACTION_IF_WRITTEN

_TOUCHED = sa.select(change_log.c.customer_ids).where(
    change_log.c.xact == THIS_TRANSACTION_IF_WRITTEN
)


def touched_customers(connection: sa.Connection) -> list[int]:
    """Return the ids of all customers whose row or orders this transaction has changed so far."""
    return list(set().union(*connection.scalars(_TOUCHED)))


def has_uninvalidated(connection: sa.Connection) -> bool:
    """Return whether the log holds changes whose writer did not invalidate the cache."""
    return bool(connection.scalar(_STALE))


_STALE = sa.select(sa.exists().where(change_log.c.stale_since.is_not(None)))
