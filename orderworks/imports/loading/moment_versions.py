"""The versions of a file's rows, as numbers: some files have counters, others have moments.

A moment is on the scale of the order of acceptance, as `version_at` has it.
"""

import polars as pl

from orderworks.core.versions import SEQUENCE_BITS

MILLISECONDS = 1 << (63 - SEQUENCE_BITS)
"""Milliseconds from 1970 that a version can have: until the 26th of September 2248."""


def as_versions(texts: pl.Series) -> pl.Series:
    """Return the versions of valid texts: whole numbers, moments, or both; null for null."""
    numbers = texts.cast(pl.Int64, strict=False)
    if numbers.null_count() == texts.null_count():
        return numbers
    text = pl.col(texts.name)
    version = pl.coalesce(text.cast(pl.Int64, strict=False), version_of_moment(text))
    return texts.to_frame().select(version.alias(texts.name)).to_series()


def version_of_moment(text: pl.Expr) -> pl.Expr:
    """The version of a text that has the form `MOMENT`; null if it is before 1970 or too late."""
    microseconds = _microseconds(text)
    milliseconds, rest = microseconds // 1000, microseconds % 1000
    version = milliseconds * (1 << SEQUENCE_BITS) + rest * (1 << SEQUENCE_BITS) // 1000
    return pl.when(milliseconds.is_between(0, MILLISECONDS - 1)).then(version)


def _microseconds(text: pl.Expr) -> pl.Expr:
    """Microseconds from 1970 to the moment; null if the calendar has no such day."""
    days = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    hours, minutes, rest = (
        _number(text.str.slice(11, 2)),
        _number(text.str.slice(14, 2)),
        text.str.slice(16),
    )
    seconds = _number(rest.str.extract("^:([0-9]{2})"))
    fraction = _number(rest.str.extract(r"^:[0-9]{2}\.([0-9]{1,6})").str.pad_end(6, "0"))
    whole_seconds = days * 86_400 + hours * 3600 + minutes * 60 + seconds - _offset(rest)
    return whole_seconds * 1_000_000 + fraction


def _offset(text: pl.Expr) -> pl.Expr:
    """The seconds of the offset from UTC at the end of the text."""
    hours = _number(text.str.extract("[+-]([0-9]{2})"))
    minutes = _number(text.str.extract("[+-][0-9]{2}:?([0-9]{2})"))
    seconds = hours * 3600 + minutes * 60
    return pl.when(text.str.contains("-", literal=True)).then(-seconds).otherwise(seconds)


def _number(digits: pl.Expr) -> pl.Expr:
    """The number; 0 without digits."""
    return digits.cast(pl.Int64, strict=False).fill_null(0)
