"""The format of an accepted file."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

FormatName = Literal["csv", "jsonl"]
"""The formats in the spool: lines of fields after a header line, or an object a line. Producers convert
all others (Parquet, frames, compressed files) to one of them."""


class FileFormat(NamedTuple):
    """The format of a file's records.

    Attributes:
        delimiter: one ASCII character; empty where the format has none.
        header: the names of the columns; in JSON Lines, the keys of the first records.
    """

    format: FormatName
    delimiter: str
    header: Sequence[str]
