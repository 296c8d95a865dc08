"""Retention: deletion of imported files, ledger rows of ended imports, and dead letters once expired."""

from datetime import UTC, datetime, timedelta

import msgspec
import sqlalchemy as sa

from orderworks.core.schema import (
    dead_updates,
    import_chunks,
    import_rejects,
    import_writers,
    imports,
)
from orderworks.core.settings import Settings
from orderworks.imports.spool import Spool


class PurgeResult(msgspec.Struct, frozen=True):
    """Numbers of deleted files, imports in the ledger, and dead letters."""

    files: int
    imports: int
    dead_updates: int


def purge_expired(engine: sa.Engine, spool: Spool, settings: Settings) -> PurgeResult:
    """Delete what is past its retention. Files and rows of imports that have not ended are kept."""
    now = datetime.now(UTC)
    oldest_file = now - timedelta(days=settings.spool_retention_days)
    oldest_entry = now - timedelta(days=settings.ledger_retention_days)
    return PurgeResult(
        files=_purge_files(engine, spool, oldest_file),
        imports=_purge_imports(engine, oldest_entry),
        dead_updates=_purge_dead_updates(engine, oldest_entry),
    )


def _purge_files(engine: sa.Engine, spool: Spool, before: datetime) -> int:
    """Delete files stored before this moment, also those of interrupted uploads; return their number."""
    # The ledger second: planning moves an import from the spool's list to the ledger.
    unplanned = spool.list_waiting()
    with engine.connect() as connection:
        not_ended = imports.c.status.in_(("running", "paused"))
        kept = {*connection.scalars(sa.select(imports.c.id).where(not_ended)), *unplanned}
    expired = [each for each in spool.list_stored_before(before) if each not in kept]
    for import_id in expired:
        spool.delete_data(import_id)
    return len(expired)


def _purge_imports(engine: sa.Engine, before: datetime) -> int:
    with engine.begin() as connection:
        expired = list(
            connection.scalars(sa.select(imports.c.id).where(imports.c.finished_at < before))
        )
        for table in (import_writers, import_rejects, import_chunks):
            connection.execute(sa.delete(table).where(table.c.import_id.in_(expired)))
        connection.execute(sa.delete(imports).where(imports.c.id.in_(expired)))
    return len(expired)


def _purge_dead_updates(engine: sa.Engine, before: datetime) -> int:
    with engine.begin() as connection:
        return connection.execute(
            sa.delete(dead_updates).where(dead_updates.c.died_at < before)
        ).rowcount
