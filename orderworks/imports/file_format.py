"""How the text of an accepted file is to be read."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

FormatName = Literal["csv", "jsonl"]
"""What the spool holds: lines of fields with a header line before them, or an object a line.
Whatever else is handed over (Parquet, frames, packed files) is turned into one of them on its way."""


class FileFormat(NamedTuple):
    """The form of a file's records.

    Attributes:
        delimiter: one ASCII character; empty where the format has none.
        header: the names of the columns; of JSON Lines, the keys that its first records have.
    """

    format: FormatName
    delimiter: str
    header: Sequence[str]
