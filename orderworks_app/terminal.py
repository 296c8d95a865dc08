"""What commands print: tables and sentences for people, one JSON document for programs."""

import re
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# A pipe has no width, and should not get a table cut to that of a terminal.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

CONTROL_CHARACTERS = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
"""What a terminal would do instead of showing it: control characters, changes of direction."""


def escaped(text: str) -> str:
    """Text from outside as it may be printed: no markup, and nothing that would steer the terminal."""
    return escape(CONTROL_CHARACTERS.sub(lambda found: ascii(found[0])[1:-1], text))


def print_sentence(sentence: str) -> None:
    """Print a sentence; the terminal wraps it where it is, a pipe gets it whole."""
    console.print(sentence, soft_wrap=True)


def print_json(document: Any) -> None:  # noqa: ANN401 - whatever msgspec can encode
    """Print one JSON document and nothing else. Totals are strings, times are ISO 8601."""
    encoded = msgspec.json.encode(document)
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without a box; the columns in `right` are aligned to the right."""
    empty = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        empty.add_column(column, justify="right" if column in right else "left")
    return empty
