"""The match of a file's columns with those of the table."""

import pytest

from orderworks.core.errors import InvalidFile, InvalidInput
from orderworks.imports.columns import (
    ImportKind,
    ignored_columns,
    likely_columns,
    locate_fields,
    match_columns,
    parse_mapping,
)

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
        ("customers", ["id", "Nom"], {}, "f.csv: has no column 'name'; its columns are id, Nom"),
        (
            "orders",
            ["Nr", "Customer", "Totals"],
            {},
            "f.csv: has no columns 'id', 'customer_id' and 'total'; its columns are Nr, Customer, ",
        ),
        (
            "orders",
            ["id", "total", "Customer Nr"],
            {},
            "f.csv: has no column 'customer_id'; its columns are id, total, Customer Nr. Map one with ",
        ),
        (
            "orders",
            ["id", "customer_id", "TOTAL", "Total"],
            {},
            "f.csv: 'TOTAL' and 'Total' may both be the column 'total': map one with --map total=",
        ),
        (
            "orders",
            [*ORDERS, "Created At", "created-at"],
            {},
            "f.csv: 'Created At' and 'created-at'",
        ),
        (
            "orders",
            ["ID", "ID", "customer_id", "total"],
            {},
            "f.csv: has more than one column 'ID'",
        ),
    ],
)
def test_unusable_header_is_refused(
    kind: ImportKind, header: list[str], mapping: dict[str, str], problem: str
) -> None:
    with pytest.raises(InvalidFile) as raised:
        match_columns("f.csv", kind, header, mapping)
    assert str(raised.value).startswith(problem)


def test_refusal_suggests_the_most_similar_columns() -> None:
    with pytest.raises(InvalidFile) as raised:
        match_columns("f.csv", "orders", ["Nr", "Customer Nr", "Totals"], {})
    assert str(raised.value).endswith(
        ". Map them with --map id=column --map customer_id='Customer Nr' --map total=Totals"
    )


def test_names_match_without_case_white_space_underscores_and_hyphens() -> None:
    header = ["ID", "Customer-ID", "TO TAL", "\xa0Status", "created at", "UpdatedAt"]
    assert match_columns("f.csv", "orders", header, {}) == {
        "id": "ID",
        "customer_id": "Customer-ID",
        "total": "TO TAL",
        "status": "\xa0Status",
        "created_at": "created at",
        "updated_at": "UpdatedAt",
    }


def test_exact_name_has_precedence_over_similar_ones() -> None:
    assert match_columns("f.csv", "orders", ["ID", *ORDERS, "Total"], {}) == {
        name: name for name in ORDERS
    }


def test_mapped_names_match_likewise_and_a_mapped_column_fills_no_other_target() -> None:
    header = ["id", "customer_id", "O_TotalPrice", "Status", "State"]
    mapping = {"total": "o_totalprice", "created_at": "status", "status": "state"}
    matched = match_columns("f.csv", "orders", header, mapping)
    assert (matched["total"], matched["status"], matched["created_at"]) == (
        "O_TotalPrice",
        "State",
        "Status",
    )
    assert "status" not in match_columns("f.csv", "orders", header[:4], {"total": "Status"})


@pytest.mark.parametrize("header", [["id;customer_id;total", " M"], ["id\x01customer_id\x01total"]])
def test_header_with_another_delimiter_is_refused_with_the_option(header: list[str]) -> None:
    with pytest.raises(InvalidFile) as raised:
        match_columns("f.csv", "orders", header, {}, ",")
    assert str(raised.value).endswith(". If its delimiter is not ',', give it with --delimiter")
    assert "\x01" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "columns", "likely"),
    [
        ("orders", ["Statuss", "note"], {"status": "Statuss"}),
        ("orders", ["order status", "weight"], {"status": "order status"}),
        ("customers", ["e-mail adress", "town"], {"email": "e-mail adress"}),
        ("customers", ["colour", "size"], {}),
    ],
)
def test_ignored_columns_that_may_be_optional_ones_are_found(
    kind: ImportKind, columns: list[str], likely: dict[str, str]
) -> None:
    needed = ORDERS if kind == "orders" else ["id", "name"]
    header = [*needed, *columns, ""]
    matched = match_columns("f.csv", kind, header, {})
    assert ignored_columns(header, matched) == columns
    assert likely_columns(kind, columns, matched) == likely


def test_unused_duplicate_column_is_accepted() -> None:
    assert match_columns("f.csv", "orders", ["x", *ORDERS, "x"], {})


def test_mappings_are_read_from_text() -> None:
    assert parse_mapping(["total=a=b", "id=o"]) == {"total": "a=b", "id": "o"}


@pytest.mark.parametrize("pairs", [["total"], ["=x"], ["total="], ["total=a", "total=b"]])
def test_ambiguous_mapping_is_refused(pairs: list[str]) -> None:
    with pytest.raises(InvalidInput):
        parse_mapping(pairs)
