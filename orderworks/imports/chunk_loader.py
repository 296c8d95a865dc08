"""Loads the chunks of planned imports, in a pool's child."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import redis
import sqlalchemy as sa
import structlog

from orderworks import changelog
from orderworks.cache.invalidation import invalidate_and_record
from orderworks.core.database import is_lock_timeout, retry_unless_locked
from orderworks.core.errors import ImportFailed
from orderworks.core.lock_holders import MAY_LOCK_ROWS, holder_of_tables
from orderworks.core.locks import touch
from orderworks.core.redis import Redis
from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from orderworks.imports import pending_writes
from orderworks.imports.chunk_attempt import ChunkAttempt, ChunkAttempts
from orderworks.imports.chunk_plan import chunk_limits
from orderworks.imports.file_notes import note_mixed, note_repeated
from orderworks.imports.finisher import Finisher, ImportStep
from orderworks.imports.keepalive import keep_alive
from orderworks.imports.spool import Spool
from orderworks.updates.stream import UpdateStream

log = structlog.get_logger()


@dataclass(frozen=True)
class ChunkLoader:
    """Loads one chunk at a time, each in one transaction."""

    engine: sa.Engine
    spool: Spool
    stream: Redis
    cache: Redis
    settings: Settings

    def load(self, import_id: str, number: int) -> ImportStep | None:
        """Load a chunk and invalidate the cached reads of its customers; the import's progress.

        None if there was nothing to do: the chunk is done, being loaded or given up, or its import is
        paused or has ended. None also if another session holds a lock of one of its rows for longer than
        `DB_LOCK_TIMEOUT`: that is no start that counts, and the sweep has the chunk tried again.

        Raises:
            ImportFailed: it can never be loaded; it is quarantined with the reason.
            ImportNotFound: there is no such import.
            Unavailable: the spool cannot be reached; the chunk waits.
            sqlalchemy.exc.DBAPIError: PostgreSQL cannot be reached; the chunk waits.
        """
        finisher = Finisher(self.engine, self.stream)
        try:
            customer_ids = self._load(import_id, number)
        except ImportFailed:
            finisher.finish(import_id)
            raise
        except sa.exc.DBAPIError as error:
            if not is_lock_timeout(error):
                raise
            self._log_lock(import_id, number)
            return None
        if customer_ids is None:
            finisher.finish_if_running(import_id)
            return None
        # The fast path. Where the cache is unavailable, the fold of the change log invalidates.
        with suppress(redis.RedisError):
            invalidate_and_record(self.cache, customer_ids)
        return finisher.finish(import_id)

    def _log_lock(self, import_id: str, number: int) -> None:
        """Log that the chunk waits, and which session most likely holds the lock."""
        with self.engine.connect() as connection:
            holder = holder_of_tables(connection, [orders.name, customers.name], MAY_LOCK_ROWS)
        named = holder.fields() if holder else {}
        log.warning("chunk_waits_for_lock", import_id=import_id, chunk=number, **named)

    @retry_unless_locked
    def _load(self, import_id: str, number: int) -> list[int] | None:
        """Make one attempt; the ids of the customers it touched, or None if there was nothing to do."""
        began = time.monotonic()
        attempts = ChunkAttempts(self.engine, self.stream, self.settings.chunk_attempts)
        with attempts.start(import_id, number) as attempt:
            if attempt is None:
                return None
            # A deferred constraint would refuse the chunk as a whole, at the commit.
            attempt.connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
            rejected = self._write(attempt)
            customer_ids = changelog.touched_customers(attempt.connection)
        log.info(
            "chunk_loaded",
            import_id=import_id,
            chunk=number,
            rows=attempt.work.chunk.rows,
            rejected=rejected,
            ms=round(1000 * (time.monotonic() - began)),
        )
        return customer_ids

    def _write(self, attempt: ChunkAttempt) -> int:
        """Write the chunk's rows and record what became of them; the number of rejected ones."""
        # polars starts threads when it is imported, and a fork inherits none of them. So it is imported
        # here, in the pool's child, and never by a module that the parent process imports.
        from orderworks.imports.loading import load_chunk, strict  # noqa: PLC0415 - see above

        connection, work = attempt.connection, attempt.work
        spool = self.spool.kept_alive(keep_alive(partial(touch, connection)))
        if work.is_recheck:
            attempt.finish_recheck(load_chunk.recheck_chunk(connection, spool, work))
            return 0
        renew = pending_writes.older_write_pending(connection, self._updates, spool, work)
        if work.strict:
            limits = chunk_limits(self.settings)
            result = strict.load_all_or_nothing(connection, spool, work, limits, renew=renew)
        else:
            result = load_chunk.load_chunk(connection, spool, work, renew=renew)
        attempt.finish(result)
        if result.repeated:
            note_repeated(self.stream, work.import_id, work.chunk.number, result.repeated)
        if result.mixed:
            log.warning("import_mixes_versions", import_id=work.import_id, **result.mixed._asdict())
            note_mixed(self.stream, work.import_id, work.chunk.number, result.mixed)
        return result.counts["rejected"]

    @property
    def _updates(self) -> UpdateStream:
        return UpdateStream(self.stream, self.settings.update_shards, self.settings.stream_limit)
