"""Output of commands: tables and sentences for people, one JSON document for programs."""

import re
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# A pipe has no width: a table in it must not be cut to that of a terminal.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

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
        empty.add_column(column, justify="right" if column in right else "left")
    return empty
