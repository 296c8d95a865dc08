"""Writes validated rows into the database, within the caller's transaction.

Every row ends as one of: applied, unchanged, stale, superseded, or a reject. A valid row that PostgreSQL
refuses (by a constraint or a trigger of the database's owner) is found by halving.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa

from orderworks.core.database import error_summary, is_data_error, savepoint
from orderworks.core.errors import ImportFailed
from orderworks.core.schema import customers, import_rejects, orders
from orderworks.core.versions import FIRST_BY_ACCEPTANCE
from orderworks.imports.columns import PARENT_LINE_COLUMN, ImportKind
from orderworks.imports.file_notes import MixedVersions
from orderworks.imports.loading.cell_versions import (
    fill_blanks,
    of_cleared,
    of_new_rows,
    without_versions,
)
from orderworks.imports.loading.chunk_writers import FilePosition, record_writer
from orderworks.imports.loading.copy import copy_rows
from orderworks.imports.loading.upsert import Upsert, staging_table
from orderworks.imports.loading.validate import reject
from orderworks.imports.progress import COUNTS

MAX_REFUSED_ROWS = 500
"""Rows of a chunk that the database may refuse individually. Where it refuses more, its rule conflicts
with the whole file; to continue would take minutes, and thousands of the locks that all sessions share
(one for each part of the chunk that was written separately)."""

TABLES: dict[ImportKind, sa.Table] = {"customers": customers, "orders": orders}


@dataclass
class WriteResult:
    """The outcome of rows; the four counts and the rejects add up to them.

    Attributes:
        applied: rows inserted or changed.
        unchanged: rows equal to those of the table.
        stale: rows older than those of the table.
        superseded: rows that a later one of the same chunk replaces.
        may_be_overtaken: whether the table has older versions for some of the unchanged rows.
        mixed: rows with counters as versions where the table has the order of acceptance.
    """

    applied: int = 0
    unchanged: int = 0
    stale: int = 0
    superseded: int = 0
    may_be_overtaken: bool = False
    mixed: list[MixedVersions] = field(default_factory=list)
    rejects: list[pl.DataFrame] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The four counts by their names."""
        return {name: getattr(self, name) for name in COUNTS if name != "rejected"}


class RefusedRow(NamedTuple):
    """A row that the database refused, and the reason."""

    id: int
    reason: str


class WriteTarget(NamedTuple):
    """The table to write rows into, and the import that they are of.

    Attributes:
        version: that of the import: rows without their own have this plus their line.
        renew: give rows that are equal to the table's the new version, too.
        position: of the rows in the file, if it decides among rows with the same version.
    """

    kind: ImportKind
    version: int
    import_id: str
    renew: bool = False
    position: FilePosition | None = None

    @property
    def table(self) -> sa.Table:
        """The table of this kind."""
        return TABLES[self.kind]


def write_rows(connection: sa.Connection, target: WriteTarget, rows: pl.DataFrame) -> WriteResult:
    """Write the valid rows of a chunk; nothing of it is visible before the caller commits.

    Raises:
        ImportFailed: the database refuses more than `MAX_REFUSED_ROWS`.
    """
    loaded = WriteResult()
    if not _lacks_own_version(rows, target.version).all():
        # Where rows have versions of their own, it is unknown which older ones may follow.
        position = FilePosition(target.import_id, rows.select(pl.col("line").min()).item())
        target = target._replace(renew=True, position=position)
    rows = fill_blanks(target.table, of_cleared(rows))
    while rows.height:
        newest, older = split_newest(rows)
        refused = _write(connection, target, newest, loaded)
        loaded.rejects.append(_reject_refused(newest, refused))
        # Of an id whose newest row was refused, the next older one counts.
        rows = older.filter(pl.col("id").is_in([each.id for each in refused]))
        loaded.superseded += older.height - rows.height
    return loaded


def store_rejects(connection: sa.Connection, import_id: str, rejects: pl.DataFrame) -> None:
    """Store the rejects in the ledger."""
    if rejects.height:
        named = rejects.select(pl.lit(import_id).alias("import_id"), pl.all())
        copy_rows(connection, import_rejects, named)


def _lacks_own_version(rows: pl.DataFrame, version: int) -> pl.Series:
    """Return for each row whether its version is that of its line, and not its own."""
    # A corrected row has the version of its line in the parent's file.
    line = PARENT_LINE_COLUMN if PARENT_LINE_COLUMN in rows.columns else "line"
    return rows["version"] - rows[line] == version


def split_newest(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The row of each id that has the highest version, or stands last, by id; and the others."""
    if (rows["id"].diff() > 0).all():
        return rows, rows.clear()
    rows = rows.sort("id", "version", "line")
    last = pl.col("id") != pl.col("id").shift(-1)
    is_newest = last.fill_null(value=True)
    return rows.filter(is_newest), rows.filter(~is_newest)


def _write(
    connection: sa.Connection, target: WriteTarget, rows: pl.DataFrame, loaded: WriteResult
) -> list[RefusedRow]:
    """Write the rows, which are sorted by id and have each id once; those refused."""
    content = rows.drop("line", PARENT_LINE_COLUMN, strict=False)
    if _ids_are_free(connection, target.table, content) and _try_copy(connection, target, content):
        loaded.applied += content.height
        return []
    return _write_staged(connection, target, content, loaded)


def _ids_are_free(connection: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> bool:
    """Return whether the table has no row among these ids, by one search of its index."""
    between = table.c.id.between(rows["id"][0], rows["id"][-1])
    return not connection.scalar(sa.select(sa.exists().where(between)))


def _try_copy(connection: sa.Connection, target: WriteTarget, rows: pl.DataFrame) -> bool:
    """Copy rows directly into the table; False, and no effect, if they have to be staged.

    That is where an empty cell needs the table's default, or the database refuses a row: also because
    another session wrote one of them meanwhile.
    """
    table = target.table
    content = without_versions(rows)
    filled = content.select(
        name for name in content.columns if content[name].null_count() < content.height
    )
    if any(filled[name].null_count() and not table.c[name].nullable for name in filled.columns):
        return False
    if (field_versions := of_new_rows(table, rows)) is not None:
        filled = rows.select(*filled.columns, field_versions.alias("field_versions"))
    try:
        with savepoint(connection):
            copy_rows(connection, table, filled)
            if target.position:
                record_writer(connection, target.position)
    except sa.exc.DBAPIError as error:
        if not is_data_error(error):
            raise
        return False
    return True


def _write_staged(
    connection: sa.Connection, target: WriteTarget, rows: pl.DataFrame, loaded: WriteResult
) -> list[RefusedRow]:
    """Stage the rows and compare them with the table's; those refused."""
    staging = staging_table(target.table, rows.columns)
    staging.create(connection, checkfirst=False)
    copy_rows(connection, staging, rows)
    blank = [name for name in rows.columns if rows[name].null_count()]
    upsert = Upsert(target.table, staging, blank, target.position)
    writer = _RangeWriter(connection, upsert, loaded, target)
    writer.write(rows["id"])
    if rows.select((pl.col("version") < FIRST_BY_ACCEPTANCE).any()).item():
        loaded.mixed += _find_mixed(connection, target.table, staging)
    staging.drop(connection, checkfirst=False)
    return writer.refused


def _find_mixed(
    connection: sa.Connection, table: sa.Table, staging: sa.Table
) -> list[MixedVersions]:
    """The staged rows with counters whose rows in the table have the order of acceptance, if any."""
    query = (
        sa.select(sa.func.count(), sa.func.min(staging.c.id))
        .select_from(staging.join(table, staging.c.id == table.c.id))
        .where(staging.c.version < FIRST_BY_ACCEPTANCE, table.c.version >= FIRST_BY_ACCEPTANCE)
    )
    rows, first = connection.execute(query).one()
    return [MixedVersions(rows, first)] if rows else []


class _RangeWriter:
    """Writes staged rows by ranges of ids; halves a range that the database refuses, and tries again."""

    def __init__(
        self, connection: sa.Connection, upsert: Upsert, loaded: WriteResult, target: WriteTarget
    ) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._upsert = upsert
        self._loaded = loaded
        self._target = target
        self.refused: list[RefusedRow] = []

    def write(self, ids: pl.Series) -> None:
        """Write the staged rows with these ids, which are sorted."""
        try:
            with savepoint(self._connection):
                applied, unchanged, may_be_overtaken = self._attempt(ids[0], ids[-1])
        except sa.exc.DBAPIError as error:
            if not is_data_error(error):
                raise
            self._isolate(ids, error_summary(error))
            return
        self._loaded.applied += applied
        self._loaded.unchanged += min(unchanged, len(ids) - applied)
        self._loaded.stale += max(0, len(ids) - applied - unchanged)
        self._loaded.may_be_overtaken |= may_be_overtaken

    def _attempt(self, first_id: int, last_id: int) -> tuple[int, int, bool]:
        """Write a range at once: the applied and unchanged rows; whether these may be overtaken."""
        upsert, applied = self._upsert, 0
        new, changed, equal, newer = self._execute(upsert.compare(first_id, last_id)).one()
        if changed:
            applied += self._execute(upsert.update(first_id, last_id)).rowcount
        if new:
            applied += self._execute(upsert.insert(first_id, last_id)).rowcount
        if applied < new + changed:
            # Another session wrote some of them meanwhile.
            applied += self._execute(upsert.update(first_id, last_id)).rowcount
        # Where fewer were written than were due, an older writer made rows equal meanwhile.
        renewed = (newer and self._target.renew) or applied < new + changed
        if renewed:
            self._execute(upsert.renew_versions(first_id, last_id))
        if applied and self._target.position:
            record_writer(self._connection, self._target.position)
        return applied, equal, bool(newer) and not renewed

    def _isolate(self, ids: pl.Series, reason: str) -> None:
        if len(ids) == 1:
            self._refuse(ids[0], reason)
            return
        self._upsert.index(self._connection)
        middle = len(ids) // 2
        self.write(ids[:middle])
        self.write(ids[middle:])

    def _refuse(self, row_id: int, reason: str) -> None:
        self.refused.append(RefusedRow(row_id, reason))
        if len(self.refused) > MAX_REFUSED_ROWS:
            raise ImportFailed(
                f"the database refuses more than {MAX_REFUSED_ROWS} rows, the last one because: {reason}"
            )


def _reject_refused(rows: pl.DataFrame, refused: Sequence[RefusedRow]) -> pl.DataFrame:
    schema = {"id": pl.Int64, "reason": pl.String}
    joined = rows.join(pl.DataFrame(list(refused), schema=schema, orient="row"), on="id")
    return reject(joined, "", "refused", pl.col("reason"))
