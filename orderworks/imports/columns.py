"""The columns that a file of each kind may have, and their positions in a file.

The rules that their values must follow are in `loading.column_rules`.
"""

import difflib
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple

from orderworks.core.errors import InvalidFile, InvalidInput
from orderworks.core.text import WHITE_SPACE, visible

ImportKind = Literal["customers", "orders"]

EmptyCells = Literal["keeps", "clears"]
"""The effect of an empty cell of CSV on a field that may be null."""

DELIMITERS = ",;\t|"
"""The delimiters of CSV that are detected."""


class ColumnRule(Enum):
    """The type that the text of a column is read as."""

    ID = auto()
    """A whole number, 1 to 2^63 - 1."""
    VERSION = auto()
    """A whole number, 0 to 2^63 - 1, or a moment, which is its place in the order of acceptance."""
    MONEY = auto()
    """A plain decimal from 0 to under 10^12 with at most two decimals."""
    MOMENT = auto()
    """An ISO 8601 date or date and time; in UTC unless it has an offset."""
    TEXT = auto()
    """Any text up to the column's length."""


@dataclass(frozen=True)
class Column:
    """A column of the table that a file may fill.

    Attributes:
        max_chars: limit of the length of texts.
        clearable: whether a row may give it as null, and so clear the value of the table.
    """

    name: str
    rule: ColumnRule
    required: bool = False
    max_chars: int = 0
    clearable: bool = False


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
        Column("email", ColumnRule.TEXT, max_chars=320, clearable=True),
        Column("phone", ColumnRule.TEXT, max_chars=64, clearable=True),
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
    name: str,
    kind: ImportKind,
    header: Sequence[str],
    mapping: Mapping[str, str],
    delimiter: str = "",
) -> dict[str, str]:
    """Match the columns of the file with those of the table; as target to source.

    A target that is not mapped is filled by the column of its own name. Where no column has exactly the
    name, the only one that differs by case, white space, `_` and `-` counts. Other columns are ignored.

    Raises:
        InvalidFile: needed or mapped columns are missing, or there is more than one for a target; `name`
            names the file.
    """
    _refuse_unknown_targets(name, kind, mapping)
    found = _find_columns(name, kind, header, mapping)
    needed = {column.name for column in COLUMNS[kind] if column.required} | mapping.keys()
    _refuse_missing(name, _missing(found, needed, mapping), header, delimiter)
    return {target: source for target, source in found.items() if source is not None}


def require_columns(
    name: str, kind: ImportKind, header: Sequence[str], mapping: Mapping[str, str]
) -> list[str]:
    """Check that no column is missing that every file of the kind needs; the optional ones that are.

    Raises:
        InvalidFile: one is.
    """
    found = _find_columns(name, kind, header, mapping)
    needed = {column.name for column in COLUMNS[kind] if column.required}
    _refuse_missing(name, _missing(found, needed, mapping), header, "")
    return [mapping.get(target, target) for target, source in found.items() if source is None]


def find_column(
    name: str, header: Sequence[str], wanted: str, taken: Collection[str] = ()
) -> str | None:
    """The column of that name, else the only one with a similar spelling; None without one.

    Columns that are `taken` by another target must have exactly the name.

    Raises:
        InvalidFile: there are several.
    """
    similar = [wanted] if wanted in header else _similar(header, wanted, taken)
    if len(similar) > 1:
        both = " and ".join(f"'{visible(each)}'" for each in similar)
        raise InvalidFile(
            f"{name}: {both} may both be the column '{wanted}': map one with --map {wanted}=column"
        )
    if similar and header.count(similar[0]) > 1:
        raise InvalidFile(f"{name}: has more than one column '{similar[0]}'")
    return similar[0] if similar else None


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


def _find_columns(
    name: str, kind: ImportKind, header: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, str | None]:
    """The column of the file for each target, or None."""
    mapped = {
        target: find_column(name, header, source)
        for target, source in mapping.items()
        if target in (column.name for column in COLUMNS[kind])
    }
    taken = {source for source in mapped.values() if source is not None}
    return {
        column.name: mapped[column.name]
        if column.name in mapped
        else find_column(name, header, column.name, taken)
        for column in COLUMNS[kind]
    }


def _similar(header: Sequence[str], wanted: str, taken: Collection[str]) -> list[str]:
    plain = plain_name(wanted)
    return [
        each for each in dict.fromkeys(header) if each not in taken and plain_name(each) == plain
    ]


def plain_name(name: str) -> str:
    """The name without case, white space, `_` and `-`, by which columns are compared."""
    return name.translate(_SPACING).casefold()


_SPACING = str.maketrans("", "", WHITE_SPACE + "_-")


def _missing(
    found: Mapping[str, str | None], needed: Collection[str], mapping: Mapping[str, str]
) -> dict[str, str]:
    """The needed targets without a column, and the names that it would have."""
    return {
        target: mapping.get(target, target)
        for target, source in found.items()
        if source is None and target in needed
    }


def _refuse_missing(
    name: str, missing: Mapping[str, str], header: Sequence[str], delimiter: str
) -> None:
    """Raise InvalidFile if columns are missing. `missing` has their names by target."""
    if not missing:
        return
    names = [
        f"'{source}'" if source == target else f"'{source}' (for '{target}')"
        for target, source in missing.items()
    ]
    *others, last = names
    listed = f"s {', '.join(others)} and {last}" if others else f" {last}"
    problem = f"{name}: has no column{listed}; its columns are {visible(', '.join(header))}"
    if _may_be_split_wrongly(header, delimiter):
        raise InvalidFile(
            f"{problem}. If its delimiter is not {delimiter!r}, give it with --delimiter"
        )
    near = ((target, _near_column(source, header)) for target, source in missing.items())
    options = " ".join(f"--map {target}={shlex.quote(each or 'column')}" for target, each in near)
    raise InvalidFile(f"{problem}. Map {'them' if others else 'one'} with {visible(options)}")


def _near_column(wanted: str, header: Sequence[str]) -> str:
    """The column with the most similar name; empty if none is similar."""
    by_name = {plain_name(each): each for each in header}
    near = difflib.get_close_matches(plain_name(wanted), by_name, n=1)
    return by_name[near[0]] if near else ""


def _may_be_split_wrongly(header: Sequence[str], delimiter: str) -> bool:
    """True if a column name contains what may be the delimiter of the file."""
    others = {*DELIMITERS, *map(chr, range(1, 32))} - {delimiter}
    return bool(delimiter) and any(others.intersection(each) for each in header)


def ignored_columns(header: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """The named columns of the file that fill none of the table."""
    used = set(mapping.values())
    return [each for each in dict.fromkeys(header) if each and each not in used]


def likely_columns(
    kind: ImportKind, ignored: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, str]:
    """Ignored columns that may be meant for a target that no column fills; by target."""
    by_name = {plain_name(each): each for each in ignored}
    likely: dict[str, str] = {}
    for target in (column.name for column in COLUMNS[kind] if column.name not in mapping):
        plain = plain_name(target)
        near = [each for each in by_name if plain in each]
        near += difflib.get_close_matches(plain, by_name, n=1)
        if near:
            likely[target] = by_name[near[0]]
    return likely
