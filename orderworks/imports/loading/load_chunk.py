"""One chunk from its bytes to its rows, within the caller's transaction."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa

from orderworks.core.errors import ImportFailed
from orderworks.imports.chunk_claims import Outcome, Work
from orderworks.imports.chunk_plan import Chunk
from orderworks.imports.columns import CUSTOMER_NAME, locate_fields
from orderworks.imports.loading import corrections
from orderworks.imports.loading.missing_customers import create_strangers, refuse_strangers
from orderworks.imports.loading.parse import Parsed, parse
from orderworks.imports.loading.validate import validate
from orderworks.imports.loading.write_rows import Loaded, Target, keep_rejects, load_rows
from orderworks.imports.spool import Spool


class Judged(NamedTuple):
    """Records that were read: the good rows, and the rejects of the others."""

    parsed: Parsed
    good: pl.DataFrame
    rejects: pl.DataFrame


def load_work(connection: sa.Connection, spool: Spool, work: Work, *, renew: bool) -> Outcome:
    """Read, parse, validate and write the chunk, and keep its rejects; what became of its rows.

    Raises:
        ImportFailed: the spool does not hold what was planned.
    """
    check_size(spool, work)
    judged = judge(connection, spool, work, work.chunk)
    loaded = bring(connection, work, judged.good, renew=renew)
    rejects = pl.concat([judged.rejects, *loaded.rejects])
    keep_rejects(connection, work.import_id, judged.parsed.with_raw(rejects))
    corrections.note_mended(connection, work, judged.good, loaded.rejects)
    return account([loaded], rejects.height, id_range(judged.good), work)


def look_again(connection: sa.Connection, spool: Spool, work: Work) -> int:
    """Write those rows of a chunk, done before, that are due after all; how many.

    Its rejects were settled then.
    """
    check_size(spool, work)
    judged = judge(connection, spool, work, work.chunk)
    settled = corrections.reject_lines(connection, work.import_id, judged.good["line"])
    rows = judged.good.filter(~pl.col("line").is_in(settled.implode()))
    return bring(connection, work, rows, renew=False).applied


def check_size(spool: Spool, work: Work) -> None:
    """See that the data have not changed their size.

    Raises:
        ImportFailed: they have.
    """
    size = spool.size(work.import_id)
    if size != work.bytes:
        raise ImportFailed(
            f"the spool holds {size} bytes of import {work.import_id}; {work.bytes} were accepted"
        )


def judge(connection: sa.Connection, spool: Spool, work: Work, chunk: Chunk) -> Judged:
    """Read a chunk's records and part the good from the others. Writes nothing."""
    data = spool.read(work.import_id, chunk.start_byte, chunk.end_byte)
    fields = locate_fields(work.kind, work.header, work.mapping)
    parsed = parse(data, chunk.first_line, work.layout, fields)
    cells = corrections.unguarded(parsed.cells) if work.parent else parsed.cells
    good, rejects = validate(cells, fields, work.version)
    if work.parent:
        good, unknown = corrections.place_in_parent(connection, work, good)
        rejects = pl.concat([corrections.named_as_in_sheet(rejects), unknown])
    if work.kind == "orders" and not work.create_customers:
        good, unknown = refuse_strangers(connection, good)
        rejects = pl.concat([rejects, unknown])
    return Judged(parsed, good, rejects)


def bring(connection: sa.Connection, work: Work, good: pl.DataFrame, *, renew: bool) -> Loaded:
    """Write good rows, and before them the customers that they need and may bring."""
    if work.create_customers:
        create_strangers(connection, good)
    rows = good.drop(CUSTOMER_NAME, strict=False)
    return load_rows(connection, Target(work.kind, work.version, work.import_id, renew), rows)


def id_range(rows: pl.DataFrame) -> tuple[int, int] | None:
    """The lowest and the highest id of the rows; None if there is no row."""
    if rows.is_empty():
        return None
    first, last = rows.select(pl.col("id").min(), pl.col("id").max().alias("last")).row(0)
    return first, last


def account(
    loads: Sequence[Loaded], rejected: int, ids: tuple[int, int] | None, work: Work
) -> Outcome:
    """The counts, which add up to the chunk's rows.

    Raises:
        ImportFailed: they do not.
    """
    counts = Counter(rejected=rejected)
    for each in loads:
        counts.update(each.counts)
    if counts.total() != work.chunk.rows:
        raise ImportFailed(
            f"{work.chunk.rows} rows were planned, and these were found: {dict(counts)}"
        )
    return Outcome(counts, ids, any(each.open for each in loads))
