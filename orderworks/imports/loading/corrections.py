"""Corrected rejects of a parent, which are imported as an import of their own.

A corrected row is versioned by its line in the parent's file and the parent's version, and so never
overwrites newer data.
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
"""A cell with the quote that `rejects` puts before cells that a spreadsheet would run."""


def unguarded(cells: pl.DataFrame) -> pl.DataFrame:
    """The cells without the quotes that `rejects` put before them."""
    return cells.with_columns(pl.col("^field_.*$").str.replace(GUARDED_CELL, "$1"))


def match_parent_lines(
    connection: sa.Connection, work: ChunkWork, valid: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose lines the parent rejected, with their versions there; and rejects of the others."""
    # Locked, so that of two chunks with the same line only one corrects it.
    query = (
        sa.select(import_rejects.c.line)
        .where(
            import_rejects.c.import_id == work.parent,
            import_rejects.c.line == sa.any_(as_array(valid[PARENT_LINE_COLUMN])),
            import_rejects.c.mended_by.is_(None),
        )
        .order_by(import_rejects.c.line)
        .with_for_update()
    )
    uncorrected = pl.Series(connection.scalars(query).all(), dtype=pl.Int64)
    is_known = (
        pl.col(PARENT_LINE_COLUMN).is_in(uncorrected.implode())
        & pl.col(PARENT_LINE_COLUMN).is_first_distinct()
    )
    reason = pl.format(
        "line {} of import {} is not an uncorrected reject", PARENT_LINE_COLUMN, pl.lit(work.parent)
    )
    unknown = reject(valid.filter(~is_known), PARENT_LINE, "unknown_line", reason)
    has_no_own = pl.col("version") - pl.col("line") == work.version
    version = (
        pl.when(has_no_own).then(work.version + pl.col(PARENT_LINE_COLUMN)).otherwise("version")
    )
    return valid.filter(is_known).with_columns(version.alias("version")), unknown


def with_sheet_columns(rejects: pl.DataFrame) -> pl.DataFrame:
    """The rejects, with the parent's line named as in the sheet of rejects."""
    is_parent_line = pl.col("column") == PARENT_LINE_COLUMN
    reason = pl.col("reason").str.replace(PARENT_LINE_COLUMN, PARENT_LINE, literal=True)
    return rejects.with_columns(
        pl.when(is_parent_line).then(pl.lit(PARENT_LINE)).otherwise("column").alias("column"),
        pl.when(is_parent_line).then(reason).otherwise("reason").alias("reason"),
    )


def mark_corrected(
    connection: sa.Connection, work: ChunkWork, valid: pl.DataFrame, rejects: Sequence[pl.DataFrame]
) -> None:
    """Mark the parent's rejects as corrected whose rows were written now."""
    if work.parent is None:
        return
    refused = pl.concat([pl.Series("line", [], pl.Int64), *(each["line"] for each in rejects)])
    lines = valid.filter(~pl.col("line").is_in(refused.implode()))[PARENT_LINE_COLUMN]
    connection.execute(
        sa.update(import_rejects)
        .where(
            import_rejects.c.import_id == work.parent,
            import_rejects.c.line == sa.any_(as_array(lines)),
        )
        .values(mended_by=work.import_id)
    )


def reject_lines(connection: sa.Connection, import_id: str, lines: pl.Series) -> pl.Series:
    """Those of the lines that are rejects of the import."""
    query = sa.select(import_rejects.c.line).where(
        import_rejects.c.import_id == import_id, import_rejects.c.line == sa.any_(as_array(lines))
    )
    return pl.Series(connection.scalars(query).all(), dtype=pl.Int64)
