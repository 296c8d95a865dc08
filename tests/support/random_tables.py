"""Random tables of orders with bad rows among them, as files, and what must become of them.

The product is not asked: which rows are good, where each one stands and what the table must be in the
end is known from how the file was made.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from random import Random
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa
from hypothesis import strategies as st

from orderworks.core.schema import orders
from orderworks.core.text import WHITE_SPACE

Cells = dict[str, str]
"""The text of each column of a row."""

Stored = dict[int, tuple[int, Decimal, str, datetime | None, int | None]]
"""Orders by id: customer, total, status; creation time and version, if the file has them."""


class Row(NamedTuple):
    """A row that is to be written.

    Attributes:
        codes: those that its reject may have; none of a good row.
        broken: the code of what is wrong with the record as a whole, else empty.
        dice: the seed of how it is written.
    """

    cells: Cells
    codes: frozenset[str] = frozenset()
    broken: str = ""
    dice: int = 0


class TableFile(NamedTuple):
    """A file, and its rows by the line that each begins on."""

    content: bytes
    rows: dict[int, Row]

    @property
    def rejects(self) -> dict[int, frozenset[str]]:
        """The codes that are allowed, by the line of each bad row."""
        return {line: row.codes for line, row in self.rows.items() if row.codes}


# What cells are good and bad.

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
"""Later than all creation times in files. Orders without one are created now."""

CUSTOMERS = range(1, 10)
LARGEST = str(2**63 - 1)

MOMENTS = {
    "2024-02-29": datetime(2024, 2, 29, tzinfo=UTC),
    " 2000-02-29T23:59:59.25Z": datetime(2000, 2, 29, 23, 59, 59, 250_000, tzinfo=UTC),
    "1999-12-31 22:00-05:30": datetime(2000, 1, 1, 3, 30, tzinfo=UTC),
    "0002-01-01T00:00:00+15:59": datetime(1, 12, 31, 8, 1, tzinfo=UTC),
}

BAD = {
    "id": {
        **dict.fromkeys(("x", "1.5", "1e3", "+1", "1_0", "٣"), "bad_number"),
        **dict.fromkeys(("0", "-1", "-0", "9223372036854775808", "9" * 60), "out_of_range"),
        **dict.fromkeys(("", " \t", "\xa0\u200b"), "missing"),
        **dict.fromkeys(("nan", "-Infinity"), "not_finite"),
        "1\0": "nul_byte",
    },
    "customer_id": {
        **dict.fromkeys(("99", LARGEST), "unknown_customer"),
        **dict.fromkeys(("x", "1.0"), "bad_number"),
        "0": "out_of_range",
        "": "missing",
    },
    "total": {
        **dict.fromkeys(("12x", "1:5", "1e2", "+1", ".", "\uff11"), "bad_number"),
        **dict.fromkeys(("-0.01", "-7", "1000000000000", "1" * 50), "out_of_range"),
        "1,500": "ambiguous_number",
        **dict.fromkeys(("1.234", "0.001"), "too_precise"),
        **dict.fromkeys(("NaN", "inf", "+INF"), "not_finite"),
        "\0": "nul_byte",
        " ": "missing",
    },
    "status": {
        "x" * 65: "too_long",
        "é" * 65: "too_long",
        "a\0b": "nul_byte",
        "a\x1bb": "control_character",
    },
    "created_at": {
        **dict.fromkeys(("2023-02-29", "now", "2024-01-01T24:00", "1.2.2024"), "bad_timestamp"),
        **dict.fromkeys(("0001-12-31", "9999-01-01T00:00Z"), "out_of_range"),
        "2024-01-01\0": "nul_byte",
    },
    "version": {
        **dict.fromkeys(("-1", "9223372036854775808"), "out_of_range"),
        **dict.fromkeys(("1.5", "v1"), "bad_number"),
    },
}
"""Codes by text, by column."""

_LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc"])
_TEXTS = st.one_of(
    st.text(_LETTERS, max_size=6),
    st.text("\",;\t|\r\n\\.'= x", max_size=8),
    st.sampled_from(("\\N", "NULL", "\\.", "\ufeff", "\x85\u2028", "=1+1", "x" * 64, "é" * 64)),
    # A CR alone is a control character.
).map(lambda text: text.replace("\r", "\r\n"))

_GOOD: dict[str, st.SearchStrategy[str]] = {
    "id": st.integers(1, 12).map(str) | st.sampled_from((" 7 ", "\xa07\u200b", "007", LARGEST)),
    "customer_id": st.sampled_from(CUSTOMERS).map(str) | st.just("\t09 "),
    "total": st.one_of(
        st.integers(0, 10**14 - 1).map(lambda cents: f"{cents // 100}.{cents % 100:02}"),
        st.integers(0, 99).map(str),
        st.sampled_from(("0", "-0", "-0.00", ".5", "5.", "000.10", " 12.3400\t", "12.500")),
        st.just("999999999999.99"),
    ),
    "status": _TEXTS | st.sampled_from(("", "paid", "sent")),
    "created_at": st.sampled_from(("", *MOMENTS)),
    "version": st.just("") | st.integers(0, 4).map(str),
    "note": _TEXTS | st.just("\0"),
    "no;t,e\n2": _TEXTS,
}
"""Columns that the table does not have, such as `note`: their content is ignored."""

_NEEDED = ("id", "customer_id", "total")


# Tables.


def tables(*broken: str) -> st.SearchStrategy[list[Row]]:
    """Rows with the same columns in the same order, one good one at least.

    `broken` are codes of records that are bad as a whole, where the format has such.
    """
    optional = [name for name in _GOOD if name not in _NEEDED]
    columns = st.sets(st.sampled_from(optional)).flatmap(
        lambda chosen: st.permutations(sorted({*_NEEDED, *chosen}))
    )
    return columns.flatmap(lambda names: _rows(names, broken))


def _rows(columns: Sequence[str], broken: Sequence[str]) -> st.SearchStrategy[list[Row]]:
    seeds = st.integers(0, 2**16)
    cells = st.fixed_dictionaries({name: _GOOD[name] for name in columns})
    good = st.builds(
        lambda given, dice: Row({name: given[name] for name in columns}, dice=dice), cells, seeds
    )
    faulty = [(name, text) for name in columns for text in BAD.get(name, ())]
    some_faults = st.lists(st.sampled_from(faulty), min_size=1, max_size=2)
    bad = st.builds(_with_faults, good, some_faults)
    kinds = [good, good, bad]
    if broken:
        kinds.append(st.builds(_with_break, good, st.sampled_from(broken)))
    some = st.lists(st.one_of(kinds), max_size=20)
    return st.builds(lambda before, one, after: _settled([*before, one, *after]), some, good, some)


def _with_faults(row: Row, faults: Sequence[tuple[str, str]]) -> Row:
    cells = {**row.cells, **dict(faults)}
    codes = (BAD[name][cells[name]] for name, _text in faults)
    return row._replace(cells=cells, codes=frozenset(codes))


def _with_break(row: Row, broken: str) -> Row:
    return row._replace(codes=frozenset([broken]), broken=broken)


def _settled(rows: Sequence[Row]) -> list[Row]:
    """The rows, so that what the table must be does not depend on the order of the chunks.

    Where an id is there twice, an empty cell would keep what happens to be there already.
    """
    known = Counter(_key(row.cells) for row in rows)
    twice = {number for number, count in known.items() if count > 1}
    return [
        row._replace(cells={**row.cells, **_filled(row.cells)}) if _key(row.cells) in twice else row
        for row in rows
    ]


def _key(cells: Cells) -> str:
    return cells["id"].strip(WHITE_SPACE).lstrip("0")


def _filled(cells: Cells) -> Cells:
    """The optional cells that are empty, with something in them."""
    something = {"status": "sent", "created_at": "2024-02-29"}
    return {
        name: text
        for name, text in something.items()
        if name in cells and not cells[name].strip(WHITE_SPACE)
    }


# What must be in the end.


def expected(file: TableFile) -> Stored:
    """The table: of each id the good row with the highest version, the last of those that have it.

    One without a version comes later than all.
    """
    newest: dict[int, tuple[tuple[int, int, int], Cells]] = {}
    good = {line: row.cells for line, row in file.rows.items() if not row.codes}
    for line, cells in good.items():
        version, key = cells.get("version"), int(_key(cells))
        rank = (0, int(version), line) if version else (1, line, line)
        if key not in newest or rank > newest[key][0]:
            newest[key] = rank, cells
    return {key: _stored(cells) for key, (_rank, cells) in newest.items()}


def _stored(cells: Cells) -> tuple[int, Decimal, str, datetime | None, int | None]:
    status, version = cells.get("status", "").strip(WHITE_SPACE), cells.get("version")
    return (
        int(cells["customer_id"]),
        abs(Decimal(cells["total"].strip(WHITE_SPACE))),
        status or "new",
        MOMENTS.get(cells.get("created_at", "")),
        int(version) if version else None,
    )


def read_stored(engine: sa.Engine, wanted: Stored) -> Stored:
    """The whole orders table. Times and versions that the file does not give are left out.

    Of a row that was there already such a version is not the import's, which is no matter.
    """
    query = sa.select(*orders.c["id", "customer_id", "total", "status", "created_at", "version"])
    given = {key for key, row in wanted.items() if row[-1] is not None}
    with engine.connect() as connection:
        return {
            key: (
                who,
                what,
                how,
                None if made >= SINCE else made,
                version if key in given else None,
            )
            for key, who, what, how, made, version in connection.execute(query)
        }


# CSV.

DELIMITERS = ",;\t|"

BARE = -1
"""The seed with which no cell is quoted."""


def as_csv(rows: Sequence[Row], delimiter: str, seed: int) -> TableFile:
    """The rows as CSV, quoted here and there as it may be, with blank lines and both line ends.

    A quote that is never closed must be the last one of its file.
    """
    dice = Random(seed)
    rows = _without_quotes_after_unclosed(rows)
    content = bytearray(dice.choice((b"", b"\xef\xbb\xbf")))
    content += _record(list(rows[0].cells), delimiter, dice).encode() + _line_end(dice)
    placed = {}
    for row in rows:
        while dice.random() < 0.05:
            content += _line_end(dice)
        placed[content.count(b"\n") + 1] = row
        content += _csv_record(row, delimiter) + _line_end(dice)
    if dice.random() < 0.5:
        content = content.removesuffix(b"\n").removesuffix(b"\r")
    return TableFile(bytes(content), placed)


def _without_quotes_after_unclosed(rows: Sequence[Row]) -> list[Row]:
    """The rows; from the first with an open quote on, which is the only one then, none needs quotes."""
    at = next((at for at, row in enumerate(rows) if row.broken == "unclosed_quote"), None)
    if at is None:
        return list(rows)
    after = (row for row in rows[at + 1 :] if row.broken != "unclosed_quote")
    return _settled([*rows[:at], *map(_bare, [rows[at], *after])])


def _bare(row: Row) -> Row:
    """The row without what has to be quoted, to be written without quotes."""
    special = {ord(each): None for each in '"\r\n' + DELIMITERS}
    cells = {name: text.translate(special) for name, text in row.cells.items()}
    return row._replace(cells=cells, dice=BARE)


def _csv_record(row: Row, delimiter: str) -> bytes:
    dice = Random(row.dice)
    cells = list(row.cells.values())
    match row.broken:
        case "bad_encoding":
            at = dice.randrange(len(cells))
            cells[at] += "\udcff"
        case "wrong_width" if dice.random() < 0.5 and cells[0]:
            del cells[dice.randrange(1, len(cells)) :]
        case "wrong_width":
            cells += ["x"] * dice.randint(1, 3)
        case "unclosed_quote":
            return delimiter.join(['"' + cells[0], *cells[1:]]).encode()
    text = delimiter.join(cells) if row.dice == BARE else _record(cells, delimiter, dice)
    return text.encode(errors="surrogateescape")


def _record(cells: Sequence[str], delimiter: str, dice: Random) -> str:
    return delimiter.join(_field(cell, dice) for cell in cells)


def _field(cell: str, dice: Random) -> str:
    """The cell bare where it may be, or quoted."""
    special = any(letter in cell for letter in (*DELIMITERS, "\n"))
    if not (special or cell.startswith('"') or cell.endswith("\r") or dice.random() < 0.3):
        return cell
    return '"' + cell.replace('"', '""') + '"' + dice.choice(("", "", " "))


def _line_end(dice: Random) -> bytes:
    return dice.choice((b"\n", b"\r\n"))


# JSON Lines.

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)


def as_jsonl(rows: Sequence[Row], seed: int) -> TableFile:
    """The rows as JSON Lines: keys in any order, numbers as such or as texts, nulls or no key at all."""
    dice = Random(seed)
    first_good = next(row for row in rows if not row.codes)
    content = bytearray(dice.choice((b"", b"\xef\xbb\xbf")))
    placed = {}
    for row in rows:
        while dice.random() < 0.05:
            content += _line_end(dice)
        placed[content.count(b"\n") + 1] = row
        content += _json_record(row, whole=row is first_good) + _line_end(dice)
    if dice.random() < 0.5:
        content = content.removesuffix(b"\n").removesuffix(b"\r")
    return TableFile(bytes(content), placed)


def _json_record(row: Row, *, whole: bool) -> bytes:
    """The object. `whole` leaves no key out: from such a row it is known which ones there are."""
    dice = Random(row.dice)
    members = {name: _value(name, text, dice) for name, text in row.cells.items()}
    left_out = [name for name, text in row.cells.items() if not text and dice.random() < 0.5]
    for name in () if whole else left_out:
        del members[name]
    if dice.random() < 0.2:
        members["other"] = '{"a": ["}\\"", null]}'
    if row.broken == "bad_encoding":
        members["total"] = '"\udcff"'
    if row.broken == "wrong_type":
        members[dice.choice(_NEEDED)] = dice.choice(("true", "false", "{}", "[1]"))
    pairs = [f"{json.dumps(name)}:{dice.choice(('', ' '))}{members[name]}" for name in members]
    dice.shuffle(pairs)
    text = "{" + f",{dice.choice(('', ' '))}".join(pairs) + "}"
    if row.broken == "bad_json":
        text = dice.choice((text[:-1], text + "{}", f"1{text}", "   ", "x", '{"id":"\\ud800"}'))
    return text.encode(errors="surrogateescape")


def _value(name: str, text: str, dice: Random) -> str:
    if name in ("id", "customer_id", "total", "version") and _NUMBER.fullmatch(text):
        return dice.choice((text, json.dumps(text)))
    if not text:
        return dice.choice(('""', "null"))
    return json.dumps(text, ensure_ascii=dice.random() < 0.5)


# Parquet.


def as_parquet(rows: Sequence[Row], seed: int) -> TableFile:
    """The rows as Parquet; a column that holds nothing but numbers may be one of numbers.

    A line is one of the text that it is turned into, with a line end in a cell as one of its own.
    """
    dice = Random(seed)
    names = list(rows[0].cells)
    columns = [_column(name, [row.cells[name] for row in rows], dice) for name in names]
    content = BytesIO()
    pl.DataFrame(columns).write_parquet(content, row_group_size=dice.choice((1, 5, 100)))
    placed, line = {}, 2 + sum(name.count("\n") for name in names)
    for row in rows:
        placed[line] = row
        line += 1 + sum(text.count("\n") for text in row.cells.values())
    return TableFile(content.getvalue(), placed)


def _column(name: str, texts: Sequence[str], dice: Random) -> pl.Series:
    given = [text or None for text in texts]
    if name != "note" and dice.random() < 0.5:
        if all(text is None or _is_whole(text) for text in given):
            return pl.Series(name, [text and int(text) for text in given], dtype=pl.Int64)
        if name == "total" and all(text is None or _is_float(text) for text in given):
            return pl.Series(name, [text and float(text) for text in given], dtype=pl.Float64)
    kind = dice.choice((pl.String, pl.Categorical))
    return pl.Series(name, given if dice.random() < 0.5 else texts, dtype=kind)


def _is_whole(text: str) -> bool:
    return bool(re.fullmatch("-?[1-9][0-9]{0,17}", text, re.ASCII))


def _is_float(text: str) -> bool:
    """Return true if a float represents the number exactly as written, or the text is not a number."""
    return text in ("NaN", "inf") or (bool(_NUMBER.fullmatch(text)) and "e" not in text)
