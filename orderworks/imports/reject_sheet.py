"""What the writer of a sheet of rejects and the reader of the mended one must agree on.

A spreadsheet runs cells that begin like formulas, so the writer puts a quote before them and the
reader takes just that away again. (`loading.parents` does the same to a table of a chunk's cells.)
"""

import re
from collections.abc import Sequence

from orderworks.core.errors import InvalidFile

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
"""What a cell begins with that the writer puts a quote before: so that it takes away no quote of the
file's own, the quote too."""


def guard_formula(cell: str) -> str:
    """The cell as no spreadsheet takes it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def unguard_formula(cell: str) -> str:
    """The cell as it was before `guarded`."""
    bare = cell.removeprefix("'")
    return bare if bare.startswith(FORMULA_STARTS) else cell


def own_column(name: str, header: Sequence[str]) -> str:
    """What the writer calls a column of its own beside those of the file: never a name of theirs."""
    theirs = _outermost(name, header)
    return name if theirs is None else f"reject_{theirs}"


def line_column(name: str, header: Sequence[str]) -> str:
    """Which column of a mended sheet says what line of the first file a row is.

    Raises:
        InvalidFile: there is none; `name` names the file.
    """
    found = _outermost("line", header)
    if found is None:
        raise InvalidFile(
            f"{name}: has no column 'line', by which mended rows are told: mend what "
            "`orderworks rejects ID --format csv` writes, and keep its columns"
        )
    if header.count(found) > 1:
        raise InvalidFile(f"{name}: has more than one column '{found}'")
    return found


def _outermost(name: str, header: Sequence[str]) -> str | None:
    """Of the columns called so, with any number of `reject_` before, the one with most."""
    called_so = re.compile(f"(?:reject_)*{name}")
    return max((each for each in header if called_so.fullmatch(each)), key=len, default=None)
