"""Which chunk is whose to work on, how often it was started, and when it is given up.

A chunk is pending, done or quarantined. Being worked on is no state of its own: the worker holds
the row's lock, which goes with the worker, however that ends.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from orders.errors import ImportNotFound
from orders.imports.columns import Kind
from orders.imports.layout import Format, Layout
from orders.schema import import_chunks, imports

Counts = dict[str, int]
"""`applied`, `unchanged`, `stale`, `superseded`, `rejected`: they add up to a chunk's rows."""


class Work(NamedTuple):
    """A chunk to load, with what its import says about all of its chunks."""

    import_id: str
    kind: Kind
    mapping: dict[str, str]
    format: Format
    delimiter: str
    header: list[str]
    bytes: int
    version: int
    start_byte: int
    end_byte: int
    first_line: int
    rows: int

    @property
    def layout(self) -> Layout:
        """How the bytes are to be read."""
        return Layout(self.format, self.delimiter, self.header)


def pending_chunks(connection: sa.Connection, import_id: str) -> list[int]:
    """The numbers of the chunks that are not done.

    Raises:
        ImportNotFound: the ledger has no such import.
    """
    if connection.scalar(sa.select(imports.c.id).where(imports.c.id == import_id)) is None:
        raise ImportNotFound(f"there is no import {import_id}")
    chunk = import_chunks.c
    query = sa.select(chunk.number).where(chunk.import_id == import_id, chunk.status == "pending")
    return list(connection.scalars(query.order_by(chunk.number)))


def reserved_chunk(
    engine: sa.Engine, import_id: str, number: int
) -> AbstractContextManager[sa.Connection | None]:
    """A connection whose session is the only one to start the chunk; None if another one is at it.

    The start is counted in one transaction and the row locked in the next. Between the two, no other
    message may take the chunk for one whose worker was lost.
    """
    return _reserved(engine, f"import {import_id} chunk {number}")


def reserved_plan(
    engine: sa.Engine, import_id: str
) -> AbstractContextManager[sa.Connection | None]:
    """As `reserved_chunk`, for the plan of an import."""
    return _reserved(engine, f"import {import_id} plan")


@contextmanager
def _reserved(engine: sa.Engine, work: str) -> Iterator[sa.Connection | None]:
    # Keys of one number are apart from those of two, which `orders.locks` numbers.
    key = sa.func.hashtextextended(work, 0)
    with engine.connect() as connection:
        reserved = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key)))
        connection.commit()
        try:
            yield connection if reserved else None
        finally:
            if reserved and not connection.invalidated:
                _release(connection, key)


def _release(connection: sa.Connection, key: sa.ColumnElement[int]) -> None:
    """Give the lock back. A session that cannot is ended: nobody else must get it with the lock."""
    released = False
    try:
        with suppress(sa.exc.SQLAlchemyError):
            released = bool(connection.scalar(sa.select(sa.func.pg_advisory_unlock(key))))
            connection.commit()
    finally:
        if not released:
            connection.invalidate()


def start_chunk(connection: sa.Connection, import_id: str, number: int, attempts: float) -> bool:
    """Count a start, before the work and in a transaction of its own: so a killed one counts too.

    False if there is nothing to do: the chunk is done, or is being worked on, or has been started
    `attempts` times and is given up with this call.
    """
    chunk = import_chunks.c
    started = connection.scalar(_pending(import_id, number).with_only_columns(chunk.attempts))
    if started is None:
        return False
    if started >= attempts:
        error = sa.func.coalesce(chunk.error, "its worker was lost each time")
        text = sa.func.concat(f"given up after {started} starts: ", error)
        connection.execute(_quarantined(import_id, number, text))
        return False
    connection.execute(_of_chunk(import_id, number).values(attempts=started + 1))
    return True


def claim_chunk(connection: sa.Connection, import_id: str, number: int) -> Work | None:
    """Lock a pending chunk until the transaction ends; None if it is done or somebody has it."""
    columns = (
        import_chunks.c.import_id,
        *imports.c["kind", "mapping", "format", "delimiter", "header", "bytes", "version"],
        *import_chunks.c["start_byte", "end_byte", "first_line", "rows"],
    )
    query = _pending(import_id, number).join(imports).with_only_columns(*columns)
    row = connection.execute(query).one_or_none()
    return None if row is None else Work(*row)


def finish_chunk(connection: sa.Connection, import_id: str, number: int, counts: Counts) -> None:
    """Note what became of the rows. Once this is committed the chunk is never loaded again."""
    connection.execute(
        _of_chunk(import_id, number).values(
            **counts, status="done", error=None, finished_at=sa.func.now()
        )
    )


def quarantine_chunk(connection: sa.Connection, import_id: str, number: int, error: str) -> None:
    """Give a pending chunk up; the others go on."""
    connection.execute(_quarantined(import_id, number, error))


def forgive_start(connection: sa.Connection, import_id: str, number: int) -> None:
    """Take a start back that ended for no fault of the chunk's."""
    chunk = import_chunks.c
    connection.execute(
        _of_chunk(import_id, number)
        .where(chunk.status == "pending", chunk.attempts > 0)
        .values(attempts=chunk.attempts - 1)
    )


def note_error(connection: sa.Connection, import_id: str, number: int, error: str) -> None:
    """Remember why the last start failed, for when the chunk is given up."""
    statement = _of_chunk(import_id, number).where(import_chunks.c.status == "pending")
    connection.execute(statement.values(error=error))


def abandoned_chunks(
    connection: sa.Connection, quiet: timedelta, limit: int
) -> list[tuple[str, int]]:
    """Pending chunks that nobody works on, as import and number, to be nudged again: for the sweep.

    Only of imports of which no chunk ended, and none was nudged, for as long as `quiet`. They count
    as nudged from now on; the rest of a long import is found once these are done.
    """
    chunk = import_chunks.c
    of_import = import_chunks.alias("of_import")
    ended = sa.select(sa.func.max(of_import.c.finished_at)).where(
        of_import.c.import_id == imports.c.id
    )
    last_sign = sa.func.greatest(imports.c.nudged_at, ended.scalar_subquery())
    is_quiet = (imports.c.status == "running", last_sign < sa.func.now() - quiet)
    query = (
        sa.select(chunk.import_id, chunk.number)
        .join(imports)
        .where(chunk.status == "pending", *is_quiet)
        .order_by(imports.c.accepted_at, chunk.import_id, chunk.number)
        .limit(limit)
        .with_for_update(skip_locked=True, of=import_chunks)
    )
    found = [(import_id, number) for import_id, number in connection.execute(query)]
    nudged = {import_id for import_id, _number in found}
    connection.execute(
        sa.update(imports).where(imports.c.id.in_(nudged)).values(nudged_at=sa.func.now())
    )
    return found


def _pending(import_id: str, number: int) -> sa.Select[Any]:
    """The chunk's row, locked, if it is pending and nobody else has the lock."""
    chunk = import_chunks.c
    return (
        sa.select(import_chunks)
        .where(chunk.import_id == import_id, chunk.number == number, chunk.status == "pending")
        .with_for_update(skip_locked=True, of=import_chunks)
    )


def _of_chunk(import_id: str, number: int) -> sa.Update:
    chunk = import_chunks.c
    return sa.update(import_chunks).where(chunk.import_id == import_id, chunk.number == number)


def _quarantined(import_id: str, number: int, error: str | sa.ColumnElement[str]) -> sa.Update:
    return (
        _of_chunk(import_id, number)
        .where(import_chunks.c.status == "pending")
        .values(status="quarantined", error=error, finished_at=sa.func.now())
    )
