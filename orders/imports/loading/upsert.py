"""The statements that bring staged rows into their table, guarded by version.

All of them are Core over `orders.schema`. The staging table lives as long as the
transaction.
"""

from collections.abc import Collection
from typing import Any, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

UPDATED_AT = "updated_at"
"""Set to now by a write that does not give it, where the table has it."""

NOT_DATA = ("id", "version")

Value = sa.ColumnElement[Any]
Ts = TypeVarTuple("Ts")


def staging_table(target: sa.Table, columns: Collection[str]) -> sa.Table:
    """A temporary table with some of the target's columns, and none of its constraints."""
    return sa.Table(
        "incoming",
        sa.MetaData(),
        *(sa.Column(name, target.c[name].type) for name in columns),
        # Named with its schema, so that no table of the same name is ever meant.
        schema="pg_temp",
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )


class Upsert:
    """Writes staged rows, no two of which have the same id, a range of ids at a time.

    A column that is not staged, or is null there, keeps the value that the row has, and takes the
    default in a new row. `blank` names the staged columns that are null anywhere.
    """

    def __init__(self, target: sa.Table, staging: sa.Table, blank: Collection[str]) -> None:
        self._target = target
        self._known = target.alias("known")
        self._staging = staging
        self._staged = staging.c
        self._index = sa.Index("ix_incoming_id", staging.c.id)
        self._columns = [column.name for column in staging.c]
        self._data = [name for name in self._columns if name not in NOT_DATA]
        self._blank = blank
        self._excluded = insert(target).excluded

    @property
    def looks_rows_up(self) -> bool:
        """Whether writing looks staged rows up one by one, which wants an index."""
        return any(self._fills(name) for name in self._blank)

    def index(self, connection: sa.Connection) -> None:
        """Index the staged rows by id, if they are not. Most chunks are written without."""
        connection.execute(sa.schema.CreateIndex(self._index, if_not_exists=True))

    def weigh(self, first_id: int, last_id: int) -> sa.Select[int, int, int]:
        """Compare staged rows with those of the table; three counts.

        How many are to be written: new, or newer with other data. How many are equal and not older.
        And how many of these are newer. The rest is older.
        """
        known, count = self._known.c, sa.func.count()
        equal = known.id.is_not(None) & ~self._differs() & (known.version <= self._staged.version)
        newer = equal & (known.version < self._staged.version)
        counts = sa.select(count.filter(self._is_due()), count.filter(equal), count.filter(newer))
        return self._beside_known(counts, first_id, last_id)

    def write(self, first_id: int, last_id: int) -> Insert:
        """Insert or update in key order, so that no two writers deadlock.

        A row is written only if it is new, or the staged version is higher and the data differ; others
        are not even locked. What was due when it was read is judged again when it is locked.
        """
        data = {name: self._new(name) for name in self._data}
        differs = [self._target.c[name].is_distinct_from(value) for name, value in data.items()]
        version = self._excluded.version
        statement = insert(self._target).from_select(self._columns, self._due(first_id, last_id))
        return statement.on_conflict_do_update(
            index_elements=["id"],
            set_={**data, "version": version, **self._touch()},
            where=sa.and_(self._target.c.version < version, sa.or_(*differs)),
        )

    def renew(self, first_id: int, last_id: int) -> sa.Update:
        """After `write`: give rows whose data were equal already their higher version.

        Without it, a write that is older than the staged row, but late, would still apply.
        """
        return (
            sa.update(self._target)
            .values(version=self._staged.version)
            .where(
                self._target.c.id == self._staged.id,
                self._staged.id.between(first_id, last_id),
                self._target.c.version < self._staged.version,
            )
        )

    def _due(self, first_id: int, last_id: int) -> sa.Select[Any]:
        """The staged rows that are to be written, with defaults where they are blank."""
        rows = sa.select(*(self._inserted(name) for name in self._columns))
        due = self._beside_known(rows, first_id, last_id).where(self._is_due())
        return due.order_by(self._staged.id)

    def _beside_known(self, rows: sa.Select[*Ts], first_id: int, last_id: int) -> sa.Select[*Ts]:
        """From the staged rows, each beside the row that the table has, if it has one.

        Both sides name the range: of a file in order of ids, only the part of the table that the chunk
        covers is read, in the order of the key.
        """
        same = (self._known.c.id == self._staged.id) & self._known.c.id.between(first_id, last_id)
        joined = rows.select_from(self._staging.outerjoin(self._known, same))
        return joined.where(self._staged.id.between(first_id, last_id))

    def _is_due(self) -> sa.ColumnElement[bool]:
        known = self._known.c
        newer = known.version < self._staged.version
        return known.id.is_(None) | (newer & self._differs())

    def _differs(self) -> sa.ColumnElement[bool]:
        """Whether the staged row would change the data of the known one."""
        known = self._known.c
        return sa.or_(*(known[name].is_distinct_from(self._over(name)) for name in self._data))

    def _over(self, name: str) -> Value:
        """What the known value would become: a blank cell leaves it."""
        staged = self._staged[name]
        return sa.func.coalesce(staged, self._known.c[name]) if name in self._blank else staged

    def _inserted(self, name: str) -> Value:
        """What the column of a new row is to be."""
        if not self._fills(name):
            return self._staged[name]
        return sa.func.coalesce(self._staged[name], _default(self._target.c[name]))

    def _new(self, name: str) -> Value:
        """What the column of an existing row is to be."""
        if name not in self._blank:
            return self._excluded[name]
        return sa.func.coalesce(self._given(name), self._target.c[name])

    def _touch(self) -> dict[str, Value]:
        """The time of the write, for rows that do not give it."""
        if UPDATED_AT not in self._target.c:
            return {}
        if UPDATED_AT not in self._staged:
            return {UPDATED_AT: sa.func.now()}
        return {UPDATED_AT: sa.func.coalesce(self._given(UPDATED_AT), sa.func.now())}

    def _given(self, name: str) -> Value:
        """What was staged, null if blank. What would be inserted has the default in place of it."""
        if not self._fills(name):
            return self._excluded[name]
        staged = self._staging.alias("given")
        # Core would take its own `excluded` for one more table to select from.
        same_id = staged.c.id == sa.literal_column("excluded.id", sa.BigInteger)
        return sa.select(staged.c[name]).where(same_id).scalar_subquery()

    def _fills(self, name: str) -> bool:
        return name in self._blank and self._target.c[name].server_default is not None


def _default(column: sa.Column[Any]) -> Value:
    """What the table gives a new row that does not name the column."""
    default = column.server_default
    if not isinstance(default, sa.DefaultClause):
        raise TypeError(f"{column} has no default that a statement could use")
    if isinstance(default.arg, str):
        return sa.literal(default.arg)
    return sa.cast(default.arg, column.type)
