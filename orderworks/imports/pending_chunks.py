"""Chunks that wait to be loaded: those of an import, overtaken ones, and those without a message."""

from datetime import timedelta

import sqlalchemy as sa

from orderworks.core.errors import ImportNotFound
from orderworks.core.schema import import_chunks, imports

# Core has neither transaction numbers nor snapshots.
_UNSEEN = sa.text(
    "NOT pg_visible_in_snapshot(other.writer::text::xid8, import_chunks.snapshot::pg_snapshot)"
)


def list_pending(connection: sa.Connection, import_id: str) -> list[int]:
    """The numbers of the chunks of an import that are not done.

    Raises:
        ImportNotFound: the ledger has no such import.
    """
    if connection.scalar(sa.select(imports.c.id).where(imports.c.id == import_id)) is None:
        raise ImportNotFound(f"there is no import {import_id}")
    chunk = import_chunks.c
    query = sa.select(chunk.number).where(chunk.import_id == import_id, chunk.status == "pending")
    return list(connection.scalars(query.order_by(chunk.number)))


def reopen_overtaken(connection: sa.Connection, import_id: str) -> list[int]:
    """Make chunks pending again that left rows unchanged and may have been overtaken; their numbers.

    Such a chunk found rows equal to the table's and did not write them. If another chunk of the file,
    with ids in the same range, wrote rows that this one could not see yet, an earlier line may have
    replaced a row that a later line had found equal. A recheck of the chunk corrects that.
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


def abandoned_chunks(
    connection: sa.Connection, quiet: timedelta, limit: int
) -> list[tuple[str, int]]:
    """Pending chunks that no worker is loading, as import and number, for the sweep to nudge.

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
    abandoned = [(import_id, number) for import_id, number in connection.execute(query)]
    nudged = {import_id for import_id, _number in abandoned}
    connection.execute(
        sa.update(imports).where(imports.c.id.in_(nudged)).values(nudged_at=sa.func.now())
    )
    return abandoned
