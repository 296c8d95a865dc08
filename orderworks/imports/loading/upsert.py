"""The statements that write staged rows into their table, guarded by version.

All of them are Core over `orderworks.core.schema`. The staging table ends with the transaction.
"""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from orderworks.imports.loading.chunk_writers import FilePosition, written_by_earlier_chunk

UPDATED_AT = "updated_at"
"""A column, where the table has it, that is set to now by a write without a value for it."""

NOT_DATA = ("id", "version")

SqlValue = sa.ColumnElement[Any]


def staging_table(target: sa.Table, columns: Collection[str]) -> sa.Table:
    """A temporary table with some of the target's columns, and none of its constraints."""
    return sa.Table(
        "incoming",
        sa.MetaData(),
        *(sa.Column(name, target.c[name].type) for name in columns),
        # Named with its schema, so that it cannot be confused with a table of the same name.
        schema="pg_temp",
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )


class Upsert:
    """Writes staged rows, no two of which have the same id, a range of ids at a time.

    A column that is not staged, or is null there, keeps the value of the row, and gets the default in a
    new row. `blank` names the staged columns that have nulls. With a `position`, a row is also replaced
    by one of the same version that stands later in the same file.

    An UPDATE for existing rows and an INSERT for new ones take a seventh less time than one
    INSERT ... ON CONFLICT DO UPDATE, which locks each row before it updates it.
    """

    def __init__(
        self,
        target: sa.Table,
        staging: sa.Table,
        blank: Collection[str],
        position: FilePosition | None,
    ) -> None:
        self._target = target
        self._position = position
        self._staging = staging
        self._staged = staging.c
        self._index = sa.Index("ix_incoming_id", staging.c.id)
        self._columns = [column.name for column in staging.c]
        self._data = [name for name in self._columns if name not in NOT_DATA]
        self._blank = blank

    def index(self, connection: sa.Connection) -> None:
        """Index the staged rows by id, unless they are. Most chunks are written without an index."""
        connection.execute(sa.schema.CreateIndex(self._index, if_not_exists=True))

    def compare(self, first_id: int, last_id: int) -> sa.Select[int, int, int, int]:
        """Compare staged rows with those of the table; four counts.

        Those that are new; that replace a row with other data; that are equal and not older; and those
        of the equal ones that are newer. The rest is older.
        """
        existing, count = self._target.c, sa.func.count()
        exists, newer = existing.id.is_not(None), self._is_older()
        equal = exists & ~self._differs() & (existing.version <= self._staged.version)
        same = (existing.id == self._staged.id) & existing.id.between(first_id, last_id)
        return (
            sa.select(
                count.filter(~exists),
                count.filter(exists & self._differs() & self._is_replaceable()),
                count.filter(equal),
                count.filter(equal & newer),
            )
            .select_from(self._staging.outerjoin(self._target, same))
            .where(self._staged.id.between(first_id, last_id))
        )

    def update(self, first_id: int, last_id: int) -> sa.Update:
        """Update those rows that are replaceable and whose data differ.

        Others are not even locked. The staged rows are sorted by id and taken one after the other, so
        that two writers lock the same rows in the same order.
        """
        update = self._update(first_id, last_id, self._write_time())
        return update.where(self._is_replaceable(), self._differs())

    def insert(self, first_id: int, last_id: int) -> Insert:
        """Insert those rows that the table does not have, in the order of the key.

        A row that another session inserts meanwhile is left to `update`, which runs again.
        """
        rows = sa.select(*(self._inserted(name) for name in self._columns))
        of_range = rows.where(self._staged.id.between(first_id, last_id)).order_by(self._staged.id)
        return (
            insert(self._target)
            .from_select(self._columns, of_range)
            .on_conflict_do_nothing(index_elements=["id"])
        )

    def renew_versions(self, first_id: int, last_id: int) -> sa.Update:
        """Give every row that is still older the staged version, after the other statements.

        Their data were equal when they were compared. Without the file's version, an older write would
        still apply later; and one that was applied meanwhile is replaced here.
        """
        touched: dict[str, SqlValue] = {
            name: sa.case((self._differs(), moment), else_=self._target.c[name])
            for name, moment in self._write_time().items()
        }
        return self._update(first_id, last_id, touched).where(self._is_older())

    def _update(self, first_id: int, last_id: int, touched: dict[str, SqlValue]) -> sa.Update:
        """Give rows the staged data and version.

        Both sides name the range: of a file in order of ids, only the part of the table that the chunk
        covers is read.
        """
        existing = self._target.c
        data = {name: self._merged_value(name) for name in self._data}
        return (
            sa.update(self._target)
            .values({**data, **touched, "version": self._staged.version})
            .where(
                existing.id == self._staged.id,
                existing.id.between(first_id, last_id),
                self._staged.id.between(first_id, last_id),
            )
        )

    def _is_older(self) -> sa.ColumnElement[bool]:
        return self._target.c.version < self._staged.version

    def _is_replaceable(self) -> sa.ColumnElement[bool]:
        """True if the staged row replaces the existing one."""
        if self._position is None:
            return self._is_older()
        is_same = self._target.c.version == self._staged.version
        return self._is_older() | (is_same & written_by_earlier_chunk(self._position, self._target))

    def _differs(self) -> sa.ColumnElement[bool]:
        """True if the staged row would change the data of the existing one."""
        existing = self._target.c
        return sa.or_(
            *(existing[name].is_distinct_from(self._merged_value(name)) for name in self._data)
        )

    def _merged_value(self, name: str) -> SqlValue:
        """The value after the update: a blank cell keeps the existing one."""
        staged = self._staged[name]
        return sa.func.coalesce(staged, self._target.c[name]) if name in self._blank else staged

    def _write_time(self) -> dict[str, SqlValue]:
        """The time of the write, for rows without a value for it."""
        if UPDATED_AT not in self._target.c:
            return {}
        if UPDATED_AT not in self._staged:
            return {UPDATED_AT: sa.func.now()}
        return {UPDATED_AT: sa.func.coalesce(self._staged[UPDATED_AT], sa.func.now())}

    def _inserted(self, name: str) -> SqlValue:
        """The value of the column in a new row."""
        column = self._target.c[name]
        if name not in self._blank or column.server_default is None:
            return self._staged[name]
        return sa.func.coalesce(self._staged[name], _default(column))


def _default(column: sa.Column[Any]) -> SqlValue:
    """The default of the column, as an expression."""
    default = column.server_default
    if not isinstance(default, sa.DefaultClause):
        raise TypeError(f"{column} has no default that a statement could use")
    if isinstance(default.arg, str):
        return sa.literal(default.arg)
    return sa.cast(default.arg, column.type)
