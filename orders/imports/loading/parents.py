"""Rejected rows that come back mended, as an import of their own.

A mended row takes the place that it has in the file it comes from: it has the parent's version, and so
never overwrites what is newer.
"""

from collections.abc import Sequence

import polars as pl
import sqlalchemy as sa

from orders.imports.claims import Work
from orders.imports.columns import EXTRAS
from orders.imports.columns import PARENT_LINE as TARGET
from orders.imports.loading.copying import as_array
from orders.imports.loading.validate import reject
from orders.imports.plan import Chunk
from orders.schema import import_rejects

PARENT_LINE = EXTRAS[TARGET].name

GUARDED = r"^'([=+\-@\t\r'])"
"""What `rejects` puts before a cell that a spreadsheet would run: a quote."""


def unguarded(cells: pl.DataFrame) -> pl.DataFrame:
    """The cells as they were before `rejects` made them harmless for a spreadsheet."""
    return cells.with_columns(pl.col("^field_.*$").str.replace(GUARDED, "$1"))


def place_in_parent(
    connection: sa.Connection, work: Work, good: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose lines the parent rejected, with their old places; and the rejects of the others."""
    query = sa.select(import_rejects.c.line).where(
        import_rejects.c.import_id == work.parent,
        import_rejects.c.line == sa.any_(as_array(good[PARENT_LINE])),
        import_rejects.c.mended_by.is_(None),
    )
    waiting = pl.Series(connection.scalars(query).all(), dtype=pl.Int64)
    is_known = (
        pl.col(PARENT_LINE).is_in(waiting.implode()) & pl.col(PARENT_LINE).is_first_distinct()
    )
    reason = pl.format(
        "line {} of import {} does not wait to be mended", PARENT_LINE, pl.lit(work.parent)
    )
    unknown = reject(good.filter(~is_known), TARGET, "unknown_line", reason)
    brought_none = pl.col("version") - pl.col("line") == work.version
    version = pl.when(brought_none).then(work.version + pl.col(PARENT_LINE)).otherwise("version")
    return good.filter(is_known).with_columns(version.alias("version")), unknown


def note_mended(
    connection: sa.Connection, work: Work, good: pl.DataFrame, rejects: Sequence[pl.DataFrame]
) -> None:
    """Close the parent's rejects whose rows were good this time."""
    if work.parent is None:
        return
    refused = pl.concat([pl.Series("line", [], pl.Int64), *(each["line"] for each in rejects)])
    lines = good.filter(~pl.col("line").is_in(refused.implode()))[PARENT_LINE]
    connection.execute(
        sa.update(import_rejects)
        .where(
            import_rejects.c.import_id == work.parent,
            import_rejects.c.line == sa.any_(as_array(lines)),
        )
        .values(mended_by=work.import_id)
    )


def reject_lines(connection: sa.Connection, import_id: str, chunk: Chunk) -> pl.Series:
    """The lines of a chunk that are rejected, and of what may follow it."""
    of_chunk = (import_rejects.c.import_id == import_id, import_rejects.c.line >= chunk.first_line)
    return pl.Series(
        connection.scalars(sa.select(import_rejects.c.line).where(*of_chunk)).all(), dtype=pl.Int64
    )
