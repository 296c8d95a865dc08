"""All rows of a file or none: its chunks are judged first, and written only if every row is good."""

from collections.abc import Iterable, Iterator

import polars as pl
import sqlalchemy as sa

from orderworks.imports.chunk_attempt import ChunkResult, ChunkWork
from orderworks.imports.chunk_plan import ChunkLimits, FileChunk, plan_chunks
from orderworks.imports.csv_records import splitter
from orderworks.imports.loading import corrections
from orderworks.imports.loading.load_chunk import (
    check_size,
    chunk_result,
    validate_chunk,
    write_valid_rows,
)
from orderworks.imports.loading.write_rows import WriteResult, store_rejects
from orderworks.imports.spool import Spool

BLOCK = 4 << 20
"""Bytes read at once to cut the file."""


class _RowsRefused(Exception):
    """The database refused rows that were judged good."""


def load_all_or_nothing(
    connection: sa.Connection, spool: Spool, work: ChunkWork, limits: ChunkLimits, *, renew: bool
) -> ChunkResult:
    """Load a file, which is one chunk, part by part in the caller's transaction, or nothing of it.

    The rejects are kept either way. Where there are any, nothing is applied, and the counts do not
    reach the rows.
    """
    check_size(spool, work)
    parts = list(_parts(spool, work, limits))
    rejected = sum(_store_rejects(connection, spool, work, part) for part in parts)
    if rejected:
        return _nothing(rejected)
    try:
        with connection.begin_nested():
            return _load(connection, spool, work, parts, renew=renew)
    except _RowsRefused as refused:
        (rejects,) = refused.args
        store_rejects(connection, work.import_id, rejects)
        return _nothing(rejects.height)


def _parts(spool: Spool, work: ChunkWork, limits: ChunkLimits) -> Iterator[FileChunk]:
    """The parts that are held in memory one at a time."""
    whole = work.chunk
    runs = splitter(work.file_format).runs(_blocks(spool, work))
    return plan_chunks(runs, limits, whole.start_byte, whole.first_line)


def _blocks(spool: Spool, work: ChunkWork) -> Iterator[bytes]:
    whole = work.chunk
    for start in range(whole.start_byte, whole.end_byte, BLOCK):
        yield spool.read(work.import_id, start, min(start + BLOCK, whole.end_byte))


def _store_rejects(
    connection: sa.Connection, spool: Spool, work: ChunkWork, part: FileChunk
) -> int:
    """Judge a part and keep its rejects; how many they are."""
    judged = validate_chunk(connection, spool, work, part)
    store_rejects(connection, work.import_id, judged.parsed.with_raw(judged.rejects))
    return judged.rejects.height


def _load(
    connection: sa.Connection,
    spool: Spool,
    work: ChunkWork,
    parts: Iterable[FileChunk],
    *,
    renew: bool,
) -> ChunkResult:
    loads: list[WriteResult] = []
    for part in parts:
        judged = validate_chunk(connection, spool, work, part)
        loaded = write_valid_rows(connection, work, judged.good, renew=renew)
        rejects = pl.concat([judged.rejects, *loaded.rejects])
        if rejects.height:
            raise _RowsRefused(judged.parsed.with_raw(rejects))
        corrections.mark_corrected(connection, work, judged.good, loaded.rejects)
        loads.append(loaded)
    return chunk_result(loads, 0, None, work)


def _nothing(rejected: int) -> ChunkResult:
    """Nothing was applied, because so many rows were rejected."""
    return ChunkResult({"rejected": rejected}, None, may_be_overtaken=False)
