"""The match of a file's columns with those of the table."""

import pytest

from orderworks.core.errors import InvalidFile, InvalidInput
from orderworks.imports.columns import ImportKind, locate_fields, match_columns, parse_mapping

ORDERS = ["id", "customer_id", "total"]


def test_optional_columns_may_be_missing_and_others_are_ignored() -> None:
    matched = match_columns("f.csv", "orders", [*ORDERS, "status", "colour"], {})
    assert matched == {name: name for name in (*ORDERS, "status")}


def test_mapped_column_replaces_the_column_of_that_name() -> None:
    header = [*ORDERS, "amount"]
    matched = match_columns("f.csv", "orders", header, {"total": "amount"})
    assert matched["total"] == "amount"
    places = [
        (field.column.name, field.column_index)
        for field in locate_fields("orders", header, matched)
    ]
    assert places == [("id", 0), ("customer_id", 1), ("total", 3)]


@pytest.mark.parametrize(
    ("kind", "header", "mapping", "problem"),
    [
        ("orders", ["id", "total"], {}, "f.csv: has no column 'customer_id'; its columns are id,"),
        ("orders", ORDERS, {"total": "sum"}, "f.csv: has no column 'sum' (for 'total')"),
        ("orders", ORDERS, {"status": "state"}, "f.csv: has no column 'state' (for 'status')"),
        ("orders", ORDERS, {"colour": "id"}, "f.csv: orders have no column 'colour' to map to"),
        ("customers", ["id", "name"], {"total": "id"}, "f.csv: customers have no column 'total'"),
        ("orders", [*ORDERS, "total"], {}, "f.csv: has more than one column 'total'"),
        ("customers", ["id", "Name"], {}, "f.csv: has no column 'name'; its columns are id, Name"),
    ],
)
def test_unusable_header_is_refused(
    kind: ImportKind, header: list[str], mapping: dict[str, str], problem: str
) -> None:
    with pytest.raises(InvalidFile) as raised:
        match_columns("f.csv", kind, header, mapping)
    assert str(raised.value).startswith(problem)


def test_unused_duplicate_column_is_accepted() -> None:
    assert match_columns("f.csv", "orders", ["x", *ORDERS, "x"], {})


def test_mappings_are_read_from_text() -> None:
    assert parse_mapping(["total=a=b", "id=o"]) == {"total": "a=b", "id": "o"}


@pytest.mark.parametrize("pairs", [["total"], ["=x"], ["total="], ["total=a", "total=b"]])
def test_ambiguous_mapping_is_refused(pairs: list[str]) -> None:
    with pytest.raises(InvalidInput):
        parse_mapping(pairs)
