"""One chunk from its bytes to its rows, within the caller's transaction.

Loads polars: imported in a worker's pool child only.
"""

import polars as pl
import sqlalchemy as sa

from orders.errors import ImportFailed
from orders.imports.claims import Counts, Work
from orders.imports.columns import locate_fields
from orders.imports.load import Loaded, keep_rejects, load_rows
from orders.imports.parse import parse
from orders.imports.spool import Spool
from orders.imports.validate import validate


def load_work(connection: sa.Connection, spool: Spool, work: Work) -> Counts:
    """Read, parse, validate and write the chunk, and keep its rejects; what became of its rows.

    Raises:
        ImportFailed: the spool does not hold what was planned.
    """
    fields = locate_fields(work.kind, work.header, work.mapping)
    parsed = parse(read_chunk(spool, work), work.first_line, work.layout, fields)
    validated = validate(parsed.cells, fields, work.version)
    loaded = load_rows(connection, work.kind, validated.good, work.version)
    rejects = pl.concat([validated.rejects, *loaded.rejects])
    keep_rejects(connection, work.import_id, parsed.with_raw(rejects))
    return _counts(loaded, rejects.height, work)


def read_chunk(spool: Spool, work: Work) -> bytes:
    """The chunk's bytes, from data that has not changed its size."""
    size = spool.size(work.import_id)
    if size != work.bytes:
        raise ImportFailed(
            f"the spool holds {size} bytes of import {work.import_id}; {work.bytes} were accepted"
        )
    return spool.read(work.import_id, work.start_byte, work.end_byte)


def _counts(loaded: Loaded, rejected: int, work: Work) -> Counts:
    counts = {
        "applied": loaded.applied,
        "unchanged": loaded.unchanged,
        "stale": loaded.stale,
        "superseded": loaded.superseded,
        "rejected": rejected,
    }
    if sum(counts.values()) != work.rows:
        raise ImportFailed(f"{work.rows} rows were planned, and these were found: {counts}")
    return counts
