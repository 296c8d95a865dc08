"""The generated orders again, as other files: halves, parts, changed, spoilt."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from bench.stack import BenchStack

BAD_ROW_EVERY = 100
"""One row in so many is bad: one percent."""

CsvFields = list[str]

BREAKERS: tuple[Callable[[CsvFields], CsvFields], ...] = (
    lambda row: ["0", *row[1:]],
    lambda row: [row[0], "", *row[2:]],
    lambda row: [row[0], "999999999999", *row[2:]],
    lambda row: [*row[:2], "12x", *row[3:]],
    lambda row: [*row[:2], "-1", *row[3:]],
    lambda row: [*row[:2], "NaN", *row[3:]],
    lambda row: [*row[:2], "1.234", *row[3:]],
    lambda row: [*row[:3], "s" * 65, *row[4:]],
    lambda row: [*row[:4], "2026-02-30"],
    lambda row: row[:4],
)
"""What may be wrong with id, customer_id, total, status, created_at: each has its code."""


def halves(stack: BenchStack) -> list[Path]:
    """Two files with half of the orders each."""
    half = len(stack.sample.orders) // 2
    parts = (stack.sample.orders.head(half), stack.sample.orders.tail(-half))
    return [
        _written(part, stack.folder / f"half-{number}.csv") for number, part in enumerate(parts, 1)
    ]


def first(stack: BenchStack, count: int) -> Path:
    """The first so many orders."""
    return _written(stack.sample.orders.head(count), stack.folder / f"first-{count}.csv")


def part(stack: BenchStack, start: int, count: int) -> Path:
    """So many orders, from one on."""
    return _written(stack.sample.orders.slice(start, count), stack.folder / "part.csv")


def changed(stack: BenchStack) -> Path:
    """All orders, each with another total."""
    raised = (pl.col("total") + pl.lit("0.01").cast(pl.Decimal(14, 2))).cast(pl.Decimal(14, 2))
    return _written(stack.sample.orders.with_columns(raised), stack.folder / "changed.csv")


def with_bad_rows(stack: BenchStack) -> Path:
    """All orders, of which one in a hundred is bad, in ten ways by turns."""
    file = stack.folder / "spoilt.csv"
    with (
        stack.sample.orders_file.open(encoding="utf-8") as good,
        file.open("w", encoding="utf-8") as bad,
    ):
        bad.write(next(good))
        for number, line in enumerate(good, 1):
            bad.write(break_row(line, number) if number % BAD_ROW_EVERY == 0 else line)
    return file


def break_row(line: str, number: int) -> str:
    """The line with a mistake in it. No generated field holds a comma or a quote."""
    mistake = BREAKERS[number // BAD_ROW_EVERY % len(BREAKERS)]
    return ",".join(mistake(line.rstrip("\n").split(","))) + "\n"


def _written(orders: pl.DataFrame, file: Path) -> Path:
    orders.write_csv(file)
    return file
