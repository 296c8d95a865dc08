"""The change log that triggers write: which customers a transaction touched, and what came of it.

The log is the guarantee behind two promises. Cached reads: whoever changed an order, psql included,
the fold makes the customer's reads disappear. Reports: the rollups are the sum of the log.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orders import rollups
from orders.schema import customer_changes

FOLD_ROWS = 50_000
"""Log rows folded in one transaction, so that no fold holds row locks for longer than a moment."""

_THIS_TRANSACTION = sa.text("(pg_current_xact_id_if_assigned()::text)::bigint")
_TOUCHED = (
    sa.select(customer_changes.c.customer_id)
    .distinct()
    .where(customer_changes.c.xact == _THIS_TRANSACTION)
)


def touched_customers(connection: sa.Connection) -> list[int]:
    """The ids of all customers whose row or orders this transaction has changed so far."""
    return list(connection.scalars(_TOUCHED).all())


def leaves_stale(connection: sa.Connection) -> bool:
    """Whether somebody changed orders or customers who does not make cached reads disappear himself."""
    return bool(connection.scalar(_STALE))


_STALE = sa.select(sa.exists().where(customer_changes.c.stale_since.is_not(None)))


@dataclass(frozen=True)
class Pass:
    """What one pass took from the log.

    Attributes:
        rows: log rows, now part of the rollups.
        customers: whose they were.
        stale_since: for each of them whom nobody has made disappear from the cache yet, since when.
        as_of: the pass saw whatever was committed before this moment,
        watermark: and of the transactions, exactly those that this snapshot shows (`pg_snapshot`).
        number: higher than that of every pass before, whatever clocks do.
    """

    rows: int
    customers: list[int]
    stale_since: list[datetime]
    as_of: datetime
    watermark: str
    number: int

    @property
    def is_last(self) -> bool:
        """Whether it took all that it could see."""
        return self.rows < FOLD_ROWS


def fold_some(connection: sa.Connection) -> Pass:
    """Take the oldest rows out of the log and add them to the rollups, `FOLD_ROWS` at the most.

    The caller holds `Lock.FOLD`, and commits only after the customers' cached reads are gone: then with
    the cache away the log stays, and a later fold catches up.
    """
    return Pass(*connection.execute(_FOLD_PASS, {"most": FOLD_ROWS}).one())


def _fold_pass() -> sa.Select[Any]:
    """One statement, hence one snapshot: take rows out, add them up, say whose they were.

    The log has no key; its rows are found by their place (ctid), which nobody else changes: only a
    fold, one at a time, takes rows out.
    """
    place: sa.ColumnElement[object] = sa.literal_column("ctid")
    oldest = (
        sa.select(place).select_from(customer_changes).order_by(customer_changes.c.xact)
    ).limit(sa.bindparam("most"))
    taken = (
        sa.delete(customer_changes)
        .where(place == sa.func.any(sa.func.array(oldest.scalar_subquery())))
        .returning(*customer_changes.c["customer_id", "day", "orders", "total", "stale_since"])
        .cte("taken")
    )
    stale = (
        sa.select(sa.func.min(taken.c.stale_since))
        .where(taken.c.stale_since.is_not(None))
        .group_by(taken.c.customer_id)
    )
    return sa.select(
        sa.select(sa.func.count()).select_from(taken).scalar_subquery(),
        # Arrays, because a row a customer takes the client longer than the server.
        sa.func.array(sa.select(taken.c.customer_id).distinct().scalar_subquery()),
        sa.func.array(stale.scalar_subquery()),
        sa.func.statement_timestamp(),
        sa.cast(sa.func.pg_current_snapshot(), sa.Text),
        # Given under the lock, so passes have rising ones.
        sa.cast(sa.cast(sa.func.pg_current_xact_id(), sa.Text), sa.BigInteger),
    ).add_cte(*rollups.added(taken))


_FOLD_PASS = _fold_pass()
