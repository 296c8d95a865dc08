"""The sheet of rejects: it has the cells of the file, and no spreadsheet runs them."""

import csv
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderworks.core.errors import InvalidFile
from orderworks.imports.file_format import FileFormat
from orderworks.imports.reject_sheet import guard_formula, line_column, own_column, unguard_formula
from orderworks.imports.rejects import UNREADABLE, RejectedRow, as_csv

COLUMNS = ["line", "column", "code", "reason", "raw"]
ORDERS = ["id", "customer_id", "total"]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
like_formulas = st.text("'=+-@\t\r\n\",;x", max_size=6)
cells = texts | like_formulas
rows = st.lists(cells, min_size=2, max_size=5)


def bad(raw: str, code: str = "not_a_number") -> RejectedRow:
    return RejectedRow(7, "total", code, "total: 'x' is not a number", raw)


def read(rejects: list[RejectedRow], layout: FileFormat) -> list[list[str]]:
    """The header and the rows, as a spreadsheet reads them."""
    return list(csv.reader(io.StringIO("".join(as_csv(rejects, layout)), newline="")))


def as_record(row: list[str], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(row)
    return text.getvalue().removesuffix("\r\n")


@given(row=rows, delimiter=st.sampled_from(",;|\t'="))
def test_csv_cells_round_trip(row: list[str], delimiter: str) -> None:
    header = [f"column {place}" for place in range(len(row))]
    reject = bad(as_record(row, delimiter))
    _names, written = read([reject], FileFormat("csv", delimiter, header))
    assert [unguard_formula(cell) for cell in written[: len(row)]] == row
    assert written[len(row) :] == ["7", "total", "not_a_number", reject.reason, ""]


@given(row=rows)
def test_json_texts_round_trip(row: list[str]) -> None:
    header = [f"key {place}" for place in range(len(row))]
    raw = msgspec.json.encode(dict(zip(header, row, strict=True))).decode()
    _names, written = read([bad(raw)], FileFormat("jsonl", "", header))
    assert [unguard_formula(cell) for cell in written[: len(row)]] == row


@given(cell=cells)
def test_no_cell_begins_like_a_formula(cell: str) -> None:
    assert not guard_formula(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguard_formula(guard_formula(cell)) == cell


def test_json_numbers_keep_their_spelling_and_null_is_empty() -> None:
    raw = '{"total": 1.10000000000000000001, "id": null, "note": [1]}'
    layout = FileFormat("jsonl", "", ["id", "customer_id", "total", "note"])
    _names, written = read([bad(raw)], layout)
    assert written[:4] == ["", "", "1.10000000000000000001", "[1]"]


@pytest.mark.parametrize("code", UNREADABLE)
def test_unsplittable_record_is_written_as_raw_text(code: str) -> None:
    _names, written = read([bad("=1,2,x", code)], FileFormat("csv", ",", ORDERS))
    assert written[:3] == ["", "", ""]
    assert written[-1] == "'=1,2,x"


def test_json_object_with_unknown_key_is_also_written_as_raw_text() -> None:
    raw = '{"id": 1, "other": 2}'
    _names, written = read([bad(raw)], FileFormat("jsonl", "", ORDERS))
    assert written[:3] == ["1", "", ""]
    assert written[-1] == raw


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (ORDERS, COLUMNS),
        (["id", "line", "raw"], ["reject_line", "column", "code", "reason", "reject_raw"]),
        (["reject_line"], ["reject_reject_line", *COLUMNS[1:]]),
        (["line", "reject_line"], ["reject_reject_line", *COLUMNS[1:]]),
    ],
)
def test_sheet_columns_never_reuse_a_name_of_the_file(header: list[str], names: list[str]) -> None:
    assert [own_column(name, header) for name in COLUMNS] == names
    written = read([], FileFormat("csv", ";", header))[0]
    assert written == [*header, *names]
    assert line_column("bad.csv", written) == names[0]


def test_a_sheet_without_the_line_is_refused() -> None:
    with pytest.raises(InvalidFile, match=r"bad\.csv: has no column 'line'"):
        line_column("bad.csv", ORDERS)
    with pytest.raises(InvalidFile, match=r"more than one column 'line'"):
        line_column("bad.csv", ["line", "line"])


def test_headers_are_escaped_against_formulas() -> None:
    assert read([], FileFormat("csv", ",", ["=id", "b"]))[0][:2] == ["'=id", "b"]
