"""Output of commands: tables and sentences for people, one JSON document for programs."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

# A pipe has no width: a table in it must not be cut to that of a terminal.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

GAP = 2
"""Characters between two columns of a table."""

CONTROL_CHARACTERS = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
"""Characters that a terminal would execute, not show: control codes, changes of direction."""


def escaped(text: str) -> str:
    """Text from outside, safe to print: without markup or characters that control the terminal."""
    return escape(CONTROL_CHARACTERS.sub(lambda match: ascii(match[0])[1:-1], text))


def print_sentence(sentence: str) -> None:
    """Print a sentence; a terminal wraps it, a pipe gets it as one line."""
    console.print(sentence, soft_wrap=True)


def print_json(document: Any) -> None:  # noqa: ANN401 - any value that msgspec can encode
    """Print one JSON document and nothing else. Totals are strings, times are ISO 8601."""
    encoded = msgspec.json.encode(document)
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without a box; the columns in `right` are aligned to the right."""
    empty = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Numbers are neither wrapped nor cut; rich takes the width from the other columns.
        number = column in right
        empty.add_column(column, justify="right" if number else "left", no_wrap=number)
    return empty


class Column(NamedTuple):
    """A column of a table that fits its terminal.

    Attributes:
        name: its header.
        right: whether its cells are aligned to the right.
        least: characters to which its texts may be wrapped; 0: they are never wrapped.
    """

    name: str
    right: bool = False
    least: int = 0


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], optional: Sequence[str] = ()
) -> None:
    """Print rows as a table that fits the terminal; no id and no number is ever cut.

    If it is too wide, columns among `optional` are omitted: first those with no value but 0, then the
    others, in that order. If it is still too wide, every cell gets a line of its own.
    """
    omitted: list[str] = []
    order = _omission_order(columns, rows, optional)
    while (needed := _needed_width(columns, rows, omitted)) > console.width and order:
        omitted.append(order.pop(0))
    if needed > console.width:
        _print_stacked(columns, rows)
        return
    console.print(_table_without(columns, rows, omitted))
    if omitted:
        names = ", ".join(each.name for each in columns if each.name in omitted)
        print_sentence(f"[dim]Not shown, because the terminal is narrow: {names}.[/]")


def _omission_order(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], optional: Sequence[str]
) -> list[str]:
    values = {each.name: {row[place] for row in rows} for place, each in enumerate(columns)}
    return sorted(optional, key=lambda name: not values[name] <= {"", "0"})


def _needed_width(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], omitted: Sequence[str]
) -> int:
    """Return the width of the narrowest table without the omitted columns."""
    widths = [
        min(natural, each.least or natural)
        for place, each in enumerate(columns)
        if each.name not in omitted
        for natural in [max(map(_width, (each.name, *(row[place] for row in rows))))]
    ]
    return sum(widths) + GAP * (len(widths) - 1)


def _width(cell: str) -> int:
    return cell_len(Text.from_markup(cell).plain)


def _table_without(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], omitted: Sequence[str]
) -> Table:
    """Return the table without the omitted columns; texts are wrapped, the rest is as wide as it is."""
    lines = Table(box=None, pad_edge=False, header_style="bold")
    shown = [place for place, each in enumerate(columns) if each.name not in omitted]
    for column in (columns[place] for place in shown):
        lines.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=not column.least,
            overflow="fold",
        )
    for row in rows:
        lines.add_row(*(row[place] for place in shown))
    return lines


def _print_stacked(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(rows):
        if number:
            console.print()
        for line in _stacked(columns, row):
            print_sentence(line)


def _stacked(columns: Sequence[Column], row: Sequence[str]) -> Iterator[str]:
    longest = max(len(each.name) for each in columns)
    for each, cell in zip(columns, row, strict=True):
        label = f"{each.name}:".ljust(longest + GAP) if each.name else ""
        yield f"[bold]{label}[/]{cell}" if label else cell
