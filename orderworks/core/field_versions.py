"""The rule of all writes: each field of a row belongs to the newest write that gave it.

A write gives a field if its version is higher than that of the write that gave the field last. So the
row after any set of writes is the same, in any order and with any repetition.

`version` of a row is that of its newest write. `field_versions` is null while that write has given all
fields. Otherwise its elements are the versions of the fields, in the order of `FIELDS`: null for the
row's `version`, `NEVER` for a field that has its default because no write has given it yet. Other
columns, such as `updated_at`, belong to the newest write.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array

FIELDS: Mapping[str, tuple[str, ...]] = {
    "customers": ("phone", "email", "name"),
    "orders": ("created_at", "status", "total", "customer_id"),
}
"""The fields of each table. Those that writes leave out most often come first: arrays stay short."""

NEVER = -1
"""The version of a field that no write has given."""

SqlValue = sa.ColumnElement[Any]


def field_version(table: sa.Table, name: str) -> SqlValue:
    """Return the version of the write that gave the column's value."""
    if name not in FIELDS[table.name]:
        return table.c.version
    return sa.func.coalesce(_element(table, name), table.c.version)


def _element(table: sa.Table, name: str) -> SqlValue:
    return table.c.field_versions[FIELDS[table.name].index(name) + 1]


def is_newer(table: sa.Table, name: str, version: SqlValue) -> sa.ColumnElement[bool]:
    """Return whether a write with this version gives the column; false if the version is null."""
    # No field is newer than its row, so for nearly every write the first comparison decides.
    newer = version > table.c.version
    if name in FIELDS[table.name]:
        newer |= version > _element(table, name)
    return sa.func.coalesce(newer, sa.false())


def versions_after(table: sa.Table, written: Mapping[str, SqlValue]) -> SqlValue:
    """Return `field_versions` of an existing row after a write.

    `written` has the versions of the fields that the write may give; the other fields keep theirs.
    """
    elements = [
        written[name] if name in written else field_version(table, name)
        for name in FIELDS[table.name]
    ]
    return sa.cast(array(elements), sa.ARRAY(sa.BigInteger))


def versions_of_new(table: sa.Table, given: Mapping[str, SqlValue | None]) -> SqlValue:
    """Return `field_versions` of a new row. In `given`, None stands for the version of the row."""
    elements = [_of_new(given, name) for name in FIELDS[table.name]]
    return sa.cast(array(elements), sa.ARRAY(sa.BigInteger))


def _of_new(given: Mapping[str, SqlValue | None], name: str) -> SqlValue:
    if name not in given:
        return sa.literal(NEVER)
    version = given[name]
    return sa.null() if version is None else sa.func.coalesce(version, NEVER)


def stored_version(
    table: sa.Table, name: str, version: int, field_versions: Sequence[int | None] | None
) -> int:
    """Return the version of a field of a row that was read."""
    index = FIELDS[table.name].index(name)
    element = field_versions[index] if field_versions and index < len(field_versions) else None
    return version if element is None else element
