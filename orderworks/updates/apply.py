"""Application of a batch of updates: one statement, guarded by version, and a verdict for each update.

The effect is that of applying the updates one by one in order of acceptance, and of each only the fields
that no newer write gave. It does not depend on batches, drains or redeliveries.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import sqlalchemy as sa

from orderworks.core.schema import customers, orders
from orderworks.updates.bulk_write import (
    MAX_REFUSED_CHANGES,
    RefusedOrders,
    TooManyRefused,
    WriteChanges,
    insert_rows,
    update_locked_rows,
    update_rows,
    write,
    write_at_once,
)
from orderworks.updates.coalescing import StoredOrder, can_create, coalesce
from orderworks.updates.entries import Cause, ParsedUpdate
from orderworks.updates.locked_rows import set_aside_locked
from orderworks.updates.messages import Verdict

MAX_TRIED_SINGLY = 100
"""Updates of one order that are tried one by one when they are refused together. If there are more, all
become dead letters, which can be replayed a few at a time."""

UNCHANGED_BY_DATABASE = (
    "the database left the order unchanged, without an error: check its triggers and rules"
)


ApplyBatch = Callable[[sa.Connection, Sequence[ParsedUpdate]], None]
"""Applies a batch within the caller's transaction; afterwards each update has its verdict."""


def apply_at_once(connection: sa.Connection, candidates: Sequence[ParsedUpdate]) -> None:
    """Apply a batch of which no update fails, which is nearly every one.

    Raises:
        DBAPIError: an update failed. Roll back, and use `apply_updates`.
    """
    _apply(connection, candidates, write_at_once)


def apply_updates(connection: sa.Connection, candidates: Sequence[ParsedUpdate]) -> None:
    """Apply a batch, and find the updates that the database refuses and those to be set aside.

    An update of which another session holds the order or the customer is parked without a wait; so is
    one that fails alone for a time.

    Raises:
        TooManyRefused: many of them fail. Roll back, and use a smaller batch.
        DBAPIError: an update ended the session, or the server is unavailable.
    """
    # A deferred constraint would refuse the batch as a whole, at the commit.
    connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
    _apply(connection, set_aside_locked(connection, candidates), write)


def set_aside(
    connection: sa.Connection,  # noqa: ARG001 - as of the other ways to apply a batch
    candidates: Sequence[ParsedUpdate],
    reason: str,
) -> None:
    """Park all of them, to be tried one by one: one of them, or several, ended the session."""
    for each in candidates:
        each.park(Cause.ERROR, reason)


def _apply(
    connection: sa.Connection, candidates: Sequence[ParsedUpdate], first_write: WriteChanges
) -> None:
    """Apply a batch, nearly always by one UPDATE.

    Only the orders that it did not change are settled separately: those that do not exist, and those of
    which a write in the batch is older than the row, or is refused.
    """
    applicable = _without_unknown_customers(connection, candidates)
    refused = first_write(connection, coalesce(applicable, {}), update_rows)
    # Verdicts that coalescing gave these orders within the batch are given again, with their rows.
    undecided = {each.update.order_id for each in applicable if each.verdict is None}
    undecided -= refused.keys()
    refused |= _settle(
        connection, [each for each in applicable if each.update.order_id in undecided]
    )
    _settle_refused(
        connection, [each for each in applicable if each.update.order_id in refused], refused
    )


def _without_unknown_customers(
    connection: sa.Connection, candidates: Sequence[ParsedUpdate]
) -> list[ParsedUpdate]:
    """Park the updates whose customer does not exist; return the others."""
    named = {each.update.customer_id for each in candidates}
    named.discard(None)
    if not named:
        return list(candidates)
    query = sa.select(customers.c.id).where(
        customers.c.id == sa.any_(sa.literal(list(named), _IDS))
    )
    known = {None, *connection.scalars(query)}
    for candidate in candidates:
        if candidate.update.customer_id not in known:
            candidate.park(Cause.UNKNOWN, f"customer {candidate.update.customer_id} does not exist")
    return [each for each in candidates if each.update.customer_id in known]


def _settle(connection: sa.Connection, candidates: Sequence[ParsedUpdate]) -> RefusedOrders:
    """Lock the rows; apply newer updates, create the orders that can be created, park the rest."""
    if not candidates:
        return {}
    stored = _lock_orders(connection, {each.update.order_id for each in candidates})
    known = [each for each in candidates if each.update.order_id in stored]
    refused = _settle_known(connection, known, stored)
    unknown = coalesce([each for each in candidates if each.update.order_id not in stored], {})
    refused |= write(connection, [each for each in unknown if can_create(each)], insert_rows)
    created_by_others = set()
    for change in unknown:
        if not can_create(change):
            change.mark_parked()
        elif change.updates[-1].verdict is None and change.row.order_id not in refused:
            created_by_others.add(change.row.order_id)
    meanwhile = [each for each in candidates if each.update.order_id in created_by_others]
    return refused | _settle_created(connection, meanwhile)


def _settle_known(
    connection: sa.Connection,
    candidates: Sequence[ParsedUpdate],
    stored: Mapping[int, StoredOrder],
) -> RefusedOrders:
    """Apply the fields that are newer than those of the orders, which are locked."""
    refused = write(connection, coalesce(candidates, stored), update_locked_rows)
    for each in candidates:
        if each.verdict is None and each.update.order_id not in refused:
            each.settle(Verdict.DEAD, UNCHANGED_BY_DATABASE)
    return refused


def _settle_created(connection: sa.Connection, candidates: Sequence[ParsedUpdate]) -> RefusedOrders:
    """Apply updates to orders that another transaction has created meanwhile."""
    if not candidates:
        return {}
    stored = _lock_orders(connection, {each.update.order_id for each in candidates})
    for each in candidates:
        if each.update.order_id not in stored:
            each.settle(Verdict.DEAD, UNCHANGED_BY_DATABASE)
    known = [each for each in candidates if each.update.order_id in stored]
    return _settle_known(connection, known, stored)


def _lock_orders(connection: sa.Connection, order_ids: Collection[int]) -> dict[int, StoredOrder]:
    """Return the orders that exist, by id, and lock them until the commit."""
    locked = (
        sa.select(orders.c.id, *orders.c[StoredOrder._fields])
        .where(orders.c.id == sa.any_(sa.literal(sorted(order_ids), _IDS)))
        .order_by(orders.c.id)
        .with_for_update(key_share=True)
    )
    return {row[0]: StoredOrder._make(row[1:]) for row in connection.execute(locked)}


def _settle_refused(
    connection: sa.Connection, candidates: Sequence[ParsedUpdate], refused: RefusedOrders
) -> None:
    """Find the updates because of which changes were refused, and apply the others.

    Those of an order that failed for a time are tried one by one later: that may take seconds for each.

    Raises:
        TooManyRefused: there are too many to try them one by one.
    """
    for each in candidates:
        refused[each.update.order_id].settle(each)
    count = Counter(each.update.order_id for each in candidates if each.verdict is Verdict.DEAD)
    tried = [each for each in candidates if 1 < count[each.update.order_id] <= MAX_TRIED_SINGLY]
    if len(tried) > MAX_REFUSED_CHANGES:
        raise TooManyRefused
    for each in tried:
        each.verdict, each.reason = None, ""
        if refusal := _settle(connection, [each]).get(each.update.order_id):
            refusal.settle(each)


_IDS = sa.ARRAY(sa.BigInteger)
