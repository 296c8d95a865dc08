"""The statements that write staged rows into their table, each field guarded by its version.

All of them are Core over `orderworks.core.schema`; `orderworks/core/field_versions.py` has the rule. The
staging table ends with the transaction.
"""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from orderworks.core.field_versions import (
    FIELDS,
    field_version,
    is_newer,
    versions_after,
    versions_of_new,
)
from orderworks.imports.loading.chunk_writers import FilePosition, written_by_earlier_line

UPDATED_AT = "updated_at"
"""A column, where the table has it, that is set to now by a write without a value for it."""

NOT_DATA = ("id", "version", "field_versions")

VERSION_SUFFIX = "_version"
"""Of a column's name: the staged column with the version of its cells, where not that of the row."""

SqlValue = sa.ColumnElement[Any]


def staging_table(target: sa.Table, columns: Collection[str]) -> sa.Table:
    """A temporary table with some of the target's columns, and none of its constraints.

    A column of versions is not in the target: see `VERSION_SUFFIX`.
    """
    return sa.Table(
        "incoming",
        sa.MetaData(),
        *(
            sa.Column(name, target.c[name].type if name in target.c else sa.BigInteger)
            for name in columns
        ),
        # Named with its schema, so that it cannot be confused with a table of the same name.
        schema="pg_temp",
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )


class Upsert:
    """Writes staged rows, no two of which have the same id, a range of ids at a time.

    A staged row gives a field where its cell is not null, or has a version of its own; other fields
    keep the value of the existing row, and get the default in a new row. `blank` names the staged
    columns that have nulls. With a `position`, a row also replaces fields of the same version, except
    those from behind it in the same file.

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
        self._columns = [column.name for column in staging.c if column.name in target.c]
        self._data = [name for name in self._columns if name not in NOT_DATA]
        self._blank = blank
        self._given = {name: self._given_version(name) for name in self._data}

    def index(self, connection: sa.Connection) -> None:
        """Index the staged rows by id, unless they are. Most chunks are written without an index."""
        connection.execute(sa.schema.CreateIndex(self._index, if_not_exists=True))

    def compare(self, first_id: int, last_id: int) -> sa.Select[int, int, int, int]:
        """Compare staged rows with those of the table; four counts.

        Those that are new; that change a field; that change none, and give none that has a newer write;
        and those that change none, and give one in a newer version. What is not in the first three is
        stale.
        """
        existing, count = self._target.c, sa.func.count()
        exists = existing.id.is_not(None)
        unchanging = exists & ~self._changes()
        same = (existing.id == self._staged.id) & existing.id.between(first_id, last_id)
        return (
            sa.select(
                count.filter(~exists),
                count.filter(exists & self._changes()),
                count.filter(unchanging & ~self._has_older()),
                count.filter(unchanging & self._has_newer()),
            )
            .select_from(self._staging.outerjoin(self._target, same))
            .where(self._staged.id.between(first_id, last_id))
        )

    def update(self, first_id: int, last_id: int) -> sa.Update:
        """Update those rows of which a field changes.

        Others are not even locked. The staged rows are sorted by id and taken one after the other, so
        that two writers lock the same rows in the same order.
        """
        return self._update(first_id, last_id, self._write_time()).where(self._changes())

    def insert(self, first_id: int, last_id: int) -> Insert:
        """Insert those rows that the table does not have, in the order of the key.

        A row that another session inserts meanwhile is left to `update`, which runs again.
        """
        values = {name: self._inserted(name) for name in self._columns}
        values["field_versions"] = self._versions_of_new()
        rows = sa.select(*values.values())
        of_range = rows.where(self._staged.id.between(first_id, last_id)).order_by(self._staged.id)
        return (
            insert(self._target)
            .from_select(list(values), of_range)
            .on_conflict_do_nothing(index_elements=["id"])
        )

    def renew_versions(self, first_id: int, last_id: int) -> sa.Update:
        """Give the fields of every row that are still older the staged version, after the others.

        Their data were equal when they were compared. Without the file's version, an older write would
        still apply later; and one that was applied meanwhile is replaced here.
        """
        touched: dict[str, SqlValue] = {
            name: sa.case((self._changes(), moment), else_=self._target.c[name])
            for name, moment in self._write_time().items()
        }
        return self._update(first_id, last_id, touched).where(self._has_newer())

    def _update(self, first_id: int, last_id: int, touched: dict[str, SqlValue]) -> sa.Update:
        """Give rows the staged fields that are newer, and their versions.

        Both sides name the range: of a file in order of ids, only the part of the table that the chunk
        covers is read.
        """
        existing, staged = self._target.c, self._staged
        data = {
            name: sa.case((self._takes(name), staged[name]), else_=existing[name])
            for name in self._data
        }
        versions = {
            "version": sa.func.greatest(existing.version, staged.version),
            "field_versions": self._versions_after(),
        }
        return (
            sa.update(self._target)
            .values({**data, **touched, **versions})
            .where(
                existing.id == staged.id,
                existing.id.between(first_id, last_id),
                staged.id.between(first_id, last_id),
            )
        )

    def _given_version(self, name: str) -> SqlValue:
        """The version with which a staged row gives the column; null where it does not."""
        version: SqlValue = self._staged.version
        if name in self._blank:
            version = sa.case((self._staged[name].is_not(None), version))
        if name + VERSION_SUFFIX in self._staged:
            version = sa.func.coalesce(self._staged[name + VERSION_SUFFIX], version)
        return version

    def _takes(self, name: str) -> sa.ColumnElement[bool]:
        """True if the staged row gives the column."""
        newer = is_newer(self._target, name, self._given[name])
        if self._position is None:
            return newer
        is_same = self._given[name] == field_version(self._target, name)
        replaces = is_same & written_by_earlier_line(self._position, self._target)
        return newer | sa.func.coalesce(replaces, sa.false())

    def _changes(self) -> sa.ColumnElement[bool]:
        """True if the staged row would change the data of the existing one."""
        existing, staged = self._target.c, self._staged
        return sa.or_(
            *(
                existing[name].is_distinct_from(staged[name]) & self._takes(name)
                for name in self._data
            )
        )

    def _has_newer(self) -> sa.ColumnElement[bool]:
        """True if a field of the staged row is newer than that of the existing one."""
        return sa.or_(*(is_newer(self._target, name, self._given[name]) for name in self._fields()))

    def _has_older(self) -> sa.ColumnElement[bool]:
        """True if a newer write gave a field that the staged row has."""
        older = (self._given[name] < field_version(self._target, name) for name in self._fields())
        return sa.or_(*(sa.func.coalesce(each, sa.false()) for each in older))

    def _fields(self) -> list[str]:
        return [name for name in FIELDS[self._target.name] if name in self._given]

    def _versions_after(self) -> SqlValue:
        """`field_versions` of an existing row; null if the staged row is newer and gives all fields."""
        after = versions_after(
            self._target,
            {
                name: sa.func.greatest(self._given[name], field_version(self._target, name))
                for name in self._fields()
            },
        )
        if not self._gives_all():
            return after
        return sa.case((self._staged.version <= self._target.c.version, after))

    def _versions_of_new(self) -> SqlValue:
        if self._gives_all():
            return sa.null()
        always_given = {
            name for name in self._fields() if self._given[name] is self._staged.version
        }
        return versions_of_new(
            self._target,
            {n: None if n in always_given else self._given[n] for n in self._fields()},
        )

    def _gives_all(self) -> bool:
        """True if each staged row gives all fields, with its own version."""
        fields = FIELDS[self._target.name]
        return all(self._given.get(name) is self._staged.version for name in fields)

    def _write_time(self) -> dict[str, SqlValue]:
        """The time of the write, for rows without a value for it; that of the newest write stays."""
        if UPDATED_AT not in self._target.c:
            return {}
        existing = self._target.c
        moment: SqlValue = sa.func.now()
        if UPDATED_AT in self._staged:
            moment = sa.func.coalesce(self._staged[UPDATED_AT], moment)
        is_newest = existing.version <= self._staged.version
        return {UPDATED_AT: sa.case((is_newest, moment), else_=existing[UPDATED_AT])}

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
