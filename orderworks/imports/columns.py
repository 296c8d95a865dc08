"""The columns that a file of each kind may have, and their positions in a file.

The rules that their values must follow are in `loading.column_rules`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple

from orderworks.core.errors import InvalidFile, InvalidInput

ImportKind = Literal["customers", "orders"]


class ColumnRule(Enum):
    """The type that the text of a column is read as."""

    ID = auto()
    """A whole number, 1 to 2^63 - 1."""
    VERSION = auto()
    """A whole number, 0 to 2^63 - 1."""
    MONEY = auto()
    """A plain decimal from 0 to under 10^12 with at most two decimals."""
    MOMENT = auto()
    """An ISO 8601 date or date and time; in UTC unless it has an offset."""
    TEXT = auto()
    """Any text up to the column's length."""


@dataclass(frozen=True)
class Column:
    """A column of the table that a file may fill. `max_chars` limits the length of texts."""

    name: str
    rule: ColumnRule
    required: bool = False
    max_chars: int = 0


COLUMNS: dict[ImportKind, tuple[Column, ...]] = {
    "orders": (
        Column("id", ColumnRule.ID, required=True),
        Column("customer_id", ColumnRule.ID, required=True),
        Column("total", ColumnRule.MONEY, required=True),
        Column("status", ColumnRule.TEXT, max_chars=64),
        Column("created_at", ColumnRule.MOMENT),
        Column("updated_at", ColumnRule.MOMENT),
        Column("version", ColumnRule.VERSION),
    ),
    "customers": (
        Column("id", ColumnRule.ID, required=True),
        Column("name", ColumnRule.TEXT, required=True, max_chars=1000),
        Column("email", ColumnRule.TEXT, max_chars=320),
        Column("phone", ColumnRule.TEXT, max_chars=64),
        Column("version", ColumnRule.VERSION),
    ),
}


CUSTOMER_NAME = "customer_name"
"""In a file of orders, the name of a customer to create. The table of orders has no such column."""

PARENT_LINE = "line"
"""In a sheet of corrected rejects, the line that a row has in the parent's file."""

PARENT_LINE_COLUMN = "parent_line"
"""The name of the same while it is loaded, when `line` is the row's line in the sheet."""

EXTRA_COLUMNS = {
    CUSTOMER_NAME: Column(CUSTOMER_NAME, ColumnRule.TEXT, max_chars=1000),
    PARENT_LINE: Column(PARENT_LINE_COLUMN, ColumnRule.ID, required=True),
}
"""Columns that some files have in addition to those of the table."""


class Field(NamedTuple):
    """A column of the table and its index, from 0, in the rows of the file."""

    column: Column
    column_index: int


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Target to source column, from texts such as `total=o_totalprice`.

    Raises:
        InvalidInput: a text is not of that form, or two name the same target.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        target, separator, source = pair.partition("=")
        if not (target and separator and source):
            raise InvalidInput(f"'{pair}' is not a mapping: give it as target=column")
        if target in mapping:
            raise InvalidInput(f"{target} is mapped twice: to {mapping[target]} and to {source}")
        mapping[target] = source
    return mapping


def match_columns(
    name: str, kind: ImportKind, header: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, str]:
    """Match the columns of the file with those of the table; as target to source.

    A target that is not mapped is filled by the column of its own name. Other columns are ignored.

    Raises:
        InvalidFile: a needed or mapped column is missing, or is there twice; `name` names the file.
    """
    _refuse_unknown_targets(name, kind, mapping)
    matched = {}
    for column in COLUMNS[kind]:
        source = mapping.get(column.name, column.name)
        if source in header:
            matched[column.name] = source
        elif column.required or column.name in mapping:
            _refuse_missing(name, column.name, source, header)
    for source in matched.values():
        if header.count(source) > 1:
            raise InvalidFile(f"{name}: has more than one column '{source}'")
    return matched


def require_columns(
    name: str, kind: ImportKind, header: Sequence[str], mapping: Mapping[str, str]
) -> None:
    """Raise InvalidFile if a column that every file of the kind needs is missing."""
    for column in COLUMNS[kind]:
        source = mapping.get(column.name, column.name)
        if column.required and source not in header:
            _refuse_missing(name, column.name, source, header)


def locate_fields(
    kind: ImportKind, header: Sequence[str], matched: Mapping[str, str]
) -> tuple[Field, ...]:
    """The matched columns with their indexes, in the order of the file."""
    known = {column.name: column for column in COLUMNS[kind]} | EXTRA_COLUMNS
    fields = (Field(known[target], header.index(name)) for target, name in matched.items())
    return tuple(sorted(fields, key=lambda field: field.column_index))


def _refuse_unknown_targets(name: str, kind: ImportKind, mapping: Mapping[str, str]) -> None:
    known = [column.name for column in COLUMNS[kind]]
    for target in mapping:
        if target not in known:
            raise InvalidFile(
                f"{name}: {kind} have no column '{target}' to map to; they have {', '.join(known)}"
            )


def _refuse_missing(name: str, target: str, source: str, header: Sequence[str]) -> None:
    missing = f"'{target}'" if target == source else f"'{source}' (for '{target}')"
    raise InvalidFile(
        f"{name}: has no column {missing}; its columns are {', '.join(header)}. "
        f"Map one with {target}=column"
    )
