"""Which chunk is whose to work on, how often it was started, and when it is given up.

A chunk is pending, done or quarantined. Being worked on is no state of its own: the worker holds
the row's lock, which goes with the worker, however that ends.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Range

from orderworks.core.errors import ImportNotFound
from orderworks.core.schema import import_chunks, imports
from orderworks.core.sql import THIS_TRANSACTION
from orderworks.imports.chunk_plan import FileChunk
from orderworks.imports.columns import ImportKind
from orderworks.imports.file_format import FileFormat, FormatName

RowCounts = dict[str, int]
"""`applied`, `unchanged`, `stale`, `superseded`, `rejected`: they add up to a chunk's rows."""

MAX_ID = 2**63 - 1


_DONE = {"status": "done", "error": None, "finished_at": sa.func.now()}


# Core has neither transaction numbers nor snapshots.
_UNSEEN = sa.text(
    "NOT pg_visible_in_snapshot(other.writer::text::xid8, import_chunks.snapshot::pg_snapshot)"
)


class ChunkWork(NamedTuple):
    """A chunk to load, with what its import says about all of its chunks.

    Attributes:
        version: of a row that brings none, together with its line.
        snapshot: which transactions the loading one sees.
        done_before: whether it was loaded already, and is only to be looked at again.
    """

    import_id: str
    kind: ImportKind
    mapping: dict[str, str]
    format: FormatName
    delimiter: str
    header: list[str]
    bytes: int
    version: int
    strict: bool
    create_customers: bool
    parent: str | None
    snapshot: str
    is_recheck: bool
    chunk: FileChunk

    @property
    def file_format(self) -> FileFormat:
        """How the bytes are to be read."""
        return FileFormat(self.format, self.delimiter, self.header)


class ChunkResult(NamedTuple):
    """What became of a chunk.

    Attributes:
        ids: the lowest and the highest id of its rows; None if there are none.
        is_open: whether it left equal rows at older versions.
    """

    counts: RowCounts
    ids: tuple[int, int] | None
    may_be_overtaken: bool


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


def chunk_lock(
    engine: sa.Engine, import_id: str, number: int
) -> AbstractContextManager[sa.Connection | None]:
    """A connection whose session is the only one to start the chunk; None if another one is at it.

    The start is counted in one transaction and the row locked in the next. Between the two, no other
    message may take the chunk for one whose worker was lost.
    """
    return _session_lock(engine, f"import {import_id} chunk {number}")


def plan_lock(engine: sa.Engine, import_id: str) -> AbstractContextManager[sa.Connection | None]:
    """As `chunk_lock`, for the plan of an import."""
    return _session_lock(engine, f"import {import_id} plan")


@contextmanager
def _session_lock(engine: sa.Engine, work: str) -> Iterator[sa.Connection | None]:
    # Keys of one number are apart from those of two, which `orderworks.core.locks` numbers.
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


def count_start(connection: sa.Connection, import_id: str, number: int, attempts: float) -> bool:
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


def claim_chunk(connection: sa.Connection, import_id: str, number: int) -> ChunkWork | None:
    """Lock a pending chunk until the transaction ends; None if it is done or somebody has it."""
    columns = (
        import_chunks.c.import_id,
        *imports.c["kind", "mapping", "format", "delimiter", "header", "bytes", "version"],
        *imports.c["strict", "create_customers", "parent"],
        sa.cast(sa.func.pg_current_snapshot(), sa.Text),
        import_chunks.c.ids.is_not(None),
        *import_chunks.c[FileChunk._fields],
    )
    query = _pending(import_id, number).join(imports).with_only_columns(*columns)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    of_chunk = len(FileChunk._fields)
    return ChunkWork._make([*row[:-of_chunk], FileChunk(*row[-of_chunk:])])


def finish_chunk(connection: sa.Connection, work: ChunkWork, outcome: ChunkResult) -> None:
    """Note what became of the rows. Once this is committed the chunk's rows are accounted for."""
    wrote = outcome.counts.get("applied", 0) > 0
    connection.execute(
        _of_chunk(work.import_id, work.chunk.number).values(
            **outcome.counts,
            **_DONE,
            ids=outcome.ids and _range(*outcome.ids),
            writer=THIS_TRANSACTION if wrote else None,
            snapshot=work.snapshot if outcome.may_be_overtaken else None,
        )
    )


def _range(first_id: int, last_id: int) -> Range[int]:
    """The ids from the first to the last one. The largest has none after it, to end the range with."""
    return Range(first_id, None if last_id == MAX_ID else last_id + 1)


def finish_recheck(connection: sa.Connection, work: ChunkWork, applied: int) -> None:
    """Note that of the rows that had been left as they were, some were written after all."""
    chunk = import_chunks.c
    connection.execute(
        _of_chunk(work.import_id, work.chunk.number).values(
            **_DONE,
            applied=chunk.applied + applied,
            unchanged=chunk.unchanged - applied,
            writer=THIS_TRANSACTION if applied else chunk.writer,
            snapshot=work.snapshot,
        )
    )


def reopen_overtaken(connection: sa.Connection, import_id: str) -> list[int]:
    """Make those chunks pending again that left rows as they were and may have been overtaken.

    Such a chunk found rows equal to the table's and did not write them. If another chunk of the file,
    with ids in the same range, wrote rows that this one could not see yet, an earlier line may have
    replaced what a later one had found in place. Looking again sets that right.
    """
    chunk, other = import_chunks.c, import_chunks.alias("other")
    overtaken = sa.exists().where(
        other.c.import_id == chunk.import_id,
        other.c.number != chunk.number,
        other.c.writer.is_not(None),
        other.c.ids.overlaps(chunk.ids),
        _UNSEEN,
    )
    statement = (
        sa.update(import_chunks)
        .where(chunk.import_id == import_id, chunk.status == "done")
        .where(chunk.snapshot.is_not(None), overtaken)
        .values(status="pending", attempts=0)
        .returning(chunk.number)
    )
    return sorted(connection.scalars(statement))


def quarantine_chunk(connection: sa.Connection, import_id: str, number: int, error: str) -> None:
    """Give a pending chunk up; the others go on."""
    connection.execute(_quarantined(import_id, number, error))


def uncount_start(connection: sa.Connection, import_id: str, number: int) -> None:
    """Take a start back that ended for no fault of the chunk's."""
    chunk = import_chunks.c
    connection.execute(
        _of_chunk(import_id, number)
        .where(chunk.status == "pending", chunk.attempts > 0)
        .values(attempts=chunk.attempts - 1)
    )


def record_error(connection: sa.Connection, import_id: str, number: int, error: str) -> None:
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
    """The chunk's row, locked, if it is pending, its import running, and nobody else has the lock."""
    chunk = import_chunks.c
    running = sa.exists().where(imports.c.id == chunk.import_id, imports.c.status == "running")
    return (
        sa.select(import_chunks)
        .where(chunk.import_id == import_id, chunk.number == number, chunk.status == "pending")
        .where(running.correlate(import_chunks))
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
