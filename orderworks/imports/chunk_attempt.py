"""Attempts to load a chunk: its claim, the count of its starts, and what ends it.

A chunk is pending, done or quarantined. Being loaded is not a state of its own: the attempt holds
locks, which PostgreSQL releases with the worker's session, however the worker ends.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import redis
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Range

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.errors import ImportFailed
from orderworks.core.keys import import_uncounted_starts
from orderworks.core.locks import try_named_lock
from orderworks.core.redis import Redis
from orderworks.core.schema import import_chunks, imports
from orderworks.core.sql import THIS_TRANSACTION
from orderworks.core.versions import milliseconds_of, version_at
from orderworks.imports.chunk_plan import FileChunk
from orderworks.imports.columns import EmptyCells, ImportKind
from orderworks.imports.file_format import FileFormat, FormatName
from orderworks.imports.file_notes import MixedVersions, RepeatedIds
from orderworks.imports.outages import STARTS_TTL, failure_reason, is_outage

RowCounts = dict[str, int]
"""`applied`, `unchanged`, `stale`, `superseded`, `rejected`: they add up to a chunk's rows."""

_DONE = {"status": "done", "error": None, "finished_at": sa.func.now()}


class ChunkWork(NamedTuple):
    """A chunk to load, with the options and the format of its import.

    Attributes:
        version: added to a row's line, it is the version of a row that has none of its own.
        snapshot: the transactions that are visible to the loading one.
        is_recheck: whether the chunk was loaded already, and only its unchanged rows are compared again.
    """

    import_id: str
    kind: ImportKind
    mapping: dict[str, str]
    format: FormatName
    delimiter: str
    header: list[str]
    bytes: int
    version: int
    accepted_at: datetime
    strict: bool
    create_customers: bool
    empty: EmptyCells
    parent: str | None
    snapshot: str
    is_recheck: bool
    chunk: FileChunk

    @property
    def file_format(self) -> FileFormat:
        """The format to read the bytes in."""
        return FileFormat(self.format, self.delimiter, self.header)

    @property
    def is_backdated(self) -> bool:
        """True if its rows are older than its acceptance: by `as_of`, or as corrections."""
        accepted = milliseconds_of(version_at(self.accepted_at))
        return self.parent is not None or milliseconds_of(self.version) < accepted


class ChunkResult(NamedTuple):
    """The outcome of a chunk.

    Attributes:
        ids: the lowest and the highest id of its rows; None for a chunk without rows.
        may_be_overtaken: whether it left equal rows at older versions.
        repeated: the ids that it has on several lines with other values.
        mixed: its rows with counters as versions where the table has the order of acceptance.
    """

    counts: RowCounts
    ids: tuple[int, int] | None
    may_be_overtaken: bool
    repeated: RepeatedIds | None = None
    mixed: MixedVersions | None = None


@dataclass(frozen=True)
class ChunkAttempt:
    """A chunk that only this worker may load, until the transaction of `connection` ends."""

    connection: sa.Connection
    work: ChunkWork

    def finish(self, result: ChunkResult) -> None:
        """Record what became of the rows; the chunk is done with the commit."""
        wrote = result.counts.get("applied", 0) > 0
        self._update(
            **result.counts,
            ids=result.ids and _range(*result.ids),
            writer=THIS_TRANSACTION if wrote else None,
            snapshot=self.work.snapshot if result.may_be_overtaken else None,
        )

    def finish_recheck(self, applied: int) -> None:
        """Record that of the unchanged rows this number was written after all."""
        chunk = import_chunks.c
        self._update(
            applied=chunk.applied + applied,
            unchanged=chunk.unchanged - applied,
            writer=THIS_TRANSACTION if applied else chunk.writer,
            snapshot=self.work.snapshot,
        )

    def _update(self, **values: Any) -> None:  # noqa: ANN401 - any column's
        of_chunk = _of_chunk(self.work.import_id, self.work.chunk.number)
        self.connection.execute(of_chunk.values(**_DONE, **values))


@dataclass(frozen=True)
class ChunkAttempts:
    """Starts attempts to load chunks; quarantines a chunk that was started `max_starts` times."""

    engine: sa.Engine
    stream: Redis
    max_starts: int

    @contextmanager
    def start(self, import_id: str, number: int) -> Iterator[ChunkAttempt | None]:
        """Claim a chunk for one transaction, which ends with the block.

        None if there is nothing to do: the chunk is done, being loaded or given up, or its import is
        paused or has ended.

        The start is counted first, in a transaction of its own, so that the start of a worker that is
        killed counts too. `ImportFailed` out of the block quarantines the chunk; any other error is
        recorded, and the start is not counted if an outage caused it.
        """
        counted = False
        try:
            with self.engine.begin() as connection:
                counted = lock_chunk(connection, import_id, number) and self._count_start(
                    import_id, number
                )
                work = claim_chunk(connection, import_id, number) if counted else None
                if counted and work is None:
                    _uncount_start(connection, import_id, number)
                yield ChunkAttempt(connection, work) if work else None
        except Exception as error:
            if counted:
                self._record_failure(import_id, number, error)
            raise

    def _count_start(self, import_id: str, number: int) -> bool:
        max_starts = self.max_starts + self._uncounted_starts(import_id, number)
        with self.engine.begin() as connection:
            return count_start(connection, import_id, number, max_starts)

    def _uncounted_starts(self, import_id: str, number: int) -> float:
        """Those that an outage of PostgreSQL ended; infinite while Redis is unavailable too."""
        try:
            uncounted = self.stream.hget(import_uncounted_starts(import_id), str(number))
        except redis.RedisError:
            return math.inf
        return int(cast("bytes", uncounted or 0))

    def _record_failure(self, import_id: str, number: int, error: Exception) -> None:
        try:
            with self.engine.begin() as connection:
                if isinstance(error, ImportFailed):
                    quarantine_chunk(connection, import_id, number, str(error))
                    return
                if is_outage(error):
                    _uncount_start(connection, import_id, number)
                _record_error(connection, import_id, number, failure_reason(error))
        except sa.exc.SQLAlchemyError:
            # PostgreSQL is unavailable. That is why the start failed, even if the error shows another.
            self._uncount_start_in_redis(import_id, number)

    def _uncount_start_in_redis(self, import_id: str, number: int) -> None:
        """Record in Redis that a start does not count, while PostgreSQL is unavailable."""
        key = import_uncounted_starts(import_id)
        with suppress(redis.RedisError), self.stream.pipeline() as pipe:
            pipe.hincrby(key, str(number), 1)
            pipe.expire(key, STARTS_TTL)
            pipe.execute()


def lock_chunk(connection: sa.Connection, import_id: str, number: int) -> bool:
    """Reserve the start of a chunk until the transaction ends; false if another worker has it.

    The start is counted in a transaction of its own, and then the row is locked. Between the two, no
    other message may take the chunk for one whose worker was lost.
    """
    return try_named_lock(connection, f"import {import_id} chunk {number}")


def count_start(connection: sa.Connection, import_id: str, number: int, max_starts: float) -> bool:
    """Count a start of a chunk.

    False if there is nothing to do: the chunk is done or being loaded, or was started `max_starts`
    times already, in which case it is quarantined by this call.
    """
    chunk = import_chunks.c
    unlocked = _pending(import_id, number).with_for_update(skip_locked=True, of=import_chunks)
    started = connection.scalar(unlocked.with_only_columns(chunk.attempts))
    if started is None:
        return False
    if started >= max_starts:
        error = sa.func.coalesce(chunk.error, "its worker was lost each time")
        text = sa.func.concat(f"given up after {started} starts: ", error)
        quarantine_chunk(connection, import_id, number, text)
        return False
    connection.execute(_of_chunk(import_id, number).values(attempts=started + 1))
    return True


def claim_chunk(connection: sa.Connection, import_id: str, number: int) -> ChunkWork | None:
    """Lock a pending chunk until the transaction ends; None if it, or its import, is pending no more.

    Waits for another lock of the row. With the lock that an attempt holds, that is the sweep's, for a
    moment: to skip the row would waste a start that is counted already.
    """
    columns = (
        import_chunks.c.import_id,
        *imports.c["kind", "mapping", "format", "delimiter", "header", "bytes", "version"],
        *imports.c["accepted_at", "strict", "create_customers", "empty", "parent"],
        sa.cast(sa.func.pg_current_snapshot(), sa.Text),
        import_chunks.c.ids.is_not(None),
        *import_chunks.c[FileChunk._fields],
    )
    query = _pending(import_id, number).join(imports).with_only_columns(*columns)
    row = connection.execute(query.with_for_update(of=import_chunks)).one_or_none()
    if row is None:
        return None
    of_chunk = len(FileChunk._fields)
    return ChunkWork._make([*row[:-of_chunk], FileChunk(*row[-of_chunk:])])


def quarantine_chunk(
    connection: sa.Connection, import_id: str, number: int, error: str | sa.ColumnElement[str]
) -> None:
    """Give a pending chunk up; the other chunks of the import are still loaded."""
    statement = _of_chunk(import_id, number).where(import_chunks.c.status == "pending")
    values = {"status": "quarantined", "error": error, "finished_at": sa.func.now()}
    connection.execute(statement.values(values))


def _uncount_start(connection: sa.Connection, import_id: str, number: int) -> None:
    chunk = import_chunks.c
    connection.execute(
        _of_chunk(import_id, number)
        .where(chunk.status == "pending", chunk.attempts > 0)
        .values(attempts=chunk.attempts - 1)
    )


def _record_error(connection: sa.Connection, import_id: str, number: int, error: str) -> None:
    """Record why the last start failed, to be shown if the chunk is given up."""
    statement = _of_chunk(import_id, number).where(import_chunks.c.status == "pending")
    connection.execute(statement.values(error=error))


def _pending(import_id: str, number: int) -> sa.Select[Any]:
    """The chunk's row, if the chunk is pending and its import running."""
    chunk = import_chunks.c
    running = sa.exists().where(imports.c.id == chunk.import_id, imports.c.status == "running")
    return (
        sa.select(import_chunks)
        .where(chunk.import_id == import_id, chunk.number == number, chunk.status == "pending")
        .where(running.correlate(import_chunks))
    )


def _of_chunk(import_id: str, number: int) -> sa.Update:
    chunk = import_chunks.c
    return sa.update(import_chunks).where(chunk.import_id == import_id, chunk.number == number)


def _range(first_id: int, last_id: int) -> Range[int]:
    """The ids from the first to the last one; unbounded after the largest that a column can hold."""
    return Range(first_id, None if last_id == MAX_BIGINT else last_id + 1)
