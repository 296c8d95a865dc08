"""A quote that is not closed costs its own line, however the file is loaded."""

from typing import Any

import pytest

from orderworks.imports.importer import Importer
from orderworks.imports.progress import read_progress
from orderworks.imports.rejects import iter_rejects
from tests.support.imports import summary_of
from tests.support.types import AcceptFile, LoadFile

HEADER = b"id,customer_id,total,note\n"
ROWS = [
    b"1,1,1.00,fine",
    b'2,1,2.00,"7 inch hose',
    *(b"%d,1,%d.00,plain" % (number, number) for number in range(3, 9)),
    b'9,1,9.00,"in two\nlines"',
    b"10,1,10.00,fine",
]
FILE = HEADER + b"\n".join(ROWS) + b"\n"
"""The quote of line 3 is closed by that which opens on line 10."""

REASON = (
    "a quote opens on line 3 and closes on line 10 before other text; "
    "lines 4 to 10 are read as rows of their own"
)

pytestmark = pytest.mark.usefixtures("people")


def rejects_of(importer: Importer, import_id: str) -> list[Any]:
    with importer.engine.connect() as connection:
        return list(iter_rejects(connection, import_id))


def test_rows_behind_a_bad_quote_are_applied_and_its_reason_names_the_lines(
    importer: Importer, load: LoadFile
) -> None:
    summary = load(FILE)
    assert (summary["rows"], summary["applied"], summary["rejected"]) == (10, 9, 1)
    assert summary["chunks"] > 2, "the quote closes in another chunk"
    (reject,) = rejects_of(importer, summary["id"])
    assert (reject.line, reject.code, reject.reason) == (3, "text_after_quote", REASON)
    assert reject.raw == '2,1,2.00,"7 inch hose'


def test_strict_import_refuses_the_file_for_the_same_line(
    importer: Importer, accept: AcceptFile
) -> None:
    import_id = accept(FILE, strict=True)
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    summary = summary_of(importer, import_id)
    assert (summary["status"], summary["rows"], summary["rejected"]) == ("failed", 10, 1)
    assert [each.reason for each in rejects_of(importer, import_id)] == [REASON]


def test_dry_run_predicts_the_same_reject(importer: Importer, accept: AcceptFile) -> None:
    import_id = accept(FILE, dry_run=True)
    importer.plan(import_id)
    summary = read_progress(importer.stream, import_id)
    assert summary
    assert (summary["rows"], summary["would"]["insert"]) == (10, 9)
    assert [each["reason"] for each in summary["would"]["rejects"]] == [REASON]
