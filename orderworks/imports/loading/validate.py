"""Separates a chunk's rows into those that can be stored and rejects, with the reason."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import polars as pl

from orderworks.imports.columns import Column, ColumnRule, Field
from orderworks.imports.loading.column_rules import (
    CellProblem,
    accepts,
    cleaned,
    is_storable_unchanged,
    problems,
    thousands_problem,
)
from orderworks.imports.loading.moment_versions import as_versions
from orderworks.imports.loading.text_cells import FAULT_SCHEMA, cleared_name, field_name

CLEARED_SUFFIX = "_cleared"
"""Of a column's name: the column that is true where the row gives the column as null."""

REJECT_SCHEMA = FAULT_SCHEMA
"""Line, column, code and reason."""

QUOTED_CHARACTERS = 40
"""The maximum that a reason quotes of a value."""


class Validated(NamedTuple):
    """The valid rows and the rejects of a chunk.

    Attributes:
        valid: `line`, and a column for each field: ids and versions as numbers, the others as text
            that PostgreSQL reads, null where the cell is empty. `version` is always there, and
            `NAME_cleared`, if a cell of the column is given as null.
        rejects: as `REJECT_SCHEMA`, one for each other row.
    """

    valid: pl.DataFrame
    rejects: pl.DataFrame


def no_decimal_commas(_field: Field) -> bool:
    """False: for rows of no file."""
    return False


def validate(
    cells: pl.DataFrame,
    fields: Sequence[Field],
    version: int,
    has_decimal_commas: Callable[[Field], bool] = no_decimal_commas,
) -> Validated:
    """Validate a chunk's cells. `fields` are in the order of the file; the first invalid one counts.

    A row without a version of its own gets `version` plus its line: so the last line of a file wins.
    `has_decimal_commas` returns whether the file has a decimal comma in that column of money. It is
    called only if a cell of the chunk has three decimals.
    """
    rows, rejects = _split_broken_records(cells)
    named = rows.select(
        "line",
        *(_cell(index).alias(column.name) for column, index in fields),
        *_cleared_cells(rows, fields),
    )
    plain, others = _split_plain(named, fields)
    valid, refused = _check_rows(others, fields, has_decimal_commas)
    storable = _blank_as_null(plain, fields)
    if valid.height:
        storable = pl.concat([storable, valid])
    return Validated(
        _typed(storable, fields, version), pl.concat([*rejects, *refused]).sort("line")
    )


def reject(rows: pl.DataFrame, column: str, code: str, reason: pl.Expr) -> pl.DataFrame:
    """Rejects of rows that have a `line`."""
    # A filtered frame may have empty parts between others: polars 2.1 panics when it formats a text from
    # such columns.
    return rows.rechunk().select(
        "line",
        pl.lit(column).alias("column"),
        pl.lit(code).alias("code"),
        reason.alias("reason"),
    )


def quoted(column: str, value: pl.Expr, reason: str) -> pl.Expr:
    """A reason such as: total: '12x' is not a number."""
    long = value.str.len_chars() > QUOTED_CHARACTERS
    short = pl.when(long).then(value.str.head(QUOTED_CHARACTERS) + "…").otherwise(value)
    return pl.format("{}: '{}' {}", pl.lit(column), short, pl.lit(reason))


def _cell(index: int) -> pl.Expr:
    return pl.col(field_name(index))


def _cleared_cells(rows: pl.DataFrame, fields: Sequence[Field]) -> list[pl.Expr]:
    return [
        pl.col(cleared_name(index)).fill_null(value=False).alias(column.name + CLEARED_SUFFIX)
        for column, index in fields
        if column.clearable and cleared_name(index) in rows.columns
    ]


def with_cleared_blanks(cells: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """The cells of CSV, with those given as null that are blank in a column that may be cleared."""
    return cells.with_columns(
        (cleaned(column, _cell(index)).is_null()).alias(cleared_name(index))
        for column, index in fields
        if column.clearable and cleared_name(index) not in cells.columns
    )


def _split_broken_records(cells: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The records that have cells, and the rejects of the others."""
    if cells["code"].null_count() == cells.height:
        return cells, [pl.DataFrame(schema=REJECT_SCHEMA)]
    broken = pl.col("code").is_not_null()
    return cells.filter(~broken), [cells.filter(broken).select(*REJECT_SCHEMA)]


def _split_plain(rows: pl.DataFrame, fields: Sequence[Field]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that pass the cheap check, nearly all in most files; and the others."""
    plain = pl.all_horizontal(
        is_storable_unchanged(column, pl.col(column.name)) for column, _index in fields
    )
    is_plain = rows.select(plain.alias("plain"))["plain"]
    if is_plain.all():
        return rows, rows.clear()
    return rows.filter(is_plain), rows.filter(~is_plain).rechunk()  # for its rejects: see `reject`


def _blank_as_null(rows: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """The rows with null for an empty text."""
    names = [column.name for column, _index in fields if (rows[column.name] == "").any()]
    filled = (pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in names)
    return rows.with_columns(filled)


def _check_rows(
    rows: pl.DataFrame, fields: Sequence[Field], has_decimal_commas: Callable[[Field], bool]
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The rows that are valid, their values cleaned, and the rejects of the others."""
    if not rows.height:
        return rows, []
    rows = rows.with_columns(
        cleaned(column, pl.col(column.name)).alias(column.name) for column, _index in fields
    )
    ambiguous = _ambiguous_columns(rows, fields, has_decimal_commas)
    rows = rows.with_columns(_first_fault(rows, fields, ambiguous).alias("fault"))
    valid = rows.filter(pl.col("fault").is_null()).drop("fault")
    faulty = rows.filter(pl.col("fault").is_not_null())
    return valid, [faulty.select("line", "fault").unnest("fault")] if faulty.height else []


def _ambiguous_columns(
    rows: pl.DataFrame, fields: Sequence[Field], has_decimal_commas: Callable[[Field], bool]
) -> set[str]:
    """The columns of money in which three decimals may be thousands."""
    return {
        field.column.name
        for field in fields
        if field.column.rule is ColumnRule.MONEY
        and rows.select(thousands_problem(pl.col(field.column.name)).condition.any()).item()
        and has_decimal_commas(field)
    }


def _first_fault(
    rows: pl.DataFrame, fields: Sequence[Field], ambiguous: Collection[str]
) -> pl.Expr:
    """Column, code and reason of the first value of a row that is not accepted; null if all are."""
    follow = rows.select(_follows(column, ambiguous) for column, _index in fields)
    # Problems are evaluated only in columns that have one: each has a few expressions to compile.
    faults = (
        pl.when(~follow[column.name]).then(_first_problem(column, ambiguous))
        for column, _index in fields
        if not follow[column.name].all()
    )
    return pl.coalesce(*faults, pl.lit(None))


def _follows(column: Column, ambiguous: Collection[str]) -> pl.Expr:
    value = pl.col(column.name)
    if column.name not in ambiguous:
        return accepts(column, value).alias(column.name)
    return (accepts(column, value) & ~thousands_problem(value).condition).alias(column.name)


def _first_problem(column: Column, ambiguous: Collection[str]) -> pl.Expr:
    """Column, code and reason of the first problem of a value that is not accepted."""
    value = pl.col(column.name)
    found = problems(column, value)
    if column.name in ambiguous:
        found.insert(0, thousands_problem(value))
    *first, last = found
    fault = _described(column, value, last)
    for problem in reversed(first):
        fault = pl.when(problem.condition).then(_described(column, value, problem)).otherwise(fault)
    return fault


def _described(column: Column, value: pl.Expr, problem: CellProblem) -> pl.Expr:
    reason = quoted(column.name, value, problem.reason)
    if problem.code == "missing":
        reason = pl.lit(f"{column.name} {problem.reason}")
    return pl.struct(
        pl.lit(column.name).alias("column"),
        pl.lit(problem.code).alias("code"),
        reason.alias("reason"),
    )


def _typed(rows: pl.DataFrame, fields: Sequence[Field], version: int) -> pl.DataFrame:
    """The columns to store, and every row with a version."""
    names = [column.name for column, _index in fields]
    cleared = [name + CLEARED_SUFFIX for name in names if name + CLEARED_SUFFIX in rows.columns]
    ids = [column.name for column, _index in fields if column.rule is ColumnRule.ID]
    own_version = as_versions(rows["version"]) if "version" in names else pl.lit(None, pl.Int64)
    return (
        rows.select("line", *names, *cleared)
        .with_columns(pl.col(ids).cast(pl.Int64))
        .with_columns(pl.coalesce(own_version, pl.lit(version) + pl.col("line")).alias("version"))
    )
