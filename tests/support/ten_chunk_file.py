"""A file of orders that is imported in ten chunks, and what must be seen of it meanwhile."""

from decimal import Decimal

import sqlalchemy as sa

from orderworks.core.schema import customer_changes, customer_totals, import_chunks
from orderworks.imports.progress import Summary
from producer.imports.job import ImportJob
from tests.support.oracle import ExpectedRows
from tests.support.processes import eventually

CHUNK = 500
"""ExpectedRows of a chunk, with IMPORT_CHUNK_ROWS set to it."""

ROWS = 10 * CHUNK
FIRST = 1_000_001

FILE = b"id,customer_id,total,version\n" + b"".join(
    b"%d,%d,%d.50,7\n" % (FIRST + number, number % 100 + 1, number) for number in range(ROWS)
)


def in_file() -> ExpectedRows:
    """The orders of the file."""
    return {
        FIRST + number: (number % 100 + 1, "new", Decimal(f"{number}.50"), 7)
        for number in range(ROWS)
    }


def done_chunks(engine: sa.Engine) -> int:
    """The number of chunks that are done; each is visible completely or not at all."""
    half = sa.text(
        f"SELECT (id - {FIRST}) / {CHUNK} FROM orders WHERE id >= {FIRST} "
        f"GROUP BY 1 HAVING count(*) <> {CHUNK}"
    )
    done = sa.select(sa.func.count()).where(import_chunks.c.status == "done")
    with engine.connect() as connection:
        assert not connection.execute(half).all(), "a chunk is half visible"
        return connection.scalar(done) or 0


def counted_orders(engine: sa.Engine) -> int:
    """The number of orders in the change log and in the rollups, which are its sum."""
    tables = (customer_changes.c.orders, customer_totals.c.orders)
    sums = [sa.select(sa.func.coalesce(sa.func.sum(each), 0)).scalar_subquery() for each in tables]
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sums[0] + sums[1])).scalar_one())


def finish(job: ImportJob, engine: sa.Engine, within: float = 30) -> Summary:
    """Wait for the end of the import, and check `done_chunks` repeatedly meanwhile."""

    def ended() -> Summary | None:
        done_chunks(engine)
        summary = job.progress()
        return summary if summary and summary["status"] in ("done", "failed") else None

    summary = eventually(ended, within, "the import does not end")
    assert summary
    return summary
