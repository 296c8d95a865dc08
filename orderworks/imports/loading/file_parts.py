"""Parts of a file in the spool, cut at ends of records, to be read one at a time."""

from collections.abc import Iterator

from orderworks.imports.chunk_plan import ChunkLimits, FileChunk, plan_chunks
from orderworks.imports.csv_records import splitter
from orderworks.imports.file_format import FileFormat
from orderworks.imports.spool import Spool

BLOCK = 4 << 20
"""Bytes of the file that are read at a time to cut it."""


def file_parts(
    spool: Spool, import_id: str, file_format: FileFormat, whole: FileChunk, limits: ChunkLimits
) -> Iterator[FileChunk]:
    """The parts of a range of the file. `rows` of the range does not matter."""
    blocks = (
        spool.read(import_id, start, min(start + BLOCK, whole.end_byte))
        for start in range(whole.start_byte, whole.end_byte, BLOCK)
    )
    runs = splitter(file_format).runs(blocks)
    return plan_chunks(runs, limits, whole.start_byte, whole.first_line)
