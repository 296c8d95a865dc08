"""The search for decimal commas in a column of a file: with them `12.500` may be twelve thousand."""

from typing import NamedTuple

import polars as pl

from orderworks.imports.chunk_attempt import ChunkWork
from orderworks.imports.chunk_plan import ChunkLimits, FileChunk
from orderworks.imports.columns import Field
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.column_rules import DECIMAL_COMMA
from orderworks.imports.loading.file_parts import file_parts
from orderworks.imports.loading.parse import parse
from orderworks.imports.loading.text_cells import field_name
from orderworks.imports.spool import Spool

SEARCHED_BYTES = 1 << 30
"""Bytes of the file that are searched: 20 s, which a chunk has in addition to its loading."""

PART = ChunkLimits(50_000, 4 << 20)

KNOWN_COLUMNS = 64
"""Columns whose answer a process keeps."""


class FileColumn(NamedTuple):
    """A column of a file in the spool."""

    import_id: str
    size: int
    file_format: FileFormat
    field: Field


_known: dict[FileColumn, bool] = {}


def has_decimal_commas(spool: Spool, work: ChunkWork, field: Field) -> bool:
    """Return whether a cell of the column has a decimal comma, anywhere in the file.

    All of the file is read, whichever chunk asks: the answer must not depend on where it was cut. It is
    kept for the next chunk.
    """
    file_format = work.file_format._replace(header=tuple(work.header))
    column = FileColumn(work.import_id, work.bytes, file_format, field)
    if column not in _known:
        if len(_known) >= KNOWN_COLUMNS:
            _known.clear()
        _known[column] = _search(spool, column)
    return _known[column]


def _search(spool: Spool, column: FileColumn) -> bool:
    # The header is searched too: it is no number.
    start = FileChunk(0, 0, min(column.size, SEARCHED_BYTES), 1, 0)
    parts = file_parts(spool, column.import_id, column.file_format, start, PART)
    return any(_found_in(spool, column, part) for part in parts)


def _found_in(spool: Spool, column: FileColumn, part: FileChunk) -> bool:
    data = spool.read(column.import_id, part.start_byte, part.end_byte)
    cells = parse(data, part.first_line, column.file_format, [column.field]).cells
    found = pl.col(field_name(column.field.column_index)).str.contains(DECIMAL_COMMA).any()
    return bool(cells.select(found).item())
