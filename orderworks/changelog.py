"""The change log that triggers write: which customers a transaction touched, and what came of it.

The log is the guarantee behind two promises. Cached reads: whoever changed an order, psql included,
the fold makes the customer's reads disappear. Reports: the rollups are the sum of the log.
"""

import sqlalchemy as sa

from orderworks.core.schema import change_log
from orderworks.core.sql import THIS_TRANSACTION_IF_WRITTEN

_TOUCHED = sa.select(change_log.c.customer_ids).where(
    change_log.c.xact == THIS_TRANSACTION_IF_WRITTEN
)


def touched_customers(connection: sa.Connection) -> list[int]:
    """The ids of all customers whose row or orders this transaction has changed so far."""
    return list(set().union(*connection.scalars(_TOUCHED)))


def has_uninvalidated(connection: sa.Connection) -> bool:
    """Whether somebody changed orders or customers who does not make cached reads disappear himself."""
    return bool(connection.scalar(_STALE))


_STALE = sa.select(sa.exists().where(change_log.c.stale_since.is_not(None)))
