"""Blocks the chunks of imports at a chosen row, and finds those that a worker is loading."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from orderworks.core.schema import import_chunks

AT_A_ROW = "transactionid"
"""The wait event of a statement whose row another transaction has written and not committed."""

AT_THE_TABLE = "relation"
"""The wait event of a statement whose table is locked."""


@contextmanager
def held_by(engine: sa.Engine, statement: str) -> Iterator[sa.Connection]:
    """Run a statement in a transaction that is rolled back at the end: its locks block others meanwhile.

    The server may be killed meanwhile: the connection, whose session holds the lock, is lost then.
    """
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
        yield connection
        with suppress(sa.exc.OperationalError):
            connection.rollback()


def blocked_workers(holder: sa.Connection) -> dict[int, int]:
    """The worker processes that wait for a lock of this connection, each with its session's process.

    What any worker waits for is no measure: another task may wait for a moment for a lock of a third.
    """
    query = sa.text(
        "SELECT split_part(application_name, ':', 2)::int, pid FROM pg_stat_activity "
        "WHERE application_name LIKE 'orderworks-worker:%' "
        "AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    return dict(iter(holder.execute(query)))


def orders_taken(*order_ids: int) -> str:
    """Makes workers wait that insert one of these orders; customer 1 must exist."""
    rows = ", ".join(f"({order_id}, 1, 0)" for order_id in order_ids)
    return f"INSERT INTO orders (id, customer_id, total) VALUES {rows}"


def chunks_at_work(engine: sa.Engine, import_id: str) -> list[int]:
    """The chunks whose rows a worker has locked. One that begins meanwhile finds its row taken."""
    chunk = import_chunks.c
    of_import = sa.select(chunk.number).where(chunk.import_id == import_id)
    with engine.connect() as connection:
        free = set(connection.scalars(of_import.with_for_update(skip_locked=True)))
        return sorted(set(connection.scalars(of_import)) - free)


def chunks_left(engine: sa.Engine, import_id: str) -> list[int]:
    """The chunks that are not done, in progress or not."""
    chunk = import_chunks.c
    query = sa.select(chunk.number).where(chunk.import_id == import_id, chunk.status == "pending")
    with engine.connect() as connection:
        return list(connection.scalars(query.order_by(chunk.number)))


def attempts(engine: sa.Engine, import_id: str) -> list[int]:
    """The number of starts of each chunk of an import."""
    chunk = import_chunks.c
    query = sa.select(chunk.attempts).where(chunk.import_id == import_id).order_by(chunk.number)
    with engine.connect() as connection:
        return list(connection.scalars(query))
