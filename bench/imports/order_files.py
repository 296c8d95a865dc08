"""Files made of the generated orders: halves, parts, with changed totals, with bad rows."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from bench.stack import BenchStack

BAD_ROW_EVERY = 100
"""One row of this number is bad: one percent."""

CsvFields = list[str]

BREAKING_CHANGES: tuple[Callable[[CsvFields], CsvFields], ...] = (
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
"""Changes that make id, customer_id, total, status or created_at invalid, each with its own code."""


def halves(stack: BenchStack) -> list[Path]:
    """Write two files with half of the orders each."""
    half = len(stack.sample.orders) // 2
    parts = (stack.sample.orders.head(half), stack.sample.orders.tail(-half))
    return [
        _written(part, stack.folder / f"half-{number}.csv") for number, part in enumerate(parts, 1)
    ]


def first(stack: BenchStack, count: int) -> Path:
    """Write a file with the first `count` orders."""
    return _written(stack.sample.orders.head(count), stack.folder / f"first-{count}.csv")


def part(stack: BenchStack, start: int, count: int) -> Path:
    """Write a file with `count` orders, from the number `start` on."""
    return _written(stack.sample.orders.slice(start, count), stack.folder / "part.csv")


def changed(stack: BenchStack) -> Path:
    """Write a file with all orders, each with a changed total."""
    raised = (pl.col("total") + pl.lit("0.01").cast(pl.Decimal(14, 2))).cast(pl.Decimal(14, 2))
    return _written(stack.sample.orders.with_columns(raised), stack.folder / "changed.csv")


def with_bad_rows(stack: BenchStack) -> Path:
    """Write a file with all orders, of which one in a hundred is bad, alternately in ten ways."""
    file = stack.folder / "bad-rows.csv"
    with (
        stack.sample.orders_file.open(encoding="utf-8") as good,
        file.open("w", encoding="utf-8") as bad,
    ):
        bad.write(next(good))
        for number, line in enumerate(good, 1):
            bad.write(break_row(line, number) if number % BAD_ROW_EVERY == 0 else line)
    return file


def break_row(line: str, number: int) -> str:
    """Return the line with one invalid field. No generated field has a comma or a quote."""
    change = BREAKING_CHANGES[number // BAD_ROW_EVERY % len(BREAKING_CHANGES)]
    return ",".join(change(line.rstrip("\n").split(","))) + "\n"


def _written(orders: pl.DataFrame, file: Path) -> Path:
    orders.write_csv(file)
    return file
