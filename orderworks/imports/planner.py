"""Plans accepted imports: cuts their files into chunks, or makes their dry runs."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
import sqlalchemy as sa
import structlog

from orderworks.core.database import retry_transient
from orderworks.core.errors import ImportFailed
from orderworks.core.keys import import_nudge, import_plan
from orderworks.core.locks import session_lock
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports import kept_files, ledger
from orderworks.imports.chunk_plan import ChunkLimits, FileChunk, chunk_limits, plan_chunks
from orderworks.imports.csv_records import splitter
from orderworks.imports.finisher import log_finished
from orderworks.imports.manifest import Manifest
from orderworks.imports.pending_chunks import list_pending
from orderworks.imports.plan_attempt import plan_attempt
from orderworks.imports.progress import dry_run_summary, publish_progress
from orderworks.imports.spool import Spool

log = structlog.get_logger()

PLAN_SECONDS = 10
"""Time since the last keepalive of a plan after which the sweep nudges for another one."""

BLOCKS_PER_KEEPALIVE = 32
"""Blocks of a plan between two keepalives. This number takes 7 s even with records of several lines."""

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
        is empty while another worker is planning it, and for a dry run, which is made here.

        Raises:
            ImportFailed: the spool does not hold what was accepted, or too many plans of it failed or
                were killed; the ledger has the reason too.
            ImportNotFound: nothing with that id was accepted.
            DataMissing: this host does not see the data; another one may.
            Unavailable: the spool cannot be reached.
        """
        manifest = self.spool.manifest(import_id)
        if manifest is not None:
            with session_lock(self.engine, f"import {import_id} plan") as connection:
                if connection is None:
                    return []
                if manifest.dry_run:
                    self._dry_run(connection, manifest)
                    return []
                self._record_plan(manifest)
        with self.engine.begin() as connection:
            return list_pending(connection, import_id)

    def _record_plan(self, manifest: Manifest) -> None:
        """Enter the import into the ledger: with its chunks, or with the reason why it has none."""
        began = time.monotonic()
        try:
            with plan_attempt(self.stream, manifest.id):
                chunks = planned_chunks(self.spool, manifest, self.settings, self._hold_nudge)
                with self.engine.begin() as connection:
                    entry = ledger.with_parent_version(connection, manifest)
                    ledger.record_plan(connection, entry, chunks)
                    summary = ledger.next_summary(connection, manifest.id)
                    publish_progress(self.stream, summary)
        except ImportFailed as error:
            self._record_failure(manifest, str(error))
            raise
        # Last: the plan of a worker that is killed before this is found by its manifest and repeated.
        self.spool.withdraw_manifest(manifest.id)
        log.info(
            "import_planned",
            import_id=manifest.id,
            rows=summary["rows"],
            chunks=summary["chunks"],
            ms=round(1000 * (time.monotonic() - began)),
        )
        if not chunks:
            log_finished(summary)

    def _record_failure(self, manifest: Manifest, error: str) -> None:
        with self.engine.begin() as connection:
            ledger.record_failure(connection, manifest, error)
            summary = ledger.next_summary(connection, manifest.id)
            publish_progress(self.stream, summary)
        self.spool.withdraw_manifest(manifest.id)
        log_finished(summary)

    def _dry_run(self, connection: sa.Connection, manifest: Manifest) -> None:
        """Make the dry run and publish its report. Nothing is recorded, and the file is deleted.

        A file that is to be kept stays in the spool: it can be imported once its manifest is gone.
        """
        keep_file = manifest.keep
        try:
            with plan_attempt(self.stream, manifest.id):
                chunks = planned_chunks(self.spool, manifest, self.settings, self._hold_nudge)
                report = self._run_dry_run(connection, manifest, chunks)
                rows = sum(chunk.rows for chunk in chunks)
                publish_progress(self.stream, dry_run_summary(manifest, report, rows=rows))
        except ImportFailed as error:
            keep_file = False
            publish_progress(self.stream, dry_run_summary(manifest, None, str(error)))
        self.spool.withdraw_manifest(manifest.id)
        if keep_file:
            self.stream.delete(import_plan(manifest.id))
            kept_files.store(self.stream, manifest)
        else:
            self.spool.delete_data(manifest.id)

    def _run_dry_run(
        self, connection: sa.Connection, manifest: Manifest, chunks: list[FileChunk]
    ) -> dict[str, Any]:
        # polars is imported in the pool's child, never by its parent: see `ChunkLoader`.
        from orderworks.imports.loading.dry_run import dry_run  # noqa: PLC0415 - see above

        depth = self.settings.report_depth
        with connection.begin() as transaction:
            report = dry_run(connection, self.spool, manifest, chunks, depth, self._hold_nudge)
            transaction.rollback()
        return report

    def _hold_nudge(self, import_id: str) -> None:
        """Keep the sweep from nudging for a second plan while this one is running."""
        with suppress(redis.RedisError):
            self.stream.set(import_nudge(import_id), b"1", ex=PLAN_SECONDS)


def planned_chunks(
    spool: Spool, manifest: Manifest, settings: Settings, keepalive: Callable[[str], None]
) -> list[FileChunk]:
    """The chunks of the data in the spool, all of which is read and compared with the manifest.

    `keepalive` is called periodically with the import's id.

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
