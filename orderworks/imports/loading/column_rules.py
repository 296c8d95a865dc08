"""The text that each rule accepts, as polars expressions, and the reasons to reject other text.

`is_storable_unchanged` is cheap and runs over every row; it is true for nearly all cells that are valid
without cleaning, and for no other. Where it is false, the cell is cleaned and `accepts` decides. Where
that is false too, the problems are evaluated: the first one that applies is the reason, and the last one
of a rule applies to all that remain.
"""

from typing import NamedTuple

import polars as pl

from orderworks.core.text import WHITE_SPACE
from orderworks.core.versions import VERSION_MOMENTS
from orderworks.imports.columns import Column, ColumnRule
from orderworks.imports.loading.moment_versions import version_of_moment

WHOLE = "^[0-9]+$"
NUMBER = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$"
NOT_FINITE = "(?i)^[+-]?(?:nan|inf|infinity)$"
# Zeros around a number do not count, up to a length that only a hostile file exceeds.
MONEY = r"^(?:0{0,40}[0-9]{1,12}(?:\.[0-9]{0,2}0{0,40})?|\.[0-9]{1,2}0{0,40})$"
# Nearly all money: without zeros after two decimals, of which some read two ways.
PLAIN_MONEY = r"^(?:0{0,40}[0-9]{1,12}(?:\.[0-9]{0,2})?|\.[0-9]{1,2})$"
NEGATIVE_ZERO = r"^-(0+\.?0*|\.0+)$"
LARGE_MONEY = "^0*[1-9][0-9]{12}"
TIME = (
    r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    "(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)?)?$"
)
MOMENT = "^[0-9]{4}-[0-9]{2}-[0-9]{2}" + TIME
# Nearly all days: not the 29th of February.
_PLAIN_DAY = (
    "-(?:(?:0[13-9]|1[0-2])-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13578]|1[02])-31)"
)
PLAIN_MOMENT = "^[1-8][0-9]{3}" + _PLAIN_DAY + TIME
PLAIN_VERSION = "^(?:197[1-9]|19[89][0-9]|2[01][0-9]{2}|22[0-3][0-9])" + _PLAIN_DAY + TIME
"""Nearly all moments that are versions."""
YEARS = 2, 9998
"""In any time zone, these are years that Python and PostgreSQL both have."""
NUL = "\0"
CONTROL = r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r[^\n]"
"""Control characters in a text, other than tabs and line ends."""
_PLAIN = r"!-~\x{a1}-\x{ac}\x{ae}-\x{5ff}"
PLAIN_TEXT = f"^[{_PLAIN}](?:[ {_PLAIN}]*[{_PLAIN}])?$"
"""Nearly all texts: without control characters, and without white space around them."""

THREE_DECIMALS = r"^[0-9]*\.[0-9]{3}$"
"""Money that would be a thousand times as much if its point stood between thousands."""
DECIMAL_COMMA = r"[0-9],[0-9]{1,2}[^0-9.,]*$|[0-9]\.[0-9]{3}[.,][0-9]"
"""Money with a comma before its decimals, or with points between thousands."""
THOUSANDS_COMMA = "^[0-9]{1,3},[0-9]{3}$"


class CellProblem(NamedTuple):
    """The condition of a problem, its code, and its reason, which is written after the quoted value."""

    condition: pl.Expr
    code: str
    reason: str


def is_storable_unchanged(column: Column, cell: pl.Expr) -> pl.Expr:
    """True if a cheap check shows that the cell can be stored unchanged, else false; never null."""
    plain = _is_plain(column, cell).fill_null(value=False)
    return plain if column.required else cell.is_null() | (cell == "") | plain


def _is_plain(column: Column, cell: pl.Expr) -> pl.Expr:
    match column.rule:
        case ColumnRule.ID:
            return _is_plain_number(cell, 1)
        case ColumnRule.VERSION:
            return _is_plain_number(cell, 0) | cell.str.contains(PLAIN_VERSION)
        case ColumnRule.MONEY:
            return cell.str.contains(PLAIN_MONEY)
        case ColumnRule.MOMENT:
            return cell.str.contains(PLAIN_MOMENT)
        case ColumnRule.TEXT:
            fits = cell.str.len_bytes().is_between(1, column.max_chars)
            return fits & cell.str.contains(PLAIN_TEXT)


def cleaned(column: Column, cell: pl.Expr) -> pl.Expr:
    """The cell without white space around it, as it is stored; null if it is empty."""
    stripped = cell.str.strip_chars(WHITE_SPACE)
    if column.rule is ColumnRule.MONEY:
        stripped = stripped.str.replace(NEGATIVE_ZERO, "$1")
    return pl.when(stripped != "").then(stripped)


def accepts(column: Column, value: pl.Expr) -> pl.Expr:
    """True if the cleaned value can be stored, else false; never null."""
    follows = _follows_rule(column, value).fill_null(value=False)
    return follows if column.required else value.is_null() | follows


def thousands_problem(value: pl.Expr) -> CellProblem:
    """The problem of money with three decimals in a column whose other cells have decimal commas."""
    reason = (
        "reads two ways: its point may stand before decimals or between thousands, "
        "because other cells of the column have decimal commas"
    )
    return CellProblem(value.str.contains(THREE_DECIMALS), "ambiguous_number", reason)


def problems(column: Column, value: pl.Expr) -> list[CellProblem]:
    """The problems that a value may have that is not accepted, by precedence."""
    return [
        CellProblem(value.is_null(), "missing", "is empty"),
        CellProblem(value.str.contains(NUL, literal=True), "nul_byte", "contains a NUL byte"),
        *_problems_of_rule(column, value),
    ]


def _follows_rule(column: Column, value: pl.Expr) -> pl.Expr:
    match column.rule:
        case ColumnRule.ID:
            return value.str.contains(WHOLE) & (_whole(value) >= 1)
        case ColumnRule.VERSION:
            number = value.str.contains(WHOLE) & _whole(value).is_not_null()
            return number | (value.str.contains(MOMENT) & version_of_moment(value).is_not_null())
        case ColumnRule.MONEY:
            return value.str.contains(MONEY)
        case ColumnRule.MOMENT:
            return value.str.contains(MOMENT) & _year(value).is_between(*YEARS)
        case ColumnRule.TEXT:
            fits = value.str.len_chars() <= column.max_chars
            return fits & ~value.str.contains(NUL, literal=True) & ~value.str.contains(CONTROL)


def _problems_of_rule(column: Column, value: pl.Expr) -> list[CellProblem]:
    remains = pl.lit(value=True)
    not_finite = CellProblem(value.str.contains(NOT_FINITE), "not_finite", "is not a finite number")
    not_a_number = CellProblem(~value.str.contains(NUMBER), "bad_number", "is not a number")
    negative = CellProblem(value.str.starts_with("-"), "out_of_range", "is negative")
    match column.rule:
        case ColumnRule.ID:
            return [
                not_finite,
                not_a_number,
                negative,
                CellProblem(~value.str.contains(WHOLE), "bad_number", "is not a whole number"),
                CellProblem(remains, "out_of_range", "is not between 1 and 2^63 - 1"),
            ]
        case ColumnRule.VERSION:
            large = CellProblem(
                value.str.contains(WHOLE), "out_of_range", "is not between 0 and 2^63 - 1"
            )
            neither = "is neither a whole number nor a moment"
            return [
                CellProblem(value.str.contains("^-[0-9]+$"), "out_of_range", "is negative"),
                large,
                CellProblem(_is_moment(value), "out_of_range", f"is not {VERSION_MOMENTS}"),
                CellProblem(remains, "bad_number", neither),
            ]
        case ColumnRule.MONEY:
            return [
                not_finite,
                CellProblem(
                    value.str.contains(THOUSANDS_COMMA),
                    "ambiguous_number",
                    "reads two ways: its comma may stand before decimals or between thousands",
                ),
                not_a_number,
                negative,
                CellProblem(value.str.contains(LARGE_MONEY), "out_of_range", "is 10^12 or more"),
                CellProblem(remains, "too_precise", "has more than two decimals"),
            ]
        case ColumnRule.MOMENT:
            first, last = YEARS
            years = f"is not in one of the years {first} to {last}"
            return [
                CellProblem(_is_moment(value), "out_of_range", years),
                CellProblem(remains, "bad_timestamp", "is not an ISO 8601 date or time"),
            ]
        case ColumnRule.TEXT:
            longer = f"has more than {column.max_chars} characters"
            control = "has a control character in it"
            return [
                CellProblem(value.str.contains(CONTROL), "control_character", control),
                CellProblem(remains, "too_long", longer),
            ]


def _is_plain_number(cell: pl.Expr, lowest: int) -> pl.Expr:
    # The cast accepts a sign, and the rule does not.
    signed = cell.str.starts_with("+") | cell.str.starts_with("-")
    return (_whole(cell) >= lowest) & ~signed


def _is_moment(value: pl.Expr) -> pl.Expr:
    """True if the value has the form of a moment, on a day that the calendar has."""
    return value.str.contains(MOMENT) & (_year(value) >= 1).fill_null(value=False)


def _whole(value: pl.Expr) -> pl.Expr:
    """The value as a number; null if it is too large for 64 bits."""
    return value.cast(pl.Int64, strict=False)


def _year(value: pl.Expr) -> pl.Expr:
    """The year of a text that begins with a day; null if the calendar has no such day."""
    return value.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).dt.year()
