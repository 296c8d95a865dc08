"""Loads all rows of a file or none: the rows are written only if every row is valid."""

from collections.abc import Iterable

import polars as pl
import sqlalchemy as sa

from orderworks.imports.chunk_attempt import ChunkResult, ChunkWork
from orderworks.imports.chunk_plan import ChunkLimits, FileChunk
from orderworks.imports.file_notes import RepeatedIds, sum_repeated
from orderworks.imports.loading import corrections
from orderworks.imports.loading.file_parts import file_parts
from orderworks.imports.loading.load_chunk import (
    check_size,
    chunk_result,
    validate_chunk,
    write_valid_rows,
)
from orderworks.imports.loading.repeated_ids import find_repeated
from orderworks.imports.loading.write_rows import WriteResult, store_rejects
from orderworks.imports.spool import Spool


class _RowsRefused(Exception):
    """The database refused rows that had passed validation."""


def load_all_or_nothing(
    connection: sa.Connection, spool: Spool, work: ChunkWork, limits: ChunkLimits, *, renew: bool
) -> ChunkResult:
    """Load a file, which is one chunk, part by part in the caller's transaction, or nothing of it.

    The rejects are stored either way. If there are any, nothing is applied, and the counts add up to
    less than the rows.
    """
    check_size(spool, work)
    parts = list(file_parts(spool, work.import_id, work.file_format, work.chunk, limits))
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


def _store_rejects(
    connection: sa.Connection, spool: Spool, work: ChunkWork, part: FileChunk
) -> int:
    """Validate a part and store its rejects; their number."""
    validated = validate_chunk(connection, spool, work, part)
    store_rejects(connection, work.import_id, validated.parsed.with_raw(validated.rejects))
    return validated.rejects.height


def _load(
    connection: sa.Connection,
    spool: Spool,
    work: ChunkWork,
    parts: Iterable[FileChunk],
    *,
    renew: bool,
) -> ChunkResult:
    loads: list[WriteResult] = []
    repeated: list[RepeatedIds] = []
    for part in parts:
        validated = validate_chunk(connection, spool, work, part)
        loaded = write_valid_rows(connection, work, validated.valid, renew=renew)
        rejects = pl.concat([validated.rejects, *loaded.rejects])
        if rejects.height:
            raise _RowsRefused(validated.parsed.with_raw(rejects))
        corrections.mark_corrected(connection, work, validated.valid, loaded.rejects)
        loads.append(loaded)
        if again := find_repeated(validated.valid, work.version):
            repeated.append(again)
    return chunk_result(loads, 0, None, work)._replace(repeated=sum_repeated(repeated))


def _nothing(rejected: int) -> ChunkResult:
    """The result where rows were rejected, so that nothing was applied."""
    return ChunkResult({"rejected": rejected}, None, may_be_overtaken=False)
