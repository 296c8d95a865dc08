"""Changes of orders are written: all in one statement, and by halving where the database refuses."""

from collections.abc import Callable, Collection, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, insert

from orderworks.core.database import error_summary, is_data_error, savepoint
from orderworks.core.errors import OrderworksError
from orderworks.core.schema import Money, orders
from orderworks.updates.coalescing import OrderChange

MAX_REFUSED_CHANGES = 200
"""Changes of a batch that may be refused one by one. Each good one that is written between them by
itself holds one of the locks that all sessions share, until the commit."""


class BatchRefused(OrderworksError):
    """The database refused a batch for the data of one or some of its updates."""


class TooManyRefused(OrderworksError):
    """The database refuses so much of a batch that it has to be taken in smaller ones."""


RefusedOrders = dict[int, str]
"""Orders whose change the database refused, with its reason."""

BulkStatement = Callable[[sa.Connection, Sequence[OrderChange]], Collection[int]]
"""`update_rows` or `insert_rows`: gives the ids of the orders that it wrote."""

WriteChanges = Callable[[sa.Connection, Sequence[OrderChange], BulkStatement], RefusedOrders]


def write_at_once(
    connection: sa.Connection, changes: Sequence[OrderChange], statement: BulkStatement
) -> RefusedOrders:
    """Write the changes, of which none is refused.

    Raises:
        BatchRefused: the database refused some of them.
    """
    try:
        _run(connection, changes, statement)
    except sa.exc.DBAPIError as error:
        if not is_data_error(error):
            raise
        raise BatchRefused from error
    return {}


def write(
    connection: sa.Connection, changes: Sequence[OrderChange], statement: BulkStatement
) -> RefusedOrders:
    """Write the changes that the database takes; those that it refuses for their data."""
    refused: RefusedOrders = {}
    if changes:
        _write_or_halve(connection, changes, statement, refused)
    return refused


def _write_or_halve(
    connection: sa.Connection,
    changes: Sequence[OrderChange],
    statement: BulkStatement,
    refused: RefusedOrders,
) -> None:
    """Run the statement; where the database refuses, halve until the bad change is alone."""
    try:
        with savepoint(connection):
            _run(connection, changes, statement)
    except sa.exc.DBAPIError as error:
        if not is_data_error(error):
            raise
        if len(changes) == 1:
            refused[changes[0].row.order_id] = error_summary(error)
            if len(refused) > MAX_REFUSED_CHANGES:
                raise TooManyRefused from error
            return
        middle = len(changes) // 2
        _write_or_halve(connection, changes[:middle], statement, refused)
        _write_or_halve(connection, changes[middle:], statement, refused)


def _run(
    connection: sa.Connection, changes: Sequence[OrderChange], statement: BulkStatement
) -> None:
    """Run the statement; the changes that it made have their verdict."""
    written = statement(connection, changes)
    for change in changes:
        if change.row.order_id in written:
            change.mark_applied()


# One parameter for the whole batch. PostgreSQL expects few rows from it, so it looks the orders up by
# primary key in the order given, which is sorted: two writers lock in the same order.
_BATCH = (
    sa.func.json_to_recordset(sa.cast(sa.bindparam("batch", type_=sa.Text), JSON))
    .table_valued(
        sa.column("order_id", sa.BigInteger),
        sa.column("customer_id", sa.BigInteger),
        sa.column("status", sa.Text),
        sa.column("total", Money),
        sa.column("first_version", sa.BigInteger),
        sa.column("version", sa.BigInteger),
        name="batch",
    )
    .render_derived(with_types=True)
)

_UPDATE = (
    sa.update(orders)
    .where(
        orders.c.id == _BATCH.c.order_id,
        orders.c.version < sa.func.coalesce(_BATCH.c.first_version, _BATCH.c.version),
    )
    .values(
        customer_id=sa.func.coalesce(_BATCH.c.customer_id, orders.c.customer_id),
        status=sa.func.coalesce(_BATCH.c.status, orders.c.status),
        total=sa.func.coalesce(_BATCH.c.total, orders.c.total),
        updated_at=sa.func.now(),
        version=_BATCH.c.version,
    )
    .returning(orders.c.id)
)

_INSERT = (
    insert(orders)
    .from_select(
        ["id", "customer_id", "status", "total", "version"],
        sa.select(
            _BATCH.c.order_id,
            _BATCH.c.customer_id,
            sa.func.coalesce(_BATCH.c.status, "new"),
            _BATCH.c.total,
            _BATCH.c.version,
        ).order_by(_BATCH.c.order_id),
    )
    .on_conflict_do_nothing(index_elements=["id"])
    .returning(orders.c.id)
)


def update_rows(connection: sa.Connection, changes: Sequence[OrderChange]) -> set[int]:
    """Change the rows that exist and are older than all of the change; the ids of those changed."""
    return set(connection.scalars(_UPDATE, {"batch": _encoded(changes)}).all())


def insert_rows(connection: sa.Connection, changes: Sequence[OrderChange]) -> set[int]:
    """Create the rows; one that somebody else created just now is left for the next attempt."""
    return set(connection.scalars(_INSERT, {"batch": _encoded(changes)}).all())


_encoder = msgspec.json.Encoder(decimal_format="string")


def _encoded(changes: Sequence[OrderChange]) -> str:
    return _encoder.encode([change.row for change in changes]).decode()
