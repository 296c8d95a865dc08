"""Corrected rejects are imported, and every row of their file is accounted for."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.errors import ImportFailed, InvalidFile
from orderworks.core.schema import import_rejects, orders
from orderworks.imports import ledger
from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary, read_progress
from orderworks.imports.rejects import as_csv, file_format_of, iter_uncorrected
from tests.support.types import AcceptFile, LoadFile

SheetRows = list[dict[str, str]]

FILE = "Nr;customer_id;total;status\n1;1;x;new\n2;1;2;new\n3;77;3;=1+1\n4;1;4\n2;1;-9;new\n"

pytestmark = pytest.mark.usefixtures("people")


def sheet(engine: sa.Engine, import_id: str) -> SheetRows:
    """The sheet that an operator gets to correct."""
    with engine.connect() as connection:
        text = as_csv(
            iter_uncorrected(connection, import_id), file_format_of(connection, import_id)
        )
        return list(csv.DictReader(io.StringIO("".join(text))))


def as_file(rows: SheetRows) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def table(engine: sa.Engine) -> dict[int, tuple[Any, ...]]:
    with engine.connect() as connection:
        query = sa.select(*orders.c["id", "customer_id", "total", "status"])
        return {row[0]: tuple(row[1:]) for row in connection.execute(query)}


def load_child(importer: Importer, accept: AcceptFile, content: bytes, parent: str) -> Summary:
    mapping = {"id": "Nr"}
    import_id = accept(content, parent=parent, mapping=mapping)
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    with importer.engine.connect() as connection:
        return ledger.import_summary(connection, import_id)


@pytest.fixture
def parent(load: LoadFile) -> str:
    summary = load(FILE.encode(), delimiter=";", mapping={"id": "Nr"})
    assert (summary["applied"], summary["rejected"]) == (1, 4)
    return str(summary["id"])


def mended(rows: SheetRows) -> SheetRows:
    """All rows set right."""
    right = {
        "2": {"total": "1"},
        "4": {"customer_id": "2"},
        "5": {"Nr": "4", "customer_id": "1", "total": "4"},
        "6": {"total": "9"},
    }
    return [{**row, **right[row["line"]]} for row in rows]


def test_corrected_rejects_complete_the_parent(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, parent: str
) -> None:
    rows = sheet(engine, parent)
    assert [row["code"] for row in rows] == [
        "bad_number",
        "unknown_customer",
        "wrong_width",
        "out_of_range",
    ]
    child = load_child(importer, accept, as_file(mended(rows)), parent)
    assert (child["status"], child["applied"], child["rejected"]) == ("done", 4, 0)
    assert table(engine) == {
        1: (1, Decimal(1), "new"),
        2: (1, Decimal(9), "new"),
        3: (2, Decimal(3), "=1+1"),
        4: (1, Decimal(4), "new"),
    }
    assert sheet(engine, parent) == []
    published = read_progress(importer.stream, parent)
    assert published
    assert (published["rejected"], published["mended"]) == (4, 4)


def test_row_still_invalid_is_a_reject_of_parent_and_child(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, parent: str
) -> None:
    rows = mended(sheet(engine, parent))
    rows[0]["total"] = "still bad"
    child = load_child(importer, accept, as_file(rows), parent)
    assert (child["applied"], child["rejected"]) == (3, 1)
    assert [row["line"] for row in sheet(engine, parent)] == ["2"]


def test_corrected_row_keeps_its_version_and_overwrites_nothing_newer(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, load: LoadFile, parent: str
) -> None:
    load(b"id,customer_id,total\n1,1,100\n")
    child = load_child(importer, accept, as_file(mended(sheet(engine, parent))), parent)
    assert (child["applied"], child["stale"]) == (3, 1)
    assert table(engine)[1][1] == Decimal(100)


def test_already_corrected_row_is_rejected(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, parent: str
) -> None:
    rows = mended(sheet(engine, parent))
    load_child(importer, accept, as_file(rows), parent)
    again = load_child(importer, accept, as_file(rows), parent)
    assert (again["applied"], again["rejected"]) == (0, 4)
    with engine.connect() as connection:
        of_child = import_rejects.c.import_id == again["id"]
        codes = set(connection.scalars(sa.select(import_rejects.c.code).where(of_child)))
    assert codes == {"unknown_line"}


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        ("", "missing", "line is empty"),
        ("parent_line", "bad_number", "line: 'parent_line' is not a"),
    ],
)
def test_row_without_line_is_rejected_naming_the_line_column(
    engine: sa.Engine,
    importer: Importer,
    accept: AcceptFile,
    parent: str,
    line: str,
    code: str,
    reason: str,
) -> None:
    row = {**mended(sheet(engine, parent))[0], "line": line}
    child = load_child(importer, accept, as_file([row]), parent)
    with engine.connect() as connection:
        (reject,) = iter_uncorrected(connection, child["id"])
    assert (reject.column, reject.code) == ("line", code)
    assert reject.reason.startswith(reason)


def test_child_of_unknown_parent_fails_with_the_reason(
    importer: Importer, accept: AcceptFile, parent: str, engine: sa.Engine
) -> None:
    content = as_file(mended(sheet(engine, parent)))
    import_id = accept(content, parent="20200101-000000-00000000", mapping={"id": "Nr"})
    with pytest.raises(Exception, match="no import 20200101-000000-00000000"):
        importer.plan(import_id)
    published = read_progress(importer.stream, import_id)
    assert published
    assert published["status"] == "failed"


def test_rejects_of_corrections_must_be_corrected_via_the_first_import(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, parent: str
) -> None:
    rows = mended(sheet(engine, parent))
    rows[0]["total"] = "still bad"
    child = load_child(importer, accept, as_file(rows), parent)
    with pytest.raises(ImportFailed, match=f"is a correction of import {parent} itself"):
        load_child(importer, accept, as_file(rows), child["id"])


def test_json_lines_with_sheet_column_names_lose_no_column(
    load: LoadFile, accept: AcceptFile, importer: Importer, engine: sa.Engine
) -> None:
    mapping = {"status": "@status"}
    parent = load(b"id,customer_id,total,@status\n1,1,x,paid\n", mapping=mapping)["id"]
    (row,) = sheet(engine, parent)
    as_in_sheet = json.dumps({**row, "total": "1"}).encode()
    with pytest.raises(InvalidFile, match="is '@status' in the parent's file"):
        accept(as_in_sheet, parent=parent, mapping=mapping)
    import_id = accept(as_in_sheet.replace(b"'@", b"@"), parent=parent, mapping=mapping)
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    assert table(engine)[1] == (1, Decimal(1), "paid")


def test_strict_corrections_complete_the_parent(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, parent: str
) -> None:
    content = as_file(mended(sheet(engine, parent)))
    import_id = accept(content, parent=parent, mapping={"id": "Nr"}, strict=True)
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    assert sheet(engine, parent) == []


def test_blank_cell_of_corrected_row_takes_value_of_earlier_row(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, load: LoadFile
) -> None:
    file = b"Nr,customer_id,total,status\n8,1,x,paid\n8,1,y,\n"
    first = load(file, mapping={"id": "Nr"})["id"]
    rows = [{**row, "total": "1"} for row in sheet(engine, first)]
    load_child(importer, accept, as_file(rows), first)
    assert table(engine)[8] == (1, Decimal(1), "paid")
