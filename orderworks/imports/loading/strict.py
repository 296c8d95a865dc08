"""All rows of a file or none: its chunks are judged first, and written only if every row is good."""

from collections.abc import Iterable, Iterator

import polars as pl
import sqlalchemy as sa

from orderworks.imports.chunk_claims import Outcome, Work
from orderworks.imports.chunk_plan import Chunk, Limits, cut_chunks
from orderworks.imports.csv_records import splitter
from orderworks.imports.loading import corrections
from orderworks.imports.loading.load_chunk import account, bring, check_size, judge
from orderworks.imports.loading.write_rows import Loaded, keep_rejects
from orderworks.imports.spool import Spool

BLOCK = 4 << 20
"""Bytes read at once to cut the file."""


class _RowsRefused(Exception):
    """The database refused rows that were judged good."""


def load_strictly(
    connection: sa.Connection, spool: Spool, work: Work, limits: Limits, *, renew: bool
) -> Outcome:
    """Load a file, which is one chunk, part by part in the caller's transaction, or nothing of it.

    The rejects are kept either way. Where there are any, nothing is applied, and the counts do not
    reach the rows.
    """
    check_size(spool, work)
    parts = list(_parts(spool, work, limits))
    rejected = sum(_keep_rejects(connection, spool, work, part) for part in parts)
    if rejected:
        return _nothing(rejected)
    try:
        with connection.begin_nested():
            return _load(connection, spool, work, parts, renew=renew)
    except _RowsRefused as refused:
        (rejects,) = refused.args
        keep_rejects(connection, work.import_id, rejects)
        return _nothing(rejects.height)


def _parts(spool: Spool, work: Work, limits: Limits) -> Iterator[Chunk]:
    """The parts that are held in memory one at a time."""
    whole = work.chunk
    runs = splitter(work.layout).runs(_blocks(spool, work))
    return cut_chunks(runs, limits, whole.start_byte, whole.first_line)


def _blocks(spool: Spool, work: Work) -> Iterator[bytes]:
    whole = work.chunk
    for start in range(whole.start_byte, whole.end_byte, BLOCK):
        yield spool.read(work.import_id, start, min(start + BLOCK, whole.end_byte))


def _keep_rejects(connection: sa.Connection, spool: Spool, work: Work, part: Chunk) -> int:
    """Judge a part and keep its rejects; how many they are."""
    judged = judge(connection, spool, work, part)
    keep_rejects(connection, work.import_id, judged.parsed.with_raw(judged.rejects))
    return judged.rejects.height


def _load(
    connection: sa.Connection, spool: Spool, work: Work, parts: Iterable[Chunk], *, renew: bool
) -> Outcome:
    loads: list[Loaded] = []
    for part in parts:
        judged = judge(connection, spool, work, part)
        loaded = bring(connection, work, judged.good, renew=renew)
        rejects = pl.concat([judged.rejects, *loaded.rejects])
        if rejects.height:
            raise _RowsRefused(judged.parsed.with_raw(rejects))
        corrections.note_mended(connection, work, judged.good, loaded.rejects)
        loads.append(loaded)
    return account(loads, 0, None, work)


def _nothing(rejected: int) -> Outcome:
    """Nothing was applied, because so many rows were rejected."""
    return Outcome({"rejected": rejected}, None, is_open=False)
