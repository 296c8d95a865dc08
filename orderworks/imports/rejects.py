"""The rejected rows of an import, and the CSV file in which an operator can correct them.

Its columns are those of the file, then the errors: so it can be corrected in place and imported with
the first import as its parent.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from orderworks.core.errors import ImportNotFound
from orderworks.core.schema import import_rejects, imports
from orderworks.imports.csv_records import read_records
from orderworks.imports.file_format import FileFormat
from orderworks.imports.reject_sheet import guard_formula, own_column

COLUMNS = ("line", "column", "code", "reason", "raw")

UNREADABLE = ("wrong_width", "unclosed_quote", "text_after_quote", "bad_encoding", "bad_json")
"""Codes of records whose text cannot be split into the columns."""


class RejectedRow(NamedTuple):
    """A refused record. `line` is its first one in the file, `raw` its text there.

    `column` is empty where the record as a whole is at fault.
    """

    line: int
    column: str
    code: str
    reason: str
    raw: str


def file_format_of(connection: sa.Connection, import_id: str) -> FileFormat:
    """The format of the import's records.

    Raises:
        ImportNotFound: the ledger has no such import.
    """
    query = sa.select(*imports.c["format", "delimiter", "header"]).where(imports.c.id == import_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ImportNotFound(f"there is no import {import_id}")
    return FileFormat(*row)


def iter_rejects(connection: sa.Connection, import_id: str) -> Iterator[RejectedRow]:
    """The rejects in the order of their lines.

    Streamed from the server: keep the connection open until the last one.
    """
    return _streamed(connection, _rejects(import_id))


def iter_uncorrected(connection: sa.Connection, import_id: str) -> Iterator[RejectedRow]:
    """As `iter_rejects`, without those that another import has corrected."""
    return _streamed(connection, _uncorrected(import_id))


class Reasons(msgspec.Struct, frozen=True):
    """Rejects with one column and code: how many, the first line, and the reason of that one."""

    column: str
    code: str
    rows: int
    first_line: int
    reason: str


def page_of_uncorrected(
    connection: sa.Connection, import_id: str, after: int, limit: int
) -> list[RejectedRow]:
    """At most `limit` of what `iter_uncorrected` gives, of the lines after that one."""
    return _page(connection, _uncorrected(import_id), after, limit)


def page_of_rejects(
    connection: sa.Connection, import_id: str, after: int, limit: int
) -> list[RejectedRow]:
    """At most `limit` of what `iter_rejects` gives, of the lines after that one."""
    return _page(connection, _rejects(import_id), after, limit)


def count_reasons(connection: sa.Connection, import_id: str) -> list[Reasons]:
    """The reasons of the uncorrected rejects, most rows first."""
    reject, count = import_rejects.c, sa.func.count()
    first = sa.func.min(reject.line)
    reason = sa.func.array_agg(aggregate_order_by(reject.reason, reject.line))[1]
    query = (
        sa.select(reject["column"], reject.code, count, first, reason)
        .where(reject.import_id == import_id, reject.mended_by.is_(None))
        .group_by(reject["column"], reject.code)
        .order_by(count.desc(), first)
    )
    return [Reasons(*row) for row in connection.execute(query)]


def as_csv(rejects: Iterable[RejectedRow], file_format: FileFormat) -> Iterator[str]:
    """The lines of the file to correct, each with its line end, the header first.

    `raw` is filled only where the record cannot be split into just the header's columns. No cell begins
    like a formula; `reject_sheet.unguard_formula` restores it.
    """
    header = file_format.header
    yield _line([*header, *(own_column(name, header) for name in COLUMNS)])
    for reject in rejects:
        cells, raw = _split(reject, file_format)
        yield _line([*cells, str(reject.line), reject.column, reject.code, reject.reason, raw])


def _split(reject: RejectedRow, file_format: FileFormat) -> tuple[list[str], str]:
    """A cell for each column of the header, and the record's text unless the cells have all of it."""
    blank = [""] * len(file_format.header)
    if reject.code in UNREADABLE:
        return blank, reject.raw
    if file_format.format == "jsonl":
        return _split_object(reject.raw, file_format.header)
    (cells,) = read_records([reject.raw], file_format.delimiter)
    return (cells, "") if len(cells) == len(blank) else (blank, reject.raw)


def _split_object(raw: str, header: Sequence[str]) -> tuple[list[str], str]:
    """The same, of a JSON object."""
    try:
        values = _values(raw)
    except RecursionError:
        # The worker that parsed it had more stack left for levels of nesting.
        return [""] * len(header), raw
    unknown = values.keys() - set(header)
    return [values.get(name, "") for name in header], raw if unknown else ""


def _values(raw: str) -> dict[str, str]:
    """The values of a JSON object as text, by its keys."""
    values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return {name: _text(value) for name, value in values.items()}


def _text(value: msgspec.Raw) -> str:
    """A text without its quotes, the empty text for null, any other value as it is written."""
    written = bytes(value).decode()
    if written.startswith('"'):
        return msgspec.json.decode(written, type=str)
    return "" if written == "null" else written


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    # With this line end the writer quotes a lone CR too.
    csv.writer(text, lineterminator="\r\n").writerow([guard_formula(cell) for cell in cells])
    return text.getvalue().removesuffix("\r\n") + "\n"


def _rejects(import_id: str) -> sa.Select[Any]:
    return (
        sa.select(*import_rejects.c[COLUMNS])
        .where(import_rejects.c.import_id == import_id)
        .order_by(import_rejects.c.line)
    )


def _uncorrected(import_id: str) -> sa.Select[Any]:
    return _rejects(import_id).where(import_rejects.c.mended_by.is_(None))


def _streamed(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[RejectedRow]:
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield RejectedRow(*row)


def _page(
    connection: sa.Connection, query: sa.Select[Any], after: int, limit: int
) -> list[RejectedRow]:
    page = query.where(import_rejects.c.line > after).limit(limit)
    return [RejectedRow(*row) for row in connection.execute(page)]
