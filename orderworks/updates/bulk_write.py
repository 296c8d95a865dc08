"""Bulk writes of orders: one statement for all; where it fails, one for each piece of the batch."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, Insert, insert

from orderworks.core.database import (
    error_summary,
    is_data_error,
    is_lock_timeout,
    may_be_of_one_row,
    savepoint,
)
from orderworks.core.errors import OrderworksError
from orderworks.core.field_versions import SqlValue, field_version, versions_after, versions_of_new
from orderworks.core.lock_holders import MAY_LOCK_ROWS, LockHolder, holder_of_tables
from orderworks.core.schema import Money, customers, orders
from orderworks.updates.coalescing import FIELDS, OrderChange
from orderworks.updates.entries import Cause, ParsedUpdate
from orderworks.updates.messages import Verdict

MAX_REFUSED_CHANGES = 200
"""Changes of a batch that may be refused one by one. Each valid change that is written alone between
them holds one of the locks that all sessions share, until the commit."""


MAX_PASS_SECONDS = 10
"""Seconds after which a search for failing changes is given up, for one in a smaller batch: each piece
that waits for a lock, or runs for too long, takes its time."""

PIECES = 8
"""Pieces into which a failing batch is cut. More than two, because an error may take seconds each time:
that of one change of 1,000 occurs in four pieces, not in ten."""


class TooManyRefused(OrderworksError):
    """More than `MAX_REFUSED_CHANGES` fail, or they take too long: smaller batches are needed."""


class Refusal(NamedTuple):
    """The reason for which the database did not write the change of an order.

    Attributes:
        cause: what to wait for before the change is tried again; None if it is refused for its data.
    """

    reason: str
    cause: Cause | None = None
    holder: LockHolder | None = None

    def settle(self, update: ParsedUpdate) -> None:
        """Give an update of the change its verdict: parked, or dead."""
        if self.cause:
            update.park(self.cause, self.reason, self.holder)
        else:
            update.settle(Verdict.DEAD, self.reason)


RefusedOrders = dict[int, Refusal]
"""The orders whose change the database did not write."""

BulkStatement = Callable[[sa.Connection, Sequence[OrderChange]], Collection[int]]
"""`update_rows`, `update_locked_rows` or `insert_rows`: returns the ids of the orders that it wrote."""

WriteChanges = Callable[[sa.Connection, Sequence[OrderChange], BulkStatement], RefusedOrders]


def write_at_once(
    connection: sa.Connection, changes: Sequence[OrderChange], statement: BulkStatement
) -> RefusedOrders:
    """Write the changes by one statement; none is refused, or the whole batch fails."""
    _run(connection, changes, statement)
    return {}


def write(
    connection: sa.Connection, changes: Sequence[OrderChange], statement: BulkStatement
) -> RefusedOrders:
    """Write the changes; return those that fail, because of their data or for a time."""
    refused: RefusedOrders = {}
    if changes:
        deadline = time.monotonic() + MAX_PASS_SECONDS
        _write_or_split(connection, changes, statement, refused, deadline)
    return refused


def _write_or_split(
    connection: sa.Connection,
    changes: Sequence[OrderChange],
    statement: BulkStatement,
    refused: RefusedOrders,
    deadline: float,
) -> None:
    """Run the statement; if it fails, split the batch down to the changes that fail."""
    try:
        with savepoint(connection):
            _run(connection, changes, statement)
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated or not may_be_of_one_row(error):
            raise
        if len(changes) == 1:
            refused[changes[0].row.order_id] = _refusal(connection, error)
            if len(refused) > MAX_REFUSED_CHANGES:
                raise TooManyRefused from error
            return
        if time.monotonic() > deadline:
            raise TooManyRefused from error
        size = math.ceil(len(changes) / PIECES)
        for start in range(0, len(changes), size):
            piece = changes[start : start + size]
            _write_or_split(connection, piece, statement, refused, deadline)


def _refusal(connection: sa.Connection, error: sa.exc.DBAPIError) -> Refusal:
    """Return why a change failed alone. The lock of an unnamed session is an error as any other."""
    if is_data_error(error):
        return Refusal(error_summary(error))
    if is_lock_timeout(error) and (holder := _any_holder(connection)):
        return Refusal(f"waits for a lock, probably of {holder}", Cause.LOCK, holder)
    return Refusal(error_summary(error), Cause.ERROR)


def _any_holder(connection: sa.Connection) -> LockHolder | None:
    return holder_of_tables(connection, [orders.name, customers.name], MAY_LOCK_ROWS)


def _run(
    connection: sa.Connection, changes: Sequence[OrderChange], statement: BulkStatement
) -> None:
    """Run the statement, and give the updates of the written changes their verdicts."""
    written = statement(connection, changes)
    for change in changes:
        if change.row.order_id in written:
            change.mark_applied()


def _written(given: Mapping[str, SqlValue]) -> Mapping[str, SqlValue]:
    """Return the versions of an order's fields after the batch, from those of the fields it gives."""
    return {
        name: sa.case((_BATCH.c[name].is_(None), field_version(orders, name)), else_=version)
        for name, version in given.items()
    }


def _ids_of(statement: sa.Update | Insert) -> sa.Select[tuple[list[int] | None]]:
    """Return a query that runs the statement, and returns the ids of its rows as one array.

    As rows, they would take a tenth of a drain's time.
    """
    written = statement.returning(orders.c.id).cte("written")
    return sa.select(sa.func.array_agg(written.c.id, type_=sa.ARRAY(sa.BigInteger, dimensions=1)))


# One parameter for the whole batch. PostgreSQL expects few rows from it, so it finds the orders by
# primary key in the given order, which is sorted: two writers lock in the same order.
_BATCH = (
    sa.func.json_to_recordset(sa.cast(sa.bindparam("batch", type_=sa.Text), JSON))
    .table_valued(
        sa.column("order_id", sa.BigInteger),
        sa.column("customer_id", sa.BigInteger),
        sa.column("status", sa.Text),
        sa.column("total", Money),
        sa.column("first_version", sa.BigInteger),
        sa.column("version", sa.BigInteger),
        sa.column("versions", sa.ARRAY(sa.BigInteger)),
        name="batch",
    )
    .render_derived(with_types=True)
)

_GIVEN = {
    name: sa.func.coalesce(_BATCH.c.versions[index], _BATCH.c.version)
    for index, name in enumerate(FIELDS, start=1)
}
"""The version of each field, if the batch gives it."""

_VALUES = {name: sa.func.coalesce(_BATCH.c[name], orders.c[name]) for name in FIELDS}

_IS_NEWEST = orders.c.version <= _BATCH.c.version

_UPDATE_LOCKED = (
    sa.update(orders)
    .where(orders.c.id == _BATCH.c.order_id)
    .values(
        **_VALUES,
        updated_at=sa.case((_IS_NEWEST, sa.func.now()), else_=orders.c.updated_at),
        version=sa.func.greatest(orders.c.version, _BATCH.c.version),
        field_versions=versions_after(orders, _written(_GIVEN)),
    )
)

# The row gets the version of the change, so a null stands for it in `field_versions`.
_UPDATE = (
    sa.update(orders)
    .where(
        orders.c.id == _BATCH.c.order_id,
        orders.c.version < sa.func.coalesce(_BATCH.c.first_version, _BATCH.c.version),
    )
    .values(
        **_VALUES,
        updated_at=sa.func.now(),
        version=_BATCH.c.version,
        field_versions=versions_after(
            orders,
            _written({name: _BATCH.c.versions[i] for i, name in enumerate(FIELDS, start=1)}),
        ),
    )
)

_INSERT = (
    insert(orders)
    .from_select(
        ["id", "customer_id", "status", "total", "version", "field_versions"],
        sa.select(
            _BATCH.c.order_id,
            _BATCH.c.customer_id,
            sa.func.coalesce(_BATCH.c.status, "new"),
            _BATCH.c.total,
            _BATCH.c.version,
            versions_of_new(
                orders,
                {
                    name: sa.case((_BATCH.c[name].is_not(None), version))
                    for name, version in _GIVEN.items()
                },
            ),
        ).order_by(_BATCH.c.order_id),
    )
    .on_conflict_do_nothing(index_elements=["id"])
)

_UPDATE_IDS = _ids_of(_UPDATE)
_UPDATE_LOCKED_IDS = _ids_of(_UPDATE_LOCKED)
_INSERT_IDS = _ids_of(_INSERT)


def update_rows(connection: sa.Connection, changes: Sequence[OrderChange]) -> set[int]:
    """Change the rows that exist and are older than all updates of the change; return their ids."""
    return _run_for_ids(connection, _UPDATE_IDS, changes)


def update_locked_rows(connection: sa.Connection, changes: Sequence[OrderChange]) -> set[int]:
    """Write the changes of rows that the transaction has read and locked; return their ids."""
    return _run_for_ids(connection, _UPDATE_LOCKED_IDS, changes)


def insert_rows(connection: sa.Connection, changes: Sequence[OrderChange]) -> set[int]:
    """Create the rows, except those that another transaction has created; return the ids."""
    return _run_for_ids(connection, _INSERT_IDS, changes)


def _run_for_ids(
    connection: sa.Connection,
    statement: sa.Select[tuple[list[int] | None]],
    changes: Sequence[OrderChange],
) -> set[int]:
    return set(connection.scalar(statement, {"batch": _encoded(changes)}) or ())


_encoder = msgspec.json.Encoder(decimal_format="string")


def _encoded(changes: Sequence[OrderChange]) -> str:
    return _encoder.encode([change.row for change in changes]).decode()
