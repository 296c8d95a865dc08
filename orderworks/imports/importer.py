"""An import's way through the workers: planned once, each chunk loaded once, finished once.

Every step may be started twice, by two workers at a time, or after one that was killed half way.
"""

import hashlib
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, cast

import redis
import sqlalchemy as sa

from orderworks import changelog
from orderworks.cache.invalidation import invalidate_and_record
from orderworks.core.database import error_summary, is_transient, retry_transient
from orderworks.core.errors import ImportFailed, ImportNotFound, Unavailable
from orderworks.core.keys import import_nudge, import_plan, import_uncounted_starts
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports import chunk_claims, kept_files, ledger, pending_writes
from orderworks.imports.chunk_claims import ChunkWork
from orderworks.imports.chunk_plan import ChunkLimits, FileChunk, plan_chunks
from orderworks.imports.csv_records import splitter
from orderworks.imports.manifest import Manifest
from orderworks.imports.progress import ENDED, Summary, dry_run_summary, publish_progress
from orderworks.imports.spool import Spool
from orderworks.updates.stream import UpdateStream

PLAN_SECONDS = 10
"""Time that a plan has, from its last sign of life, before the sweep asks for it again."""

PLAN_ATTEMPTS = 3
"""Starts of a plan before the import is given up. Each may take minutes and ends for a reason of the
file's, so more would help no file."""

BLOCKS_PER_KEEPALIVE = 32
"""Blocks of a plan between two signs of life. Even records over several lines take 7 s for so many."""

UNLIMITED = ChunkLimits(sys.maxsize, sys.maxsize)
"""A file that is imported as a whole or not at all is one chunk, of which nothing is seen before all."""

STARTS_TTL = timedelta(days=7)
"""As long as a file stays in the spool by default."""


class ImportStep(NamedTuple):
    """How far an import is, and the chunks that have to be nudged again."""

    summary: Summary
    chunks_to_nudge: list[int]


@dataclass(frozen=True)
class Importer:
    """Plans and loads imports. One per worker process, made after the fork."""

    engine: sa.Engine
    spool: Spool
    stream: Redis
    cache: Redis
    settings: Settings

    @retry_transient
    def plan(self, import_id: str) -> list[int]:
        """Cut an accepted file into chunks; the numbers of those to load.

        An import that is planned already keeps its chunks; those not done are given again. None are
        while another worker is planning it.

        Raises:
            ImportFailed: the spool does not hold what was accepted, or too many plans of it failed or
                were killed; the ledger says so too.
            ImportNotFound: nothing with that id was accepted.
            DataMissing: this host does not see the data; another one may.
            Unavailable: the spool cannot be reached.
        """
        manifest = self.spool.manifest(import_id)
        if manifest is not None:
            with chunk_claims.plan_lock(self.engine, import_id) as connection:
                if connection is None:
                    return []
                if manifest.dry_run:
                    self._dry_run(connection, manifest)
                    return []
                self._record_plan(manifest)
        with self.engine.begin() as connection:
            return chunk_claims.pending_chunks(connection, import_id)

    def load_chunk(self, import_id: str, number: int) -> ImportStep | None:
        """Load a chunk and make what is cached of its customers disappear; how far the import is.

        None if there was nothing to do: the chunk is done, being worked on, or given up, or its import
        is paused or has ended.

        Raises:
            ImportFailed: it can never be loaded; it is quarantined with the reason.
            ImportNotFound: there is no such import.
            Unavailable: the spool cannot be reached; the chunk waits.
            sqlalchemy.exc.DBAPIError: PostgreSQL cannot be reached; the chunk waits.
        """
        try:
            touched = self._load_counted(import_id, number)
        except ImportFailed as error:
            self._quarantine(import_id, number, str(error))
            raise
        if touched is None:
            self._finish_if_running(import_id)
            return None
        # The fast path. With the cache away, the fold of the change log makes it certain.
        with suppress(redis.RedisError):
            invalidate_and_record(self.cache, touched)
        return self.finish(import_id)

    @retry_transient
    def finish(self, import_id: str) -> ImportStep:
        """Finish the import if no chunk is pending, and mirror how far it is.

        With Redis away an import stays unfinished, for the sweep: so nobody waits in vain for the
        word that it ended.

        Raises:
            ImportNotFound: there is no such import.
        """
        try:
            with self.engine.begin() as connection:
                again = ledger.advance(connection, import_id)
                summary = ledger.next_summary(connection, import_id)
                publish_progress(self.stream, summary)
        except redis.RedisError:
            with self.engine.begin() as connection:
                return ImportStep(ledger.import_summary(connection, import_id), [])
        if summary["parent"] and summary["status"] in ENDED:
            self._mirror_parent(summary["parent"])
        return ImportStep(summary, again)

    def _finish_if_running(self, import_id: str) -> None:
        """Do what a worker that was killed after its last chunk could not do any more."""
        with self.engine.begin() as connection:
            running = ledger.is_running(connection, import_id)
        if running:
            self.finish(import_id)

    def must_yield(self) -> bool:
        """Whether updates wait for so long that chunks should let them go first.

        Not while Redis is away: then no update is drained either.
        """
        with suppress(redis.RedisError):
            return self._updates.backlog().lag > self.settings.import_yield_lag
        return False

    @property
    def _updates(self) -> UpdateStream:
        return UpdateStream(self.stream, self.settings.update_shards, self.settings.stream_limit)

    def _mirror_parent(self, import_id: str) -> None:
        """Let it be seen that rejects of the parent are mended."""
        with suppress(redis.RedisError, ImportNotFound), self.engine.begin() as connection:
            publish_progress(self.stream, ledger.next_summary(connection, import_id))

    def _hold_nudge(self, import_id: str) -> None:
        """Say that a plan is at work, so that the sweep does not ask for a second one meanwhile."""
        with suppress(redis.RedisError):
            self.stream.set(import_nudge(import_id), b"1", ex=PLAN_SECONDS)

    def _record_plan(self, manifest: Manifest) -> None:
        """Make the ledger's entry, with the chunks or with the reason that there can be none."""
        try:
            self._count_plan_start(manifest.id)
            chunks = planned_chunks(self.spool, manifest, self.settings, self._hold_nudge)
            with self.engine.begin() as connection:
                entered = ledger.with_parent_version(connection, manifest)
                ledger.record_plan(connection, entered, chunks)
                publish_progress(self.stream, ledger.next_summary(connection, manifest.id))
        except ImportFailed as error:
            self._record_failure(manifest, error)
            raise
        except Exception as error:
            self._record_plan_error(manifest.id, error)
            raise
        # Only now: a plan that dies before is found by its manifest, and made again.
        self.spool.withdraw_manifest(manifest.id)

    def _dry_run(self, connection: sa.Connection, manifest: Manifest) -> None:
        """Say what the import would do. The ledger does not know of it, and the spool forgets it.

        A file that is to be kept stays there: it can be imported once its manifest is gone.
        """
        kept = manifest.keep
        try:
            self._count_plan_start(manifest.id)
            chunks = planned_chunks(self.spool, manifest, self.settings, self._hold_nudge)
            would = self._run_dry_run(connection, manifest, chunks)
            rows = sum(chunk.rows for chunk in chunks)
            publish_progress(self.stream, dry_run_summary(manifest, would, rows=rows))
        except ImportFailed as error:
            kept = False
            publish_progress(self.stream, dry_run_summary(manifest, None, str(error)))
        except Exception as error:
            self._record_plan_error(manifest.id, error)
            raise
        self.spool.withdraw_manifest(manifest.id)
        if kept:
            self.stream.delete(import_plan(manifest.id))
            kept_files.store(self.stream, manifest)
        else:
            self.spool.delete_data(manifest.id)

    def _run_dry_run(
        self, connection: sa.Connection, manifest: Manifest, chunks: list[FileChunk]
    ) -> dict[str, Any]:
        # As in `_bring`: never before the fork.
        from orderworks.imports.loading.dry_run import dry_run  # noqa: PLC0415 - as said

        depth = self.settings.report_depth
        with connection.begin() as transaction:
            would = dry_run(connection, self.spool, manifest, chunks, depth, self._hold_nudge)
            transaction.rollback()
        return would

    def _record_failure(self, manifest: Manifest, error: ImportFailed) -> None:
        with self.engine.begin() as connection:
            ledger.record_failure(connection, manifest, str(error))
            publish_progress(self.stream, ledger.next_summary(connection, manifest.id))
        self.spool.withdraw_manifest(manifest.id)

    def _count_plan_start(self, import_id: str) -> None:
        """Count a start, before the work: so one that is killed, or takes too long, counts too."""
        key = import_plan(import_id)
        with self.stream.pipeline() as pipe:
            pipe.hincrby(key, "starts", 1)
            pipe.hget(key, "error")
            pipe.expire(key, STARTS_TTL)
            starts, error, _kept = pipe.execute()
        if starts > PLAN_ATTEMPTS:
            reason = error.decode() if error else "it took too long, or its worker was lost"
            raise ImportFailed(f"planning was given up after {PLAN_ATTEMPTS} starts: {reason}")

    def _record_plan_error(self, import_id: str, error: Exception) -> None:
        """Remember the error; a start that only a server's absence ended does not count."""
        key = import_plan(import_id)
        with suppress(redis.RedisError):
            if _is_outage(error):
                self.stream.hincrby(key, "starts", -1)
            else:
                self.stream.hset(key, "error", _in_one_line(error))

    @retry_transient
    def _load_counted(self, import_id: str, number: int) -> list[int] | None:
        """Count a start and load; the customers touched, or None if it is not ours to do."""
        with chunk_claims.chunk_lock(self.engine, import_id, number) as connection:
            if connection is None or not self._count_start(connection, import_id, number):
                return None
            try:
                return self._load(connection, import_id, number)
            except ImportFailed:
                raise
            except Exception as error:
                self._record_chunk_error(import_id, number, error)
                raise

    def _count_start(self, connection: sa.Connection, import_id: str, number: int) -> bool:
        most = self._allowed_starts(import_id, number)
        with connection.begin():
            return chunk_claims.count_start(connection, import_id, number, most)

    def _allowed_starts(self, import_id: str, number: int) -> float:
        """Those that PostgreSQL's absence ended come on top; no limit while Redis cannot say."""
        try:
            forgiven = self.stream.hget(import_uncounted_starts(import_id), str(number))
        except redis.RedisError:
            return math.inf
        return self.settings.chunk_attempts + int(cast("bytes", forgiven or 0))

    def _load(self, connection: sa.Connection, import_id: str, number: int) -> list[int] | None:
        """Do the work in one transaction."""
        with connection.begin():
            work = chunk_claims.claim_chunk(connection, import_id, number)
            if work is None:
                return None
            # A constraint that is deferred would refuse the chunk as a whole, at its end.
            connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
            self._write_chunk(connection, work)
            return changelog.touched_customers(connection)

    def _write_chunk(self, connection: sa.Connection, work: ChunkWork) -> None:
        """Write the chunk's rows and what became of them."""
        # polars starts threads when it is imported, and a fork takes none along: so it is imported
        # here, in the pool's child, and never by the modules that the parent loads.
        from orderworks.imports.loading import load_chunk, strict  # noqa: PLC0415 - as said

        if work.is_recheck:
            applied = load_chunk.recheck_chunk(connection, self.spool, work)
            chunk_claims.finish_recheck(connection, work, applied)
            return
        renew = pending_writes.older_write_pending(connection, self._updates, self.spool, work)
        if work.strict:
            limits = chunk_limits(self.settings)
            outcome = strict.load_all_or_nothing(connection, self.spool, work, limits, renew=renew)
        else:
            outcome = load_chunk.load_chunk(connection, self.spool, work, renew=renew)
        chunk_claims.finish_chunk(connection, work, outcome)

    def _quarantine(self, import_id: str, number: int, error: str) -> None:
        with self.engine.begin() as connection:
            chunk_claims.quarantine_chunk(connection, import_id, number, error)
        self.finish(import_id)

    def _record_chunk_error(self, import_id: str, number: int, error: Exception) -> None:
        """Remember the error; a start that only a server's absence ended does not count."""
        try:
            with self.engine.begin() as connection:
                if _is_outage(error):
                    chunk_claims.uncount_start(connection, import_id, number)
                chunk_claims.record_error(connection, import_id, number, _in_one_line(error))
        except sa.exc.SQLAlchemyError:
            # PostgreSQL is away, which is why the start ended, whatever the error looks like.
            self._uncount_start_in_redis(import_id, number)

    def _uncount_start_in_redis(self, import_id: str, number: int) -> None:
        """Forgive a start where PostgreSQL, which counted it, cannot be told."""
        key = import_uncounted_starts(import_id)
        with suppress(redis.RedisError), self.stream.pipeline() as pipe:
            pipe.hincrby(key, str(number), 1)
            pipe.expire(key, STARTS_TTL)
            pipe.execute()


def planned_chunks(
    spool: Spool, manifest: Manifest, settings: Settings, keepalive: Callable[[str], None]
) -> list[FileChunk]:
    """The chunks of the data in the spool, all of which is read and compared with the manifest.

    `sign` is called now and then with the import's id, as a sign of life.

    Raises:
        ImportFailed: it is not the data that was accepted.
        DataMissing: it is not there.
    """
    digest = hashlib.sha256()

    def records() -> Iterator[bytes]:
        position = 0
        for number, block in enumerate(spool.stream(manifest.id)):
            if number % BLOCKS_PER_KEEPALIVE == 0:
                keepalive(manifest.id)
            digest.update(block)
            yield block[max(0, manifest.data_start - position) :]
            position += len(block)

    runs = splitter(manifest.file_format).runs(records())
    as_one = manifest.strict and not manifest.dry_run
    limits = UNLIMITED if as_one else chunk_limits(settings)
    chunks = list(plan_chunks(runs, limits, manifest.data_start, manifest.data_line))
    if digest.hexdigest() != manifest.sha256:
        raise ImportFailed(f"what the spool holds of import {manifest.id} is not what was accepted")
    return chunks


def chunk_limits(settings: Settings) -> ChunkLimits:
    """What a chunk may hold."""
    return ChunkLimits(settings.import_chunk_rows, settings.import_chunk_bytes)


def _is_outage(error: Exception) -> bool:
    """Whether only a server's absence is at fault."""
    return isinstance(error, Unavailable | redis.RedisError) or is_transient(error)


def _in_one_line(error: Exception) -> str:
    text = error_summary(error) if isinstance(error, sa.exc.DBAPIError) else str(error)
    return f"{type(error).__name__}: {text}".partition("\n")[0]
