"""Brings validated rows into the database, within the caller's transaction.

Every row ends as one of: applied, unchanged, stale, superseded, or a reject. One that PostgreSQL
refuses although it was validated (a constraint or a trigger of its owner's) is found by halving.

Loads polars: imported in a worker's pool child only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa

from orders.database import is_refusal, refusal, savepoint
from orders.errors import ImportFailed
from orders.imports.columns import Kind
from orders.imports.copying import copy_rows
from orders.imports.upsert import UPDATED_AT, Upsert, staging_table
from orders.imports.validate import quoted, reject
from orders.schema import customers, import_rejects, orders

MOST_REFUSED = 500
"""Rows of a chunk that the database may refuse one by one. Where it refuses more, the rule that it
follows is at odds with the whole file; to go on would take minutes, and thousands of the locks that
all sessions share (one for each part of the chunk that was written by itself)."""

TARGETS: dict[Kind, sa.Table] = {"customers": customers, "orders": orders}


@dataclass
class Loaded:
    """What became of the rows; the four counts and the rejects add up to them.

    Attributes:
        applied: rows inserted or changed.
        unchanged: rows whose data the database had already; only their version rose.
        stale: rows older than what the database has.
        superseded: rows that a later one of the same chunk replaces.
    """

    applied: int = 0
    unchanged: int = 0
    stale: int = 0
    superseded: int = 0
    rejects: list[pl.DataFrame] = field(default_factory=list)


class Refused(NamedTuple):
    """A row that the database did not take, and why."""

    id: int
    reason: str


def load_rows(connection: sa.Connection, kind: Kind, rows: pl.DataFrame, version: int) -> Loaded:
    """Write the good rows of a chunk; nothing of it is visible before the caller commits.

    `version` is the import's: rows that brought none have this plus their line.

    Raises:
        ImportFailed: the database refuses more rows than can be told apart.
    """
    loaded = Loaded()
    if kind == "orders":
        rows, unknown = _part_unknown_customers(connection, rows)
        loaded.rejects.append(unknown)
    rows = fill_blanks(rows, version)
    while rows.height:
        newest, older = part_newest(rows)
        refused = _write(connection, TARGETS[kind], newest, loaded)
        loaded.rejects.append(_reject_refused(newest, refused))
        # Of an id whose newest row was refused, the next older one is the word.
        rows = older.filter(pl.col("id").is_in([each.id for each in refused]))
        loaded.superseded += older.height - rows.height
    return loaded


def keep_rejects(connection: sa.Connection, import_id: str, rejects: pl.DataFrame) -> None:
    """Note the rejects in the ledger."""
    if rejects.height:
        named = rejects.select(pl.lit(import_id).alias("import_id"), pl.all())
        copy_rows(connection, import_rejects, named)


def fill_blanks(rows: pl.DataFrame, version: int) -> pl.DataFrame:
    """Give the blank cells of a row what the rows of its id before it have.

    So it does not matter whether two rows of an id are in one chunk or in two that come in order. Rows
    with versions of their own are left as they are: the table may have one in between, whose values
    a blank cell keeps. So is the time of the write, which a blank cell sets to now.
    """
    kept = ("line", "id", "version", UPDATED_AT)
    data = [name for name in rows.columns if name not in kept and rows[name].null_count()]
    if not data or not rows["id"].is_duplicated().any():
        return rows
    brought_none = pl.col("version") - pl.col("line") == version
    apart = pl.when(brought_none).then(0).otherwise("line")
    rows = rows.sort("id", "version", "line")
    return rows.with_columns(pl.col(data).forward_fill().over("id", apart))


def part_newest(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The row of each id that has the highest version, or stands last, by id; and the others."""
    rows = rows.sort("id", "version", "line")
    last = pl.col("id") != pl.col("id").shift(-1)
    is_newest = last.fill_null(value=True)
    return rows.filter(is_newest), rows.filter(~is_newest)


def _part_unknown_customers(
    connection: sa.Connection, rows: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose customer exists, and the rejects of the others."""
    # The ids go there as one text and only those missing come back: a third of the time that a
    # list of parameters and an answer of all that exist take.
    named = rows["customer_id"].unique().sort().cast(pl.String).str.join(",").item()
    as_array = sa.cast(sa.literal("{" + named + "}", sa.Text), sa.ARRAY(sa.BigInteger))
    given = (
        sa.func.unnest(as_array)
        .table_valued(sa.column("id", sa.BigInteger), name="given")
        .render_derived()
    )
    query = sa.select(given.c.id).where(~sa.exists().where(customers.c.id == given.c.id))
    missing = pl.Series(connection.scalars(query).all(), dtype=pl.Int64)
    is_missing = pl.col("customer_id").is_in(missing.implode())
    reason = quoted("customer_id", pl.col("customer_id").cast(pl.String), "is no customer's id")
    unknown = reject(rows.filter(is_missing), "customer_id", "unknown_customer", reason)
    return rows.filter(~is_missing), unknown


def _write(
    connection: sa.Connection, target: sa.Table, rows: pl.DataFrame, loaded: Loaded
) -> list[Refused]:
    """Stage the rows, sorted by id and each id once, and write them; those refused."""
    content = rows.drop("line")
    staging = staging_table(target, content.columns)
    staging.create(connection, checkfirst=False)
    copy_rows(connection, staging, content)
    blank = [name for name in content.columns if content[name].null_count()]
    upsert = Upsert(target, staging, blank)
    if upsert.looks_rows_up:
        upsert.index(connection)
    refused: list[Refused] = []
    _write_range(connection, upsert, content["id"].to_list(), loaded, refused)
    staging.drop(connection, checkfirst=False)
    return refused


def _write_range(
    connection: sa.Connection,
    upsert: Upsert,
    ids: Sequence[int],
    loaded: Loaded,
    refused: list[Refused],
) -> None:
    """Write the staged rows with these ids; where the database refuses, halve and try again."""
    try:
        with savepoint(connection):
            applied = connection.execute(upsert.write(ids[0], ids[-1])).rowcount
            rest = len(ids) - applied
            unchanged = connection.execute(upsert.renew(ids[0], ids[-1])).rowcount if rest else 0
    except sa.exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        if len(ids) == 1:
            _refuse(refused, ids[0], refusal(error))
            return
    else:
        loaded.applied += applied
        loaded.unchanged += unchanged
        loaded.stale += rest - unchanged
        return
    upsert.index(connection)
    middle = len(ids) // 2
    _write_range(connection, upsert, ids[:middle], loaded, refused)
    _write_range(connection, upsert, ids[middle:], loaded, refused)


def _refuse(refused: list[Refused], row_id: int, reason: str) -> None:
    refused.append(Refused(row_id, reason))
    if len(refused) > MOST_REFUSED:
        raise ImportFailed(
            f"the database refuses more than {MOST_REFUSED} rows, the last one because: {reason}"
        )


def _reject_refused(rows: pl.DataFrame, refused: Sequence[Refused]) -> pl.DataFrame:
    schema = {"id": pl.Int64, "reason": pl.String}
    found = rows.join(pl.DataFrame(list(refused), schema=schema, orient="row"), on="id")
    return reject(found, "", "refused", pl.col("reason"))
