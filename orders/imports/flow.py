"""An import's way through the workers: planned once, each chunk loaded once, finished once.

Every step may be started twice, by two workers at a time, or after one that was killed half way.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import redis
import sqlalchemy as sa

from orders import cache, changes
from orders.database import is_transient, refusal, retry_transient
from orders.errors import ImportFailed, Unavailable
from orders.imports import claims, ledger
from orders.imports.plan import Chunk, Limits, cut_chunks
from orders.imports.progress import Summary, mirror
from orders.imports.records import Splitter
from orders.imports.spool import Manifest, Spool
from orders.names import import_forgiven, import_nudge
from orders.redis import Redis
from orders.settings import Settings

PLAN_SECONDS = 30
"""Time that a plan has before the sweep asks for it again."""

FORGIVEN_KEPT = timedelta(days=7)
"""As long as a file stays in the spool by default."""


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

        An import that is planned already keeps its chunks; those not done are given again.

        Raises:
            ImportFailed: the spool does not hold what was accepted; the ledger says so too.
            ImportNotFound: nothing with that id was accepted.
            Unavailable: the spool cannot be reached.
        """
        self._hold_nudge(import_id)
        manifest = self.spool.manifest(import_id)
        if manifest is not None:
            self._enter(manifest)
            # Only now: a plan that dies before is found by its manifest, and made again.
            self.spool.withdraw_manifest(import_id)
        with self.engine.begin() as connection:
            return claims.pending_chunks(connection, import_id)

    def load_chunk(self, import_id: str, number: int) -> Summary | None:
        """Load a chunk and make what is cached of its customers disappear; how far the import is.

        None if there was nothing to do: the chunk is done, being worked on, or given up.

        Raises:
            ImportFailed: it can never be loaded; it is quarantined with the reason.
            ImportNotFound: there is no such import.
            Unavailable: the spool cannot be reached; the chunk waits.
            sqlalchemy.exc.DBAPIError: PostgreSQL cannot be reached; the chunk waits.
        """
        try:
            touched = self._work(import_id, number)
        except ImportFailed as error:
            self._quarantine(import_id, number, str(error))
            raise
        if touched is None:
            self.finish(import_id)
            return None
        # The fast path. With the cache away, the fold of the change log makes it certain.
        with suppress(redis.RedisError):
            cache.invalidate(self.cache, touched)
        return self.finish(import_id)

    @retry_transient
    def finish(self, import_id: str) -> Summary:
        """Finish the import if no chunk is pending, and mirror how far it is.

        With Redis away an import stays unfinished, for the sweep: so nobody waits in vain for the
        word that it ended.

        Raises:
            ImportNotFound: there is no such import.
        """
        try:
            with self.engine.begin() as connection:
                ledger.finish_import_if_complete(connection, import_id)
                summary = ledger.import_summary(connection, import_id)
                mirror(self.stream, summary)
                return summary
        except redis.RedisError:
            with self.engine.begin() as connection:
                return ledger.import_summary(connection, import_id)

    def _hold_nudge(self, import_id: str) -> None:
        """Say that a plan is at work, so that the sweep does not ask for a second one meanwhile."""
        with suppress(redis.RedisError):
            self.stream.set(import_nudge(import_id), b"1", ex=PLAN_SECONDS)

    def _enter(self, manifest: Manifest) -> None:
        """Make the ledger's entry, with the chunks or with the reason that there can be none."""
        try:
            chunks = planned_chunks(self.spool, manifest, self.settings)
        except ImportFailed as error:
            with self.engine.begin() as connection:
                ledger.record_failure(connection, manifest, str(error))
                mirror(self.stream, ledger.import_summary(connection, manifest.id))
            self.spool.withdraw_manifest(manifest.id)
            raise
        with self.engine.begin() as connection:
            ledger.record_plan(connection, manifest, chunks)
            mirror(self.stream, ledger.import_summary(connection, manifest.id))

    @retry_transient
    def _work(self, import_id: str, number: int) -> list[int] | None:
        """Count a start and load; the customers touched, or None if it is not ours to do."""
        with claims.reserved_chunk(self.engine, import_id, number) as connection:
            if connection is None or not self._start(connection, import_id, number):
                return None
            try:
                return self._load(connection, import_id, number)
            except ImportFailed:
                raise
            except Exception as error:
                self._note(import_id, number, error)
                raise

    def _start(self, connection: sa.Connection, import_id: str, number: int) -> bool:
        most = self._allowed_starts(import_id, number)
        with connection.begin():
            return claims.start_chunk(connection, import_id, number, most)

    def _allowed_starts(self, import_id: str, number: int) -> float:
        """Those that PostgreSQL's absence ended come on top; no limit while Redis cannot say."""
        try:
            forgiven = self.stream.hget(import_forgiven(import_id), str(number))
        except redis.RedisError:
            return math.inf
        return self.settings.chunk_attempts + int(cast("bytes", forgiven or 0))

    def _load(self, connection: sa.Connection, import_id: str, number: int) -> list[int] | None:
        """Do the work in one transaction."""
        with connection.begin():
            work = claims.claim_chunk(connection, import_id, number)
            if work is None:
                return None
            # polars starts threads when it is imported, and a fork takes none along: so it is
            # imported here, in the pool's child, and never by the modules that the parent loads.
            from orders.imports.chunk import load_work  # noqa: PLC0415 - as said

            counts = load_work(connection, self.spool, work)
            claims.finish_chunk(connection, import_id, number, counts)
            return changes.touched_customers(connection)

    def _quarantine(self, import_id: str, number: int, error: str) -> None:
        with self.engine.begin() as connection:
            claims.quarantine_chunk(connection, import_id, number, error)
        self.finish(import_id)

    def _note(self, import_id: str, number: int, error: Exception) -> None:
        """Remember the error; a start that only a server's absence ended does not count."""
        try:
            with self.engine.begin() as connection:
                if isinstance(error, Unavailable) or is_transient(error):
                    claims.forgive_start(connection, import_id, number)
                claims.note_error(connection, import_id, number, _in_one_line(error))
        except sa.exc.SQLAlchemyError:
            # PostgreSQL is away, which is why the start ended, whatever the error looks like.
            self._forgive_meanwhile(import_id, number)

    def _forgive_meanwhile(self, import_id: str, number: int) -> None:
        """Forgive a start where PostgreSQL, which counted it, cannot be told."""
        key = import_forgiven(import_id)
        with suppress(redis.RedisError), self.stream.pipeline() as pipe:
            pipe.hincrby(key, str(number), 1)
            pipe.expire(key, FORGIVEN_KEPT)
            pipe.execute()


def planned_chunks(spool: Spool, manifest: Manifest, settings: Settings) -> list[Chunk]:
    """The chunks of the data in the spool, all of which is read and compared with the manifest.

    Raises:
        ImportFailed: it is not the data that was accepted.
    """
    digest = hashlib.sha256()

    def records() -> Iterator[bytes]:
        position = 0
        for block in spool.stream(manifest.id):
            digest.update(block)
            yield block[max(0, manifest.data_start - position) :]
            position += len(block)

    runs = Splitter(manifest.delimiter).runs(records())
    limits = Limits(settings.import_chunk_rows, settings.import_chunk_bytes)
    chunks = list(cut_chunks(runs, limits, manifest.data_start, manifest.data_line))
    if digest.hexdigest() != manifest.sha256:
        raise ImportFailed(f"what the spool holds of import {manifest.id} is not what was accepted")
    return chunks


def _in_one_line(error: Exception) -> str:
    text = refusal(error) if isinstance(error, sa.exc.DBAPIError) else str(error)
    return f"{type(error).__name__}: {text}".partition("\n")[0]
