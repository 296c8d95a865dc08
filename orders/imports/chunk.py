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
from orders.imports.validate import Validated, validate


def load_work(connection: sa.Connection, spool: Spool, work: Work) -> Counts:
    """Read, parse, validate and write the chunk, and keep its rejects; what became of its rows.

    Raises:
        ImportFailed: the spool does not hold what was planned.
    """
    validated = _validated(read_chunk(spool, work), work)
    loaded = load_rows(connection, work.kind, validated.good, work.version)
    rejects = pl.concat([validated.rejects, *loaded.rejects])
    keep_rejects(connection, work.import_id, rejects)
    return _counts(loaded, rejects.height, work)


def read_chunk(spool: Spool, work: Work) -> bytes:
    """The chunk's bytes, from data that has not changed its size."""
    size = spool.size(work.import_id)
    if size != work.bytes:
        raise ImportFailed(
            f"the spool holds {size} bytes of import {work.import_id}; {work.bytes} were accepted"
        )
    return spool.read(work.import_id, work.start_byte, work.end_byte)


def _validated(data: bytes, work: Work) -> Validated:
    width = len(work.header)
    table = parse(data, work.first_line, width, work.delimiter)
    fields = locate_fields(work.kind, work.header, work.mapping)
    return validate(table, fields, width, work.version)


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
