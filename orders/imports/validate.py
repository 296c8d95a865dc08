"""Parts a chunk's rows into those that can be stored and those that are refused, with the reason.

Loads polars: imported in a worker's pool child only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from orders.imports.columns import Column, Field, Rule
from orders.imports.rules import Problem, accepts, cleaned, problems

REJECT_SCHEMA = {
    "line": pl.Int64,
    "column": pl.String,
    "code": pl.String,
    "reason": pl.String,
}

QUOTED_CHARACTERS = 40
"""Of a value at fault, what a reason quotes at the most."""


class Validated(NamedTuple):
    """What became of a chunk's rows.

    Attributes:
        good: `line`, and a column for each field: ids and versions as numbers, the others as text
            that PostgreSQL reads, null where the cell is empty. `version` is always there.
        rejects: as `REJECT_SCHEMA`: one for each row refused.
    """

    good: pl.DataFrame
    rejects: pl.DataFrame


def validate(table: pl.DataFrame, fields: Sequence[Field], width: int, version: int) -> Validated:
    """Judge a parsed table. `fields` are in the order of the file; the first one at fault counts.

    A row that brings no version gets `version` plus its line: so the last line of a file wins.
    """
    whole, rejects = _refuse_broken_records(table, width)
    for column, place in fields:
        cell = pl.col(f"field_{place}")
        whole = whole.with_columns(cleaned(column, cell).alias(column.name))
    good = whole.filter(_accepted(fields))
    if good.height < whole.height:
        bad = whole.filter(~_accepted(fields))
        rejects.append(_refuse_values(bad, fields))
    return Validated(_typed(good, fields, version), pl.concat(rejects).sort("line"))


def reject(rows: pl.DataFrame, column: str, code: str, reason: pl.Expr) -> pl.DataFrame:
    """Rejects of rows that have a `line`."""
    return rows.select(
        "line",
        pl.lit(column).alias("column"),
        pl.lit(code).alias("code"),
        reason.str.replace_all("\0", "␀", literal=True).alias("reason"),
    )


def quoted(column: str, value: pl.Expr, reason: str) -> pl.Expr:
    """A reason such as: total: '12x' is not a number."""
    long = value.str.len_chars() > QUOTED_CHARACTERS
    short = pl.when(long).then(value.str.head(QUOTED_CHARACTERS) + "…").otherwise(value)
    return pl.format("{}: '{}' {}", pl.lit(column), short, pl.lit(reason))


def _refuse_broken_records(
    table: pl.DataFrame, width: int
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The records that have a field for every column, and the rejects of the others."""
    unclosed = pl.col("unclosed")
    narrow = ~unclosed & pl.col(f"field_{width - 1}").is_null()
    wide = ~unclosed & pl.col(f"field_{width}").is_not_null()
    few, many = f"fewer than {width} fields", f"more than {width} fields"
    kinds = (
        (unclosed, "unclosed_quote", "a quote opens on this line and nothing closes it"),
        (narrow, "wrong_width", f"the row has {few}"),
        (wide, "wrong_width", f"the row has {many}"),
    )
    rejects = [
        reject(table.filter(found), "", code, pl.lit(reason)) for found, code, reason in kinds
    ]
    return table.filter(~(unclosed | narrow | wide)), rejects


def _accepted(fields: Sequence[Field]) -> pl.Expr:
    return pl.all_horizontal(accepts(column, pl.col(column.name)) for column, _place in fields)


def _refuse_values(rows: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """The rejects of rows of which each has a value that is not accepted."""
    rejects = []
    for column, _place in fields:
        value = pl.col(column.name)
        at_fault = rows.filter(~accepts(column, value))
        rows = rows.filter(accepts(column, value))
        for problem in problems(column, value):
            rejects.append(_refuse_problem(at_fault.filter(problem.found), column, problem))
            at_fault = at_fault.filter(~problem.found)
    return pl.concat(rejects)


def _refuse_problem(rows: pl.DataFrame, column: Column, problem: Problem) -> pl.DataFrame:
    if problem.code == "missing":
        return reject(rows, column.name, problem.code, pl.lit(f"{column.name} {problem.reason}"))
    reason = quoted(column.name, pl.col(column.name), problem.reason)
    return reject(rows, column.name, problem.code, reason)


def _typed(rows: pl.DataFrame, fields: Sequence[Field], version: int) -> pl.DataFrame:
    """The columns to store, and every row with a version."""
    names = [column.name for column, _place in fields]
    whole = [column.name for column, _place in fields if column.rule in (Rule.ID, Rule.VERSION)]
    own = pl.col("version") if "version" in names else pl.lit(None, pl.Int64)
    return (
        rows.select("line", *names)
        .with_columns(pl.col(whole).cast(pl.Int64))
        .with_columns(pl.coalesce(own, pl.lit(version) + pl.col("line")).alias("version"))
    )
