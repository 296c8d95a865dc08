"""The format of a sheet of rejects, for its writer and for the reader of the corrected sheet.

A spreadsheet runs cells that begin like formulas, so the writer puts a quote before them and the reader
removes just that quote. (`loading.corrections` does the same to a table of a chunk's cells.)
"""

import re
from collections.abc import Sequence

from orderworks.core.errors import InvalidFile

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
"""The first characters of cells that the writer puts a quote before. The quote is one of them, so that
the reader removes no quote of the file's own."""


def guard_formula(cell: str) -> str:
    """The cell, with a quote before it if a spreadsheet could take it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def unguard_formula(cell: str) -> str:
    """The cell as it was before `guard_formula`."""
    bare = cell.removeprefix("'")
    return bare if bare.startswith(FORMULA_STARTS) else cell


def own_column(name: str, header: Sequence[str]) -> str:
    """The name of a column that the writer adds; never the name of a column of the file."""
    column = _outermost(name, header)
    return name if column is None else f"reject_{column}"


def line_column(name: str, header: Sequence[str]) -> str:
    """The column of a corrected sheet that has the line of a row in the parent's file.

    Raises:
        InvalidFile: it is missing; `name` names the file.
    """
    column = _outermost("line", header)
    if column is None:
        raise InvalidFile(
            f"{name}: has no column 'line', which identifies corrected rows: correct the file that "
            "`orderworks rejects ID --format csv` writes, and keep its columns"
        )
    if header.count(column) > 1:
        raise InvalidFile(f"{name}: has more than one column '{column}'")
    return column


def _outermost(name: str, header: Sequence[str]) -> str | None:
    """The column of this name that has the most prefixes `reject_`."""
    prefixed = re.compile(f"(?:reject_)*{name}")
    return max((each for each in header if prefixed.fullmatch(each)), key=len, default=None)
