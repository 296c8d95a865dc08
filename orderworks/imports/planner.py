"""Plans accepted imports: cuts their files into chunks, or makes their dry runs."""

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis
import sqlalchemy as sa
import structlog

from orderworks.core.database import error_summary, is_data_error, retry_transient
from orderworks.core.errors import ImportFailed
from orderworks.core.keys import import_nudge, import_plan
from orderworks.core.locks import touch, try_named_lock
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports import kept_files, ledger
from orderworks.imports.chunk_plan import ChunkLimits, FileChunk, chunk_limits, plan_chunks
from orderworks.imports.csv_records import splitter
from orderworks.imports.file_notes import RepeatedIds, note_missing_line_end
from orderworks.imports.finisher import log_finished
from orderworks.imports.keepalive import keep_alive
from orderworks.imports.manifest import Manifest
from orderworks.imports.pending_chunks import list_pending
from orderworks.imports.plan_attempt import plan_attempt
from orderworks.imports.progress import (
    Summary,
    dry_run_summary,
    publish_progress,
    publish_set_aside,
)
from orderworks.imports.spool import Spool, require_id

log = structlog.get_logger()

PLAN_SECONDS = 10
"""Time since the last sign of life of a plan after which the sweep nudges for another one."""

UNLIMITED = ChunkLimits(sys.maxsize, sys.maxsize)
"""An all-or-nothing import is a single chunk."""


@dataclass(frozen=True)
class Planner:
    """Plans imports, each by one worker at a time."""

    engine: sa.Engine
    spool: Spool
    stream: Redis
    settings: Settings

    @retry_transient
    def plan(self, import_id: str) -> list[int]:
        """Cut an accepted file into chunks; the numbers of those to load.

        An import that is planned already keeps its chunks; those not done are returned again. The list
        is empty while another worker is planning it, and for a dry run, which is made here. A worker
        that freezes loses the lock with its session, and what it does later has no effect.

        Raises:
            ImportFailed: the manifest or the data are not those of an accepted import, or too many plans
                of it failed or were killed; the ledger has the reason too, unless the manifest is set
                aside.
            ImportNotFound: nothing with that id was accepted.
            DataMissing: this host does not see the data; another one may.
            Unavailable: the spool cannot be reached.
        """
        with self.engine.connect() as connection:
            if not try_named_lock(connection, f"import {require_id(import_id)} plan"):
                return []
            spool = self.spool.kept_alive(
                keep_alive(partial(touch, connection), partial(self._hold_nudge, import_id))
            )
            manifest = self._read_manifest(spool, import_id)
            if manifest and manifest.dry_run:
                self._dry_run(connection, spool, manifest)
                return []
            if manifest:
                self._record_plan(connection, spool, manifest)
            return list_pending(connection, import_id)

    def _read_manifest(self, spool: Spool, import_id: str) -> Manifest | None:
        try:
            return spool.manifest(import_id)
        except ImportFailed as error:
            publish_set_aside(self.stream, import_id, str(error))
            raise

    def _record_plan(self, connection: sa.Connection, spool: Spool, manifest: Manifest) -> None:
        """Enter the import into the ledger: with its chunks, or with the reason why it has none."""
        began = time.monotonic()
        try:
            with plan_attempt(self.stream, manifest.id):
                chunks = planned_chunks(spool, manifest, self.settings)
                self._note_missing_line_end(spool, manifest, chunks)
                entry = ledger.with_parent_version(connection, manifest)
                ledger.record_plan(connection, entry, chunks)
                summary = self._publish(connection, manifest)
        except ImportFailed as error:
            self._record_failure(connection, manifest, str(error))
            raise
        log.info(
            "import_planned",
            import_id=manifest.id,
            rows=summary["rows"],
            chunks=summary["chunks"],
            ms=round(1000 * (time.monotonic() - began)),
        )
        if not chunks:
            log_finished(summary)

    def _record_failure(self, connection: sa.Connection, manifest: Manifest, error: str) -> None:
        """Enter the failure; where the ledger refuses it, set the manifest aside."""
        try:
            ledger.record_failure(connection, manifest, error)
        except sa.exc.DBAPIError as refused:
            if not is_data_error(refused):
                raise
            connection.rollback()
            reason = f"{error}; the ledger refuses it: {error_summary(refused)}"
            self.spool.set_aside(manifest.id, reason)
            publish_set_aside(self.stream, manifest.id, reason)
        else:
            log_finished(self._publish(connection, manifest))

    def _publish(self, connection: sa.Connection, manifest: Manifest) -> Summary:
        """Publish the import as it was entered into the ledger, and commit that; its summary."""
        summary = ledger.next_summary(connection, manifest.id)
        publish_progress(self.stream, summary)
        connection.commit()
        # Last: the plan of a worker that is killed before this is found by its manifest and repeated.
        self.spool.withdraw_manifest(manifest.id)
        return summary

    def _dry_run(self, connection: sa.Connection, spool: Spool, manifest: Manifest) -> None:
        """Make the dry run and publish its report. Nothing is recorded, and the file is deleted.

        A file that is to be kept stays in the spool: it can be imported once its manifest is gone.
        """
        keep_file = manifest.keep
        try:
            with plan_attempt(self.stream, manifest.id):
                chunks = planned_chunks(spool, manifest, self.settings)
                self._note_missing_line_end(spool, manifest, chunks)
                report, repeated = self._run_dry_run(connection, spool, manifest, chunks)
                rows = sum(chunk.rows for chunk in chunks)
                summary = dry_run_summary(manifest, report, rows=rows, repeated=repeated)
                publish_progress(self.stream, summary)
        except ImportFailed as error:
            keep_file = False
            publish_progress(self.stream, dry_run_summary(manifest, None, str(error)))
        spool.withdraw_manifest(manifest.id)
        if keep_file:
            self.stream.delete(import_plan(manifest.id))
            kept_files.store(self.stream, manifest)
        else:
            spool.delete_data(manifest.id)

    def _run_dry_run(
        self, connection: sa.Connection, spool: Spool, manifest: Manifest, chunks: list[FileChunk]
    ) -> tuple[dict[str, Any], RepeatedIds | None]:
        # polars is imported in the pool's child, never by its parent: see `ChunkLoader`.
        from orderworks.imports.loading.dry_run import dry_run  # noqa: PLC0415 - see above

        # The lock outlasts the savepoint, to which all else is rolled back.
        with connection.begin_nested() as attempt:
            result = dry_run(connection, spool, manifest, chunks, self.settings.report_depth)
            attempt.rollback()
        return result

    def _note_missing_line_end(
        self, spool: Spool, manifest: Manifest, chunks: Sequence[FileChunk]
    ) -> None:
        end = manifest.bytes
        if chunks and spool.read(manifest.id, end - 1, end) != b"\n":
            note_missing_line_end(self.stream, manifest.id)

    def _hold_nudge(self, import_id: str) -> None:
        """Keep the sweep from nudging for a second plan while this one is running."""
        with suppress(redis.RedisError):
            self.stream.set(import_nudge(import_id), b"1", ex=PLAN_SECONDS)


def planned_chunks(spool: Spool, manifest: Manifest, settings: Settings) -> list[FileChunk]:
    """The chunks of the data in the spool, all of which is read and compared with the manifest.

    Raises:
        ImportFailed: it is not the data that was accepted.
        DataMissing: it is not there.
    """
    digest = hashlib.sha256()

    def records() -> Iterator[bytes]:
        position = 0
        for block in spool.stream(manifest.id):
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
