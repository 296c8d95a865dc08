"""Valid values, rejected values, and the reasons."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderworks.core.versions import version_at
from orderworks.imports.columns import COLUMNS, ColumnRule, Field, ImportKind, locate_fields
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.column_rules import accepts, cleaned, is_storable_unchanged
from orderworks.imports.loading.moment_versions import as_versions
from orderworks.imports.loading.parse import parse
from orderworks.imports.loading.validate import Validated, quoted, reject, validate

GOOD: dict[ImportKind, dict[str, str]] = {
    "orders": {
        "id": "1",
        "customer_id": "1",
        "total": "1",
        "status": "new",
        "created_at": "2024-01-01",
        "updated_at": "2024-01-01",
        "version": "1",
    },
    "customers": {"id": "1", "name": "Ann", "email": "a@b", "phone": "1", "version": "1"},
}
LARGEST = str(2**63 - 1)


def validate_csv(content: bytes, header: list[str], kind: ImportKind = "orders") -> Validated:
    fields = locate_fields(kind, header, {name: name for name in header})
    parsed = parse(content, 2, FileFormat("csv", ",", header), fields)
    validated = validate(parsed.cells, fields, version=1000)
    return validated._replace(rejects=parsed.with_raw(validated.rejects))


def validate_cell(kind: ImportKind, column: str, text: str) -> Validated:
    cells = {**GOOD[kind], column: '"' + text.replace('"', '""') + '"'}
    return validate_csv(",".join(cells.values()).encode(), list(cells), kind)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("id", "1"),
        ("id", " 007 "),
        ("id", LARGEST),
        ("version", "0"),
        ("version", LARGEST),
        ("version", "1970-01-01"),
        ("version", " 2024-02-29T10:00Z\t"),
        ("version", "2248-09-26T15:10:22.207999Z"),
        ("total", "0"),
        ("total", "5."),
        ("total", ".5"),
        ("total", "\t12.3400 "),
        ("total", "999999999999.99"),
        ("total", "000000000000000000.10"),
        ("status", "x" * 64),
        ("status", " paid "),
        ("total", "-0.00"),
        ("total", "-.0"),
        ("total", "12.500"),
        ("total", "\xa012.50\u202f"),
        ("id", "\ufeff7\u200b"),
        ("created_at", "2024-01-01\n"),
        ("created_at", "2024-02-29"),
        ("created_at", "2000-02-29T23:59:59.999999999Z"),
        ("created_at", "2024-01-01 00:00"),
        ("created_at", " 2024-01-01T00:00:00+05:30 "),
        ("created_at", "0002-01-01T00:00:00+15:59"),
        ("created_at", "9998-12-31T23:59:59.999999999-15:59"),
        ("updated_at", "2024-01-01T10:00:00-0800"),
    ],
)
def test_valid_value_is_accepted(column: str, text: str) -> None:
    validated = validate_cell("orders", column, text)
    assert validated.rejects.height == 0
    assert validated.valid.height == 1


@pytest.mark.parametrize(
    ("column", "text", "code"),
    [
        ("id", "", "missing"),
        ("id", "  ", "missing"),
        ("id", "0", "out_of_range"),
        ("id", "-1", "out_of_range"),
        ("id", str(2**63), "out_of_range"),
        ("id", "9" * 50, "out_of_range"),
        ("id", "1.0", "bad_number"),
        ("id", "1e3", "bad_number"),
        ("id", "٣", "bad_number"),
        ("id", "1_000", "bad_number"),
        ("id", "nan", "not_finite"),
        ("customer_id", "x", "bad_number"),
        ("version", "-1", "out_of_range"),
        ("version", str(2**63), "out_of_range"),
        ("version", "1969-12-31", "out_of_range"),
        ("version", "1970-01-01T00:00:00+00:01", "out_of_range"),
        ("version", "2248-09-26T15:10:22.208Z", "out_of_range"),
        ("version", "9998-12-31T00:00Z", "out_of_range"),
        ("version", "1.5", "bad_number"),
        ("version", "NaN", "bad_number"),
        ("version", "+5", "bad_number"),
        ("version", "yesterday", "bad_number"),
        ("version", "2026-02-29", "bad_number"),
        ("version", "2026-11-26T24:00", "bad_number"),
        ("total", "", "missing"),
        ("total", "12x", "bad_number"),
        ("total", "1,5", "bad_number"),
        ("total", "1e2", "bad_number"),
        ("total", "+1", "bad_number"),
        ("total", ".", "bad_number"),
        ("total", "\uff11", "bad_number"),
        ("total", "NaN", "not_finite"),
        ("total", "-Infinity", "not_finite"),
        ("total", "+INF", "not_finite"),
        ("total", "-0.01", "out_of_range"),
        ("total", "1000000000000", "out_of_range"),
        ("total", "1.234", "too_precise"),
        ("total", "1\x00", "nul_byte"),
        ("status", "x" * 65, "too_long"),
        ("status", "a\x00b", "nul_byte"),
        ("created_at", "2023-02-29", "bad_timestamp"),
        ("created_at", "1900-02-29", "bad_timestamp"),
        ("created_at", "2024-13-01", "bad_timestamp"),
        ("created_at", "2024-01-01T24:00", "bad_timestamp"),
        ("created_at", "2024-01-01T00:00:60", "bad_timestamp"),
        ("created_at", "2024-01-01T00:00:00+16:00", "bad_timestamp"),
        ("created_at", "2024-01-01T", "bad_timestamp"),
        ("created_at", "01.02.2024", "bad_timestamp"),
        ("created_at", "now", "bad_timestamp"),
        ("created_at", "0000-01-01", "bad_timestamp"),
        ("created_at", "0001-12-31T23:59:59", "out_of_range"),
        ("created_at", "9999-12-31T23:59:59-15:59", "out_of_range"),
        ("total", "12,500", "ambiguous_number"),
        ("total", "\u221212.50", "bad_number"),
        ("total", "1\u202f234.50", "bad_number"),
        ("status", "\x1b[31mpaid", "control_character"),
        ("status", "paid\rsent", "control_character"),
    ],
)
def test_invalid_value_is_rejected(column: str, text: str, code: str) -> None:
    validated = validate_cell("orders", column, text)
    assert validated.valid.height == 0
    assert validated.rejects.select("line", "column", "code").rows() == [(2, column, code)]


@pytest.mark.parametrize("column", [column.name for column in COLUMNS["customers"]])
def test_customer_values_are_validated(column: str) -> None:
    assert validate_cell("customers", column, "x" * 1001).rejects["column"].to_list() == [column]


def test_optional_cell_may_be_empty() -> None:
    validated = validate_csv(
        b"1,1,2.00,,\n", ["id", "customer_id", "total", "status", "created_at"]
    )
    assert validated.valid.select("status", "created_at").rows() == [(None, None)]


def test_first_invalid_column_of_the_file_is_named() -> None:
    validated = validate_csv(b"x,y,z\n", ["total", "id", "customer_id"])
    assert validated.rejects["column"].to_list() == ["total"]


def test_reason_quotes_a_shortened_value() -> None:
    validated = validate_csv(b"1,1,12x\n2,1," + b"9" * 50 + b"\n", ["id", "customer_id", "total"])
    assert validated.rejects["reason"].to_list() == [
        "total: '12x' is not a number",
        f"total: '{'9' * 40}…' is 10^12 or more",
    ]


def test_record_of_the_wrong_width_or_unclosed_is_refused_as_a_whole() -> None:
    validated = validate_csv(b'1,1\n2,1,3,4\n3,1,"5\n4,1,6\n', ["id", "customer_id", "total"])
    assert validated.rejects.select("line", "column", "code", "raw").rows() == [
        (2, "", "wrong_width", "1,1"),
        (3, "", "wrong_width", "2,1,3,4"),
        (4, "", "unclosed_quote", '3,1,"5'),
    ]
    assert validated.valid["id"].to_list() == [4]


def test_raw_text_with_a_nul_can_be_stored() -> None:
    validated = validate_csv(b"1,1,\x00\n", ["id", "customer_id", "total"])
    assert validated.rejects["raw"].to_list() == ["1,1,␀"]
    assert validated.rejects["reason"].to_list() == ["total: '\\x00' contains a NUL byte"]


@pytest.mark.parametrize(
    ("column", "text", "kept"),
    [
        ("name", "\u2003Ann\nBob\xa0", "Ann\nBob"),
        ("name", "\xa0\u200b", None),
        ("email", "  Ann@Example.com ", "Ann@Example.com"),
        ("email", "\ufeff", None),
        ("phone", "+49\xa030\t", "+49\xa030"),
    ],
)
def test_white_space_around_a_text_is_removed(column: str, text: str, kept: str | None) -> None:
    validated = validate_cell("customers", column, text)
    if column == "name" and kept is None:
        assert validated.rejects["reason"].to_list() == ["name is empty"]
    else:
        assert validated.valid[column].to_list() == [kept]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1\xa0234.50", r"1\xa0234.50"),
        ("\u221212.50", r"\u221212.50"),
        ("12\u200b.50", r"12\u200b.50"),
        ("12\r.50", r"12\r.50"),
        ("€12.50", "€12.50"),
    ],
)
def test_reason_shows_characters_that_cannot_be_seen(text: str, shown: str) -> None:
    assert validate_cell("orders", "total", text).rejects["reason"].to_list() == [
        f"total: '{shown}' is not a number"
    ]


@pytest.mark.parametrize("zero", ["-0", "-0.00", "-.000", " -00.0 "])
def test_negative_zero_is_zero(zero: str) -> None:
    (total,) = validate_cell("orders", "total", zero).valid["total"]
    assert Decimal(total) == 0
    assert "-" not in total


def test_three_decimals_are_refused_only_where_the_column_has_decimal_commas() -> None:
    header = ["id", "customer_id", "total"]
    fields = locate_fields("orders", header, {name: name for name in header})
    content = b"1,1,12.500\n2,1,12.50\n3,1,.500\n4,1,1500.000\n5,1,-0.000\n6,1,12.345\n"
    cells = parse(content, 2, FileFormat("csv", ",", header), fields).cells
    assert validate(cells, fields, 0).valid["line"].to_list() == [3, 2, 4, 5, 6]
    asked = []

    def has_decimal_commas(field: Field) -> bool:
        asked.append(field.column.name)
        return True

    validated = validate(cells, fields, 0, has_decimal_commas)
    assert asked == ["total"]
    assert validated.rejects["code"].to_list() == ["ambiguous_number"] * 5
    assert validated.rejects["reason"][0] == (
        "total: '12.500' reads two ways: its point may stand before decimals or between thousands, "
        "because other cells of the column have decimal commas"
    )


def test_decimal_commas_are_looked_for_only_if_a_cell_has_three_decimals() -> None:
    header = ["id", "customer_id", "total"]
    fields = locate_fields("orders", header, {name: name for name in header})
    content = b"1,1,12.50\n2,1,12.3456\n3,1,0.5000\n"
    cells = parse(content, 2, FileFormat("csv", ",", header), fields).cells

    def fail(_field: Field) -> bool:
        raise AssertionError

    assert validate(cells, fields, 0, fail).valid.height == 2


def test_row_without_a_version_gets_its_line() -> None:
    header = ["id", "customer_id", "total", "version"]
    validated = validate_csv(b"1,1,1,7\n2,1,1,\n", header)
    assert validated.valid["version"].to_list() == [7, 1003]
    assert validate_csv(b"1,1,1\n", header[:3]).valid["version"].to_list() == [1002]


def test_reason_names_what_a_version_may_be() -> None:
    header = ["id", "customer_id", "total", "version"]
    validated = validate_csv(b"1,1,1,soon\n2,1,1,1969-07-20\n", header)
    assert validated.rejects["reason"].to_list() == [
        "version: 'soon' is neither a whole number nor a moment",
        "version: '1969-07-20' is not between 1970-01-01 and 2248-09-26",
    ]


def test_file_may_mix_numbers_moments_and_rows_without_a_version() -> None:
    header = ["id", "customer_id", "total", "version"]
    content = b"1,1,1,7\n2,1,1,2026-11-26T11:00:00Z\n3,1,1,\n4,1,1, 2024-02-29 \n"
    validated = validate_csv(content, header)
    days = datetime(2026, 11, 26, 11, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)
    assert validated.rejects.height == 0
    by_id = validated.valid.sort("id")["version"].to_list()
    assert by_id == [7, version_at(days[0]), 1004, version_at(days[1])]


moments = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - the time zone is drawn
    datetime(2248, 9, 25),  # noqa: DTZ001
    timezones=st.sampled_from(
        [UTC, *(timezone(timedelta(minutes=each)) for each in (-930, -90, 1, 330, 959))]
    ),
)


@given(st.lists(moments, min_size=1), st.sampled_from("T "))
def test_moment_is_the_version_that_it_has_everywhere(given: list[datetime], between: str) -> None:
    column = next(each for each in COLUMNS["orders"] if each.rule is ColumnRule.VERSION)
    texts = pl.Series("version", [each.isoformat(between) for each in given])
    assert texts.to_frame().select(accepts(column, pl.col("version")).all()).item()
    assert as_versions(texts).to_list() == [version_at(each) for each in given]


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-11-26", "2026-11-26T00:00:00+00:00"),
        ("2026-11-26 11:05", "2026-11-26T11:05:00+00:00"),
        ("2026-11-26T11:05Z", "2026-11-26T11:05:00+00:00"),
        ("2026-11-26T11:05:07", "2026-11-26T11:05:07+00:00"),
        ("2026-11-26T11:05:07.1", "2026-11-26T11:05:07.100000+00:00"),
        ("2026-11-26T11:05:07.123456789-08", "2026-11-26T19:05:07.123456+00:00"),
        ("2026-11-26T11:05+0530", "2026-11-26T05:35:00+00:00"),
    ],
)
def test_each_form_of_a_moment_is_a_version_without_cleaning(text: str, iso: str) -> None:
    column = next(each for each in COLUMNS["orders"] if each.rule is ColumnRule.VERSION)
    texts = pl.Series("version", [text])
    assert texts.to_frame().select(is_storable_unchanged(column, pl.col("version"))).item()
    assert as_versions(texts).to_list() == [version_at(datetime.fromisoformat(iso))]


def test_ignored_columns_are_not_validated() -> None:
    fields = locate_fields("customers", ["x", "id", "name"], {"id": "id", "name": "name"})
    cells = parse(b"\x00,1,Ann\n", 2, FileFormat("csv", ",", ["x", "id", "name"]), fields).cells
    validated = validate(cells, fields, version=0)
    assert validated.valid.select(pl.exclude("line")).rows() == [(1, "Ann", 2)]


signs = st.text(alphabet="0123456789-+.: TZ\t\0aé", max_size=30)
near = st.sampled_from(("2024-02-28", "1999-11-31T", "0999-01-01", "12", "0.5", "-0", "+5", "007"))


@given(st.lists(st.builds(str.__add__, near | st.just(""), signs | st.just("")), min_size=1))
def test_plain_values_are_accepted_unchanged(texts: list[str]) -> None:
    cells = pl.DataFrame({"cell": texts})
    for column in COLUMNS["orders"]:
        plain = cells.filter(is_storable_unchanged(column, pl.col("cell")) & (pl.col("cell") != ""))
        kept = cleaned(column, pl.col("cell"))
        validated = plain.select("cell", kept.alias("kept"), accepts(column, kept).alias("taken"))
        assert validated["taken"].all()
        assert validated["kept"].equals(validated["cell"].alias("kept"))


def test_rejects_in_a_frame_of_several_chunks_keep_their_reasons() -> None:
    """Such a frame comes in parts, and some of them are empty when only the bad rows are left."""
    first, *others = (pl.Series("customer_id", ids) for ids in ([7, 404], [8, 9], [404, 9]))
    for each in others:
        first.append(each)
    whole = pl.DataFrame({"line": range(2, 8)}).with_columns(first)
    bad = whole.filter(pl.col("customer_id").is_in(pl.Series([404]).implode()))
    assert [len(each) for each in bad["customer_id"].get_chunks()] == [1, 0, 1]
    reason = quoted("customer_id", pl.col("customer_id").cast(pl.String), "is not a customer's id")
    found = reject(bad, "customer_id", "unknown_customer", reason)
    assert found["line"].to_list() == [3, 6]
    assert found["reason"].to_list() == ["customer_id: '404' is not a customer's id"] * 2
