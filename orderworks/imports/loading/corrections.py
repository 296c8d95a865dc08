"""Rejected rows that come back mended, as an import of their own.

A mended row takes the place that it has in the file it comes from: it has the parent's version, and so
never overwrites what is newer.
"""

from collections.abc import Sequence

import polars as pl
import sqlalchemy as sa

from orderworks.core.schema import import_rejects
from orderworks.imports.chunk_attempt import ChunkWork
from orderworks.imports.columns import PARENT_LINE, PARENT_LINE_COLUMN
from orderworks.imports.loading.copy import as_array
from orderworks.imports.loading.validate import reject

GUARDED_CELL = r"^'([=+\-@\t\r'])"
"""What `rejects` puts before a cell that a spreadsheet would run: a quote."""


def unguarded(cells: pl.DataFrame) -> pl.DataFrame:
    """The cells as they were before `rejects` made them harmless for a spreadsheet."""
    return cells.with_columns(pl.col("^field_.*$").str.replace(GUARDED_CELL, "$1"))


def match_parent_lines(
    connection: sa.Connection, work: ChunkWork, good: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose lines the parent rejected, with their old places; and the rejects of the others."""
    # Locked, so that of two chunks that bring the same line only one takes it.
    query = (
        sa.select(import_rejects.c.line)
        .where(
            import_rejects.c.import_id == work.parent,
            import_rejects.c.line == sa.any_(as_array(good[PARENT_LINE_COLUMN])),
            import_rejects.c.mended_by.is_(None),
        )
        .order_by(import_rejects.c.line)
        .with_for_update()
    )
    waiting = pl.Series(connection.scalars(query).all(), dtype=pl.Int64)
    is_known = (
        pl.col(PARENT_LINE_COLUMN).is_in(waiting.implode())
        & pl.col(PARENT_LINE_COLUMN).is_first_distinct()
    )
    reason = pl.format(
        "line {} of import {} does not wait to be mended", PARENT_LINE_COLUMN, pl.lit(work.parent)
    )
    unknown = reject(good.filter(~is_known), PARENT_LINE, "unknown_line", reason)
    brought_none = pl.col("version") - pl.col("line") == work.version
    version = (
        pl.when(brought_none).then(work.version + pl.col(PARENT_LINE_COLUMN)).otherwise("version")
    )
    return good.filter(is_known).with_columns(version.alias("version")), unknown


def with_sheet_columns(rejects: pl.DataFrame) -> pl.DataFrame:
    """The rejects, with the column that tells a row's place called as the sheet of rejects calls it."""
    place = pl.col("column") == PARENT_LINE_COLUMN
    reason = pl.col("reason").str.replace(PARENT_LINE_COLUMN, PARENT_LINE, literal=True)
    return rejects.with_columns(
        pl.when(place).then(pl.lit(PARENT_LINE)).otherwise("column").alias("column"),
        pl.when(place).then(reason).otherwise("reason").alias("reason"),
    )


def mark_corrected(
    connection: sa.Connection, work: ChunkWork, good: pl.DataFrame, rejects: Sequence[pl.DataFrame]
) -> None:
    """Close the parent's rejects whose rows were good this time."""
    if work.parent is None:
        return
    refused = pl.concat([pl.Series("line", [], pl.Int64), *(each["line"] for each in rejects)])
    lines = good.filter(~pl.col("line").is_in(refused.implode()))[PARENT_LINE_COLUMN]
    connection.execute(
        sa.update(import_rejects)
        .where(
            import_rejects.c.import_id == work.parent,
            import_rejects.c.line == sa.any_(as_array(lines)),
        )
        .values(mended_by=work.import_id)
    )


def reject_lines(connection: sa.Connection, import_id: str, lines: pl.Series) -> pl.Series:
    """Which of these lines of an import are rejected."""
    query = sa.select(import_rejects.c.line).where(
        import_rejects.c.import_id == import_id, import_rejects.c.line == sa.any_(as_array(lines))
    )
    return pl.Series(connection.scalars(query).all(), dtype=pl.Int64)
