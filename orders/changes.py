"""The change log that triggers write: which customers a transaction touched, and the rollups.

The log is the guarantee behind two promises. Cached reads: whoever changed an order, psql included,
the fold makes the customer's reads disappear. Reports: the rollups are the sum of the log.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from orders.locks import Lock, wait_for_lock
from orders.schema import customer_changes, customer_daily, customer_totals

FOLD_ROWS = 50_000
"""Log rows folded in one transaction, so that no fold holds row locks for longer than a moment."""

PATIENCE = 2
"""Seconds to wait for a range that is recounted; another fold usually takes longer."""

Invalidate = Callable[[Collection[int]], None]

_THIS_TRANSACTION = sa.text("(pg_current_xact_id_if_assigned()::text)::bigint")
_TOUCHED = (
    sa.select(customer_changes.c.customer_id)
    .distinct()
    .where(customer_changes.c.xact == _THIS_TRANSACTION)
)


def touched_customers(connection: sa.Connection) -> list[int]:
    """The ids of all customers whose row or orders this transaction has changed so far."""
    return list(connection.scalars(_TOUCHED).all())


@dataclass(frozen=True)
class Folded:
    """What a fold did.

    Attributes:
        rows: log rows folded.
        as_of: whatever was committed before this moment is in the rollups.
    """

    rows: int
    as_of: datetime


def fold(engine: sa.Engine, invalidate: Invalidate) -> Folded | None:
    """Fold the log into the rollups, pass by pass, until none is left; None if another one is at it.

    A pass commits only after the customers' cached reads are gone: with the cache away it raises, the
    log stays, and the next fold catches up.
    """
    rows = 0
    while True:
        with engine.begin() as connection:
            if not wait_for_lock(connection, Lock.FOLD, PATIENCE):
                return None
            as_of: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
            taken = connection.execute(_fold_pass()).all()
            invalidate([customer_id for customer_id, _rows in taken])
        in_pass = sum(count for _customer_id, count in taken)
        rows += in_pass
        if in_pass < FOLD_ROWS:
            # All that this pass's snapshot could see is folded.
            return Folded(rows, as_of)


def _fold_pass() -> sa.Select[int, int]:
    """One statement: take the oldest log rows out, add them to the rollups, say whose they were.

    The log has no key; its rows are found by their place (ctid), which nobody else changes: only a
    fold, one at a time, takes rows out.
    """
    place: sa.ColumnElement[object] = sa.literal_column("ctid")
    oldest = (
        sa.select(place).select_from(customer_changes).order_by(customer_changes.c.xact)
    ).limit(FOLD_ROWS)
    taken = (
        sa.delete(customer_changes)
        .where(place == sa.func.any(sa.func.array(oldest.scalar_subquery())))
        .returning(
            customer_changes.c.customer_id,
            customer_changes.c.day,
            customer_changes.c.orders,
            customer_changes.c.total,
        )
        .cte("taken")
    )
    daily = _added(customer_daily, ("customer_id", "day"), taken).cte("daily")
    totals = _added(customer_totals, ("customer_id",), taken).cte("totals")
    return (
        sa.select(taken.c.customer_id, sa.func.count())
        .group_by(taken.c.customer_id)
        .add_cte(daily, totals)
    )


def _added(rollup: sa.Table, key: tuple[str, ...], taken: sa.CTE) -> Insert:
    """Add the taken rows to a rollup, summed by its key and in key order."""
    group = [taken.c[name] for name in key]
    orders, total = sa.func.sum(taken.c.orders), sa.func.sum(taken.c.total)
    sums = (
        sa.select(*group, orders, total)
        .where(taken.c.day.is_not(None))
        .group_by(*group)
        .having((orders != 0) | (total != 0))
        .order_by(*group)
    )
    statement = insert(rollup).from_select([*key, "orders", "total"], sums)
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={
            "orders": rollup.c.orders + statement.excluded.orders,
            "total": rollup.c.total + statement.excluded.total,
        },
    )
