"""Orders and customers whose locks other sessions hold: their updates are set aside, without a wait."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from orderworks.core.lock_holders import (
    BLOCKS_REFERENCES,
    BLOCKS_WRITES,
    LockHolder,
    holder_of_tables,
    holders_of_rows,
)
from orderworks.core.schema import (
    change_log,
    customers,
    dead_updates,
    orders,
    parked_updates,
    tracked_verdicts,
    update_outbox,
    update_shards,
)
from orderworks.updates.entries import Cause, ParsedUpdate

_WRITTEN = (
    orders,
    change_log,
    parked_updates,
    dead_updates,
    tracked_verdicts,
    update_outbox,
    update_shards,
)

_IDS = sa.ARRAY(sa.BigInteger)


def holder_of_written_table(connection: sa.Connection) -> LockHolder | None:
    """Return the session that has locked a table which every batch of updates writes."""
    return holder_of_tables(connection, [each.name for each in _WRITTEN], BLOCKS_WRITES)


def set_aside_locked(
    connection: sa.Connection, candidates: Sequence[ParsedUpdate]
) -> list[ParsedUpdate]:
    """Park the updates of orders that are locked, or that name a locked customer; return the others.

    All others of such an order in the batch are parked with them, so that none is overtaken. The orders
    of the others are locked until the transaction ends.
    """
    named = {each.update.customer_id for each in candidates} - {None}
    of_customers = _locked_customers(connection, {key for key in named if key is not None})
    of_orders = _locked_orders(connection, {each.update.order_id for each in candidates})
    for each in candidates:
        order_id, customer_id = each.update.order_id, each.update.customer_id
        if customer_id in of_customers and order_id not in of_orders:
            of_orders[order_id] = (f"customer {customer_id}", of_customers[customer_id])
    for each in candidates:
        if each.update.order_id in of_orders:
            what, holder = of_orders[each.update.order_id]
            each.park(Cause.LOCK, f"{what} is locked by {holder}", holder)
    return [each for each in candidates if each.update.order_id not in of_orders]


def _locked_orders(
    connection: sa.Connection, ids: Collection[int]
) -> dict[int, tuple[str, LockHolder]]:
    """Return what is locked, and by which session, by order; lock the other orders that exist."""
    free = sa.select(orders.c.id).with_for_update(key_share=True, skip_locked=True)
    return {
        key: (f"order {key}", holder)
        for key, holder in _holders(connection, orders, ids, free).items()
    }


def _locked_customers(connection: sa.Connection, ids: Collection[int]) -> dict[int, LockHolder]:
    """Return the customers to which no order can refer now, with the session that holds each."""
    if not ids:
        return {}
    if holder := holder_of_tables(connection, [customers.name], BLOCKS_REFERENCES):
        return dict.fromkeys(ids, holder)
    free = sa.select(customers.c.id).with_for_update(read=True, key_share=True, skip_locked=True)
    return _holders(connection, customers, ids, free)


def _holders(
    connection: sa.Connection,
    table: sa.Table,
    ids: Collection[int],
    lock_free: sa.Select[tuple[int]],
) -> dict[int, LockHolder]:
    """Return the rows that `lock_free` skipped because another session holds them."""
    requested = table.c.id == sa.any_(sa.literal(sorted(ids), _IDS))
    free = lock_free.where(requested).order_by(table.c.id).cte("free")
    query = sa.select(table.c.id).where(requested, table.c.id.not_in(sa.select(free.c.id)))
    locked = connection.scalars(query).all()
    return holders_of_rows(connection, table, locked) if locked else {}
