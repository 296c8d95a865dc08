"""The outcomes of a file's rows."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orderworks.core.errors import ImportFailed
from orderworks.core.schema import customers, orders
from orderworks.imports import ledger
from orderworks.imports.columns import locate_fields
from orderworks.imports.file_format import FileFormat
from orderworks.imports.importer import Importer
from orderworks.imports.loading.parse import parse
from orderworks.imports.loading.validate import validate
from orderworks.imports.loading.write_rows import WriteTarget, write_rows
from orderworks.imports.progress import Summary
from orderworks.imports.rejects import iter_rejects
from tests.support.types import LoadFile

Tuples = list[tuple[Any, ...]]

pytestmark = pytest.mark.usefixtures("people")


def counts(summary: Summary) -> dict[str, int]:
    """The counts that are not zero."""
    names = ("applied", "unchanged", "stale", "superseded", "rejected")
    return {name: summary[name] for name in names if summary[name]}


def table(engine: sa.Engine, *names: str, of: sa.Table = orders) -> Tuples:
    with engine.connect() as connection:
        query = sa.select(*(of.c[name] for name in names)).order_by(of.c.id)
        return [tuple(row) for row in connection.execute(query)]


def rejects(engine: sa.Engine, summary: Summary) -> Tuples:
    with engine.connect() as connection:
        found = iter_rejects(connection, summary["id"])
        return [(each.line, each.column, each.code) for each in found]


def test_all_column_values_are_loaded(engine: sa.Engine, load: LoadFile) -> None:
    content = (
        b"\xef\xbb\xbfid;customer_id;total;status;created_at;updated_at;version;other\r\n"
        b'1;2; 12.30 ;"a ""b"";\r\nc";2024-02-29T01:00:00+02:00;2024-03-01;77;x\r\n'
    )
    assert counts(load(content, delimiter=";")) == {"applied": 1}
    [row] = table(engine, *(column.name for column in orders.c))
    assert row == (
        1,
        2,
        'a "b";\r\nc',
        Decimal("12.30"),
        datetime(2024, 2, 28, 23, tzinfo=UTC),
        datetime(2024, 3, 1, tzinfo=UTC),
        77,
        None,
    )


@pytest.mark.slow
def test_last_line_wins_in_any_chunk_order(engine: sa.Engine, load: LoadFile) -> None:
    source = random.Random(5)
    lines = [(source.randint(1, 20), source.randint(1, 999)) for _ in range(100)]
    content = "id,customer_id,total\n" + "".join(f"{key},1,{total}\n" for key, total in lines)

    def shuffled(numbers: list[int]) -> list[int]:
        return source.sample(numbers, len(numbers))

    summary = load(content.encode(), order=shuffled)
    assert summary["chunks"] == 34
    assert dict(table(engine, "id", "total")) == dict(lines)
    assert summary["applied"] + summary["unchanged"] >= len(dict(lines))


def test_versions_in_the_file_decide(engine: sa.Engine, load: LoadFile) -> None:
    content = b"id,customer_id,total,version\n1,1,9,9\n1,1,5,5\n2,1,3,3\n2,1,4,4\n2,1,5,5\n"
    assert counts(load(content)) == {"applied": 3, "superseded": 2}
    assert table(engine, "id", "total", "version") == [(1, 9, 9), (2, 5, 5)]


def test_older_rows_are_stale(engine: sa.Engine, load: LoadFile) -> None:
    load(b"id,customer_id,total,version\n1,1,9,9\n")
    assert counts(load(b"id,customer_id,total,version\n1,1,1,8\n")) == {"stale": 1}
    assert table(engine, "total") == [(9,)]


def test_later_file_with_the_same_version_and_other_values_is_applied(
    engine: sa.Engine, load: LoadFile
) -> None:
    load(b"id,customer_id,total,version\n1,1,9,9\n")
    assert counts(load(b"id,customer_id,total,version\n1,1,9.00,9\n")) == {"unchanged": 1}
    assert counts(load(b"id,customer_id,total,version\n1,1,1,9\n")) == {"applied": 1}
    assert table(engine, "total") == [(1,)]


def test_write_older_than_an_unchanged_row_is_stale(engine: sa.Engine, load: LoadFile) -> None:
    load(b"id,customer_id,total,version\n1,1,9,10\n")
    load(b"id,customer_id,total,version\n1,1,9,30\n")
    assert counts(load(b"id,customer_id,total,version\n1,1,5,20\n")) == {"stale": 1}
    assert table(engine, "total") == [(9,)]


def test_missing_columns_and_empty_cells_keep_existing_values(
    engine: sa.Engine, load: LoadFile
) -> None:
    load(b"id,customer_id,total,status,created_at\n1,1,1,paid,2020-01-01\n2,1,1,paid,2020-01-02\n")
    without = load(b"id,customer_id,total\n1,1,2\n")
    empty = load(b"id,customer_id,total,status,created_at\n2,1,2,,\n1,1,2,,\n3,1,2,sent,\n")
    assert (counts(without), counts(empty)) == ({"applied": 1}, {"applied": 2, "unchanged": 1})
    found = table(engine, "status", "total", "created_at")
    assert found[:2] == [
        ("paid", 2, datetime(2020, 1, 1, tzinfo=UTC)),
        ("paid", 2, datetime(2020, 1, 2, tzinfo=UTC)),
    ]
    assert found[2][0] == "sent"


@pytest.mark.parametrize("chunk_rows", [1, 2, 10])
def test_empty_cells_keep_values_of_earlier_rows_at_any_chunk_boundary(
    engine: sa.Engine, importer: Importer, accept: Callable[..., str], chunk_rows: int
) -> None:
    content = (
        b"id,customer_id,total,status\n1,1,1,paid\n2,1,1,\n1,1,2,\n1,1,3,sent\n1,1,4,\n2,1,2,\n"
    )
    settings = importer.settings.model_copy(update={"import_chunk_rows": chunk_rows})
    cutting = Importer(engine, importer.spool, importer.stream, importer.cache, settings)
    import_id = accept(content)
    for number in cutting.plan(import_id):
        cutting.load_chunk(import_id, number)
    assert table(engine, "id", "total", "status") == [(1, 4, "sent"), (2, 2, "new")]


def test_empty_cells_never_restore_replaced_values(engine: sa.Engine, load: LoadFile) -> None:
    load(b"id,customer_id,total,status,version\n1,1,1,sent,5\n")
    load(b"id,customer_id,total,status,version\n1,1,1,paid,4\n2,1,1,,9\n1,1,2,,6\n")
    assert table(engine, "total", "status") == [(2, "sent"), (1, "new")]


def test_new_rows_take_the_defaults_of_the_table(engine: sa.Engine, load: LoadFile) -> None:
    load(b"id,customer_id,total,status,created_at,updated_at\n1,1,1,,,\n2,1,1,paid,,\n")
    load(b"id,customer_id,total\n3,1,1\n")
    assert [status for (status,) in table(engine, "status")] == ["new", "paid", "new"]
    for created_at, updated_at in table(engine, "created_at", "updated_at"):
        assert (datetime.now(UTC) - created_at).total_seconds() < 60
        assert created_at == updated_at


def test_updated_at_is_now_unless_the_file_gives_it(engine: sa.Engine, load: LoadFile) -> None:
    header = b"id,customer_id,total,updated_at\n"
    load(header + b"1,1,1,2020-01-01\n2,1,1,2020-01-01\n3,1,1,2020-01-01\n")
    assert counts(load(header + b"1,1,2,2021-01-01\n2,1,2,\n3,1,1,\n"))["unchanged"] == 1
    [(first,), (second,), (third,)] = table(engine, "updated_at")
    assert first == datetime(2021, 1, 1, tzinfo=UTC)
    assert (datetime.now(UTC) - second).total_seconds() < 60
    assert third == datetime(2020, 1, 1, tzinfo=UTC)


def test_customers_keep_values_missing_in_the_file(engine: sa.Engine, load: LoadFile) -> None:
    header = b"id,name,email,phone\n"
    load(header + b'20,"Ann, ""A""",a@b,\n21,Bob,,1\n', kind="customers")
    assert counts(load(header + b"20,Ann,,2\n21,Bob,,\n", kind="customers")) == {
        "applied": 1,
        "unchanged": 1,
    }
    assert table(engine, "id", "name", "email", "phone", of=customers)[-2:] == [
        (20, "Ann", "a@b", "2"),
        (21, "Bob", None, "1"),
    ]


def test_bad_rows_are_recorded_as_rejects_and_good_ones_applied(
    engine: sa.Engine, load: LoadFile
) -> None:
    content = b'id,customer_id,total\n1,1,x\n2,99,1\n3,1,1\n4,1\n5,1,"\n6,1,1\n7,1,\x00\n'
    summary = load(content)
    assert counts(summary) == {"applied": 2, "rejected": 5}
    assert rejects(engine, summary) == [
        (2, "total", "bad_number"),
        (3, "customer_id", "unknown_customer"),
        (5, "", "wrong_width"),
        (6, "", "unclosed_quote"),
        (8, "total", "nul_byte"),
    ]


def test_row_of_an_unknown_customer_does_not_replace_an_earlier_one(
    engine: sa.Engine, load: LoadFile
) -> None:
    assert counts(load(b"id,customer_id,total\n1,1,1\n1,99,2\n")) == {"applied": 1, "rejected": 1}
    assert table(engine, "customer_id", "total") == [(1, 1)]


def test_rows_refused_by_the_database_are_rejected_individually(
    engine: sa.Engine, load: LoadFile
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (total <> 13)"))
    lines = "".join(f"{key},1,{13 if key in (3, 4, 40) else 7}\n" for key in range(1, 50))
    summary = load(f"id,customer_id,total\n3,1,12\n{lines}".encode())
    assert counts(summary) == {"applied": 47, "rejected": 3}
    assert rejects(engine, summary) == [(line, "", "refused") for line in (5, 6, 42)]
    # Line 2 is the last word on order 3 that the database takes.
    assert table(engine, "id", "total")[2] == (3, 12)


def test_previous_row_of_same_id_is_applied_when_the_last_is_refused(
    engine: sa.Engine, load: LoadFile
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (total <> 13)"))
    summary = load(b"id,customer_id,total\n1,1,5\n1,1,6\n1,1,13\n")
    assert counts(summary) == {"applied": 1, "superseded": 1, "rejected": 1}
    assert table(engine, "total") == [(6,)]


@pytest.mark.slow
def test_constraint_refusing_too_many_rows_quarantines_the_chunk(
    engine: sa.Engine, importer: Importer, accept: Callable[..., str]
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (total <> 13)"))
    rows = "".join(f"{key},1,13\n" for key in range(1, 1000))
    import_id = accept(f"id,customer_id,total\n{rows}".encode())
    large = importer.settings.model_copy(update={"import_chunk_rows": 1000})
    whole = Importer(engine, importer.spool, importer.stream, importer.cache, large)
    [number] = whole.plan(import_id)
    with pytest.raises(ImportFailed, match="refuses more than 500 rows"):
        whole.load_chunk(import_id, number)
    with engine.connect() as connection:
        assert ledger.import_summary(connection, import_id)["status"] == "failed"


def test_existing_table_named_like_the_staging_table_is_untouched(
    engine: sa.Engine, load: LoadFile
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE incoming AS SELECT 1 AS id"))
    load(b"id,customer_id,total\n1,1,1\n")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM incoming")) == 1


numbers = st.text(alphabet="0123456789.-+eE ", max_size=20) | st.decimals(
    allow_nan=False, min_value=0, max_value=10**13
).map(str)
moments = st.builds(
    "{}-{}-{}{}{}".format,
    st.integers(0, 9999).map("{:04}".format),
    st.integers(0, 13).map("{:02}".format),
    st.integers(0, 32).map("{:02}".format),
    st.sampled_from(("", "T00:00", " 23:59:59", "T12:30:00.123456789", "T24:00", "T9:00")),
    st.sampled_from(("", "Z", "+15:59", "-1559", "+07", "+16:00", " UTC")),
)
texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ("\\.", "\\N", "NULL", "\r", "\n\\.\n", '"', ",", "\ufeff", "'")
)


@pytest.mark.slow
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(numbers, moments, texts), min_size=1, max_size=20))
def test_database_accepts_every_validated_value(
    importer: Importer, cells: list[tuple[str, str, str]]
) -> None:
    header = ["id", "customer_id", "total", "created_at", "status"]
    rows = [(str(key), "1", *values) for key, values in enumerate(cells, start=1)]
    data = "".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows
    )
    fields = locate_fields("orders", header, {name: name for name in header})
    parsed = parse(data.encode(), 1, FileFormat("csv", ",", header), fields)
    good, bad = validate(parsed.cells, fields, version=1)
    assert good.height + bad.height == len(rows)
    with importer.engine.connect() as connection:
        loaded = write_rows(connection, WriteTarget("orders", version=1, import_id=""), good)
        assert loaded.applied == good.height
        stored = sa.select(orders.c.id, orders.c.status)
        written = {int(row[0]): row[4] for row in rows if row[4].strip(" \t")}
        for key, status in connection.execute(stored):
            assert status == written.get(key, "new")
        connection.rollback()
