"""The versions of cells, where a row does not give all its fields with the version of the row.

A column `NAME_version` has the version of each cell of the column `NAME`, and null where the row does
not give the field. Without it, a row gives a field if its cell is not null.
"""

import polars as pl
import sqlalchemy as sa

from orderworks.core.field_versions import FIELDS, NEVER
from orderworks.imports.loading.upsert import VERSION_SUFFIX
from orderworks.imports.loading.validate import CLEARED_SUFFIX


def of_cleared(rows: pl.DataFrame) -> pl.DataFrame:
    """Replace the columns `NAME_cleared` by the versions of cells: a null that is given has one."""
    names = [name for name in rows.columns if name + CLEARED_SUFFIX in rows.columns]
    given = (
        pl.when(pl.col(name).is_not_null() | pl.col(name + CLEARED_SUFFIX))
        .then("version")
        .alias(name + VERSION_SUFFIX)
        for name in names
    )
    return rows.with_columns(given).drop(name + CLEARED_SUFFIX for name in names)


def fill_blanks(table: sa.Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Fill the blank cells of a row from older rows with the same id, whose versions they keep.

    So it does not matter whether two rows of an id are in one chunk or in two, loaded in any order.
    """
    names = [
        name for name in FIELDS[table.name] if name in rows.columns and rows[name].null_count()
    ]
    if not names or not rows["id"].is_duplicated().any():
        return rows
    rows = rows.sort("id", "version", "line")
    filled = [
        value.gather(_newest_that_gives(rows, name)).over("id").alias(column)
        for name in names
        for value, column in (
            (pl.col(name), name),
            (_given_version(rows, name), name + VERSION_SUFFIX),
        )
    ]
    return rows.with_columns(filled)


def _newest_that_gives(rows: pl.DataFrame, name: str) -> pl.Expr:
    """The index, among rows of one id, of the last row up to each that gives the field; or null."""
    gives = _given_version(rows, name).is_not_null()
    return pl.when(gives).then(pl.int_range(pl.len())).forward_fill()


def _given_version(rows: pl.DataFrame, name: str) -> pl.Expr:
    if name + VERSION_SUFFIX in rows.columns:
        return pl.col(name + VERSION_SUFFIX)
    return pl.when(pl.col(name).is_not_null()).then("version")


def of_new_rows(table: sa.Table, rows: pl.DataFrame) -> pl.Expr | None:
    """`field_versions` of new rows, as the text of an array; None if all rows give all fields."""
    elements = [_element(rows, name) for name in FIELDS[table.name]]
    while elements and elements[-1] is None:
        elements.pop()
    if not elements:
        return None
    texts = [pl.lit("NULL") if each is None else each for each in elements]
    return pl.concat_str(pl.lit("{"), pl.concat_str(texts, separator=","), pl.lit("}"))


def _element(rows: pl.DataFrame, name: str) -> pl.Expr | None:
    """The version of a field in the text of an array; None if it is that of the row in all rows."""
    if name not in rows.columns:
        return pl.lit(str(NEVER))
    if name + VERSION_SUFFIX in rows.columns:
        return pl.col(name + VERSION_SUFFIX).cast(pl.String).fill_null(str(NEVER))
    if rows[name].null_count():
        return pl.when(pl.col(name).is_null()).then(pl.lit(str(NEVER))).otherwise(pl.lit("NULL"))
    return None


def without_versions(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows without the columns of versions of cells."""
    names = (name + VERSION_SUFFIX for name in rows.columns)
    return rows.drop(*names, strict=False)
