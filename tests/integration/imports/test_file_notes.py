"""Notes on the file of an import: ignored columns, repeated ids, a last line without an end."""

from typing import Any

import pytest

from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary, read_progress
from tests.support.imports import summary_of
from tests.support.types import AcceptFile

HEADER = b"id,customer_id,total,Statuss,note\n"
ROWS = b"1,1,1,paid,x\n"
TWICE = b"7,1,1,paid,x\n7,1,2,paid,x\n8,1,1,paid,x\n"
"""Three lines: a chunk of the importer that the tests use."""

pytestmark = pytest.mark.usefixtures("people")


def run(importer: Importer, import_id: str) -> Summary:
    """Load the file, or make its dry run; the published summary."""
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    summary = read_progress(importer.stream, import_id)
    assert summary
    return summary


@pytest.fixture(
    params=[{}, {"strict": True}, {"dry_run": True}], ids=["chunks", "strict", "dry run"]
)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Ways in which a file is read."""
    chosen: dict[str, Any] = request.param
    return chosen


def test_ignored_columns_and_likely_ones_are_reported(
    importer: Importer, accept: AcceptFile, options: dict[str, Any]
) -> None:
    summary = run(importer, accept(HEADER + ROWS, **options))
    assert summary["ignored_columns"] == ["Statuss", "note"]
    assert summary["notes"] == [
        "the column 'Statuss' is ignored; if it is 'status', give --map status=Statuss"
    ]


def test_ids_with_several_values_are_reported_with_an_example(
    importer: Importer, accept: AcceptFile, options: dict[str, Any]
) -> None:
    summary = run(importer, accept(HEADER + ROWS * 3 + TWICE, **options))
    assert summary["repeated_ids"] == {"ids": 1, "id": 7, "lines": [5, 6]}
    assert summary["notes"][1:] == [
        "1 ids are on several lines with other values, such as 7 on lines 5 and 6: the last line counts"
    ]


def test_repeated_ids_with_the_same_values_or_with_versions_are_not_reported(
    importer: Importer, accept: AcceptFile
) -> None:
    assert run(importer, accept(HEADER + ROWS * 3))["repeated_ids"] is None
    versions = b"id,customer_id,total,version\n1,1,1,1\n1,1,2,2\n"
    assert run(importer, accept(versions))["repeated_ids"] is None


def test_counters_where_the_table_has_the_order_of_acceptance_are_reported(
    importer: Importer, accept: AcceptFile, options: dict[str, Any]
) -> None:
    run(importer, accept(b"id,customer_id,total\n3,1,1\n4,1,1\n5,1,1\n"))
    content = b"id,customer_id,total,version\n3,1,2,7\n4,1,2,7\n5,1,2,2036-01-01\n6,1,2,7\n"
    summary = run(importer, accept(content, **options))
    (note,) = summary["notes"]
    assert note.startswith("2 rows, such as that of 3, have counters as versions")
    if "would" in summary:
        assert summary["would"]["mixed_versions"] == {"rows": 2, "id": 3}


def test_counters_alone_are_not_reported(
    importer: Importer, accept: AcceptFile, options: dict[str, Any]
) -> None:
    content = b"id,customer_id,total,version\n3,1,2,7\n4,1,2,7\n"
    run(importer, accept(content))
    older = run(importer, accept(content.replace(b",7", b",5"), **options))
    assert older["stale"] == 2
    assert older["notes"] == []


def test_last_line_without_an_end_is_read_and_reported(
    importer: Importer, accept: AcceptFile, options: dict[str, Any]
) -> None:
    content = b"id,customer_id,total\n1,1,1\n2,1,2"
    summary = run(importer, accept(content, **options))
    assert (summary["rows"], summary["applied"]) == (2, 2)
    assert summary["notes"] == ["the last line has no end of line; it was read as the others"]
    assert run(importer, accept(content + b"\n", **options))["notes"] == []


def test_import_of_which_every_row_is_rejected_has_failed(
    importer: Importer, accept: AcceptFile
) -> None:
    import_id = accept(HEADER + b"x,1,1,,\n" * 4)
    run(importer, import_id)
    summary = summary_of(importer, import_id)
    assert (summary["status"], summary["rows"], summary["rejected"]) == ("failed", 4, 4)
    assert summary["error"] == "4 of 4 rows were rejected: none was imported"
    some = accept(HEADER + b"x,1,1,,\n" * 4 + ROWS)
    run(importer, some)
    assert summary_of(importer, some)["status"] == "done"


def test_empty_file_is_done(importer: Importer, accept: AcceptFile) -> None:
    summary = run(importer, accept(HEADER))
    assert (summary["status"], summary["rows"], summary["error"]) == ("done", 0, None)


def test_share_of_rejects_becomes_a_number_when_the_rows_are_counted(
    importer: Importer, accept: AcceptFile
) -> None:
    content = HEADER + b"x,1,1,,\n" * 2 + ROWS * 8
    import_id = accept(content, max_rejects="10%")
    accepted = read_progress(importer.stream, import_id)
    assert accepted
    assert accepted["max_rejects"] == "10%"
    summary = run(importer, import_id)
    assert (summary["status"], summary["max_rejects"]) == ("failed", 1)
    assert summary["error"] == "more than 1 rows were rejected: the rest was not loaded"
    assert run(importer, accept(content, max_rejects="20%"))["status"] == "done"
    tried = run(importer, accept(content, max_rejects="10%", dry_run=True))
    assert (tried["status"], tried["max_rejects"], tried["would"]["rejected"]) == ("done", 1, 2)
