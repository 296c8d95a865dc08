"""Loads one chunk, from its bytes to its rows, within the caller's transaction."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa

from orderworks.core.errors import ImportFailed
from orderworks.imports.chunk_attempt import ChunkResult, ChunkWork
from orderworks.imports.chunk_plan import FileChunk
from orderworks.imports.columns import CUSTOMER_NAME, locate_fields
from orderworks.imports.csv_records import MAX_RECORD_BYTES
from orderworks.imports.file_notes import sum_mixed
from orderworks.imports.loading import corrections
from orderworks.imports.loading.decimal_commas import has_decimal_commas
from orderworks.imports.loading.missing_customers import (
    create_missing_customers,
    reject_missing_customers,
)
from orderworks.imports.loading.parse import ParsedChunk, parse
from orderworks.imports.loading.repeated_ids import find_repeated
from orderworks.imports.loading.validate import validate, with_cleared_blanks
from orderworks.imports.loading.write_rows import (
    WriteResult,
    WriteTarget,
    store_rejects,
    write_rows,
)
from orderworks.imports.spool import Spool


class ValidatedChunk(NamedTuple):
    """Parsed records: the valid rows, and the rejects of the others."""

    parsed: ParsedChunk
    valid: pl.DataFrame
    rejects: pl.DataFrame


def load_chunk(
    connection: sa.Connection, spool: Spool, work: ChunkWork, *, renew: bool
) -> ChunkResult:
    """Read, parse, validate and write the chunk, and store its rejects; the outcome of its rows.

    Raises:
        ImportFailed: the spool does not hold what was planned.
    """
    check_size(spool, work)
    validated = validate_chunk(connection, spool, work, work.chunk)
    loaded = write_valid_rows(connection, work, validated.valid, renew=renew)
    rejects = pl.concat([validated.rejects, *loaded.rejects])
    store_rejects(connection, work.import_id, validated.parsed.with_raw(rejects))
    corrections.mark_corrected(connection, work, validated.valid, loaded.rejects)
    result = chunk_result([loaded], rejects.height, id_range(validated.valid), work)
    return result._replace(repeated=find_repeated(validated.valid, work.version))


def recheck_chunk(connection: sa.Connection, spool: Spool, work: ChunkWork) -> int:
    """Write those unchanged rows of a loaded chunk that differ by now; their number.

    Its rejects are stored already.
    """
    check_size(spool, work)
    validated = validate_chunk(connection, spool, work, work.chunk)
    settled = corrections.reject_lines(connection, work.import_id, validated.valid["line"])
    rows = validated.valid.filter(~pl.col("line").is_in(settled.implode()))
    return write_valid_rows(connection, work, rows, renew=False).applied


def check_size(spool: Spool, work: ChunkWork) -> None:
    """Check that the size of the data is the accepted one.

    Raises:
        ImportFailed: it is another one.
    """
    size = spool.size(work.import_id)
    if size != work.bytes:
        raise ImportFailed(
            f"the spool holds {size} bytes of import {work.import_id}; {work.bytes} were accepted"
        )


def validate_chunk(
    connection: sa.Connection, spool: Spool, work: ChunkWork, chunk: FileChunk
) -> ValidatedChunk:
    """Read a chunk's records and separate the valid ones from the others. Writes nothing."""
    data = spool.read(work.import_id, chunk.start_byte, chunk.end_byte)
    fields = locate_fields(work.kind, work.header, work.mapping)

    def following() -> bytes:
        end = min(chunk.end_byte + MAX_RECORD_BYTES, work.bytes)
        return spool.read(work.import_id, chunk.end_byte, end) if end > chunk.end_byte else b""

    parsed = parse(data, chunk.first_line, work.file_format, fields, following)
    cells = corrections.unguarded(parsed.cells) if work.parent else parsed.cells
    if work.empty == "clears" and work.format == "csv":
        cells = with_cleared_blanks(cells, fields)
    valid, rejects = validate(cells, fields, work.version, partial(has_decimal_commas, spool, work))
    if work.parent:
        valid, unknown = corrections.match_parent_lines(connection, work, valid)
        rejects = pl.concat([corrections.with_sheet_columns(rejects), unknown])
    if work.kind == "orders" and not work.create_customers:
        valid, unknown = reject_missing_customers(connection, valid)
        rejects = pl.concat([rejects, unknown])
    return ValidatedChunk(parsed, valid, rejects)


def write_valid_rows(
    connection: sa.Connection, work: ChunkWork, valid: pl.DataFrame, *, renew: bool
) -> WriteResult:
    """Write valid rows, and before them the missing customers, if the import may create them."""
    if work.create_customers:
        create_missing_customers(connection, valid)
    rows = valid.drop(CUSTOMER_NAME, strict=False)
    return write_rows(connection, WriteTarget(work.kind, work.version, work.import_id, renew), rows)


def id_range(rows: pl.DataFrame) -> tuple[int, int] | None:
    """The lowest and the highest id of the rows; None without rows."""
    if rows.is_empty():
        return None
    first, last = rows.select(pl.col("id").min(), pl.col("id").max().alias("last")).row(0)
    return first, last


def chunk_result(
    results: Sequence[WriteResult], rejected: int, ids: tuple[int, int] | None, work: ChunkWork
) -> ChunkResult:
    """The counts, which add up to the chunk's rows.

    Raises:
        ImportFailed: they do not.
    """
    counts = Counter(rejected=rejected)
    for each in results:
        counts.update(each.counts)
    if counts.total() != work.chunk.rows:
        raise ImportFailed(
            f"{work.chunk.rows} rows were planned, and these were read: {dict(counts)}"
        )
    mixed = sum_mixed([mixed for each in results for mixed in each.mixed])
    may_be_overtaken = any(each.may_be_overtaken for each in results)
    return ChunkResult(counts, ids, may_be_overtaken, mixed=mixed)
