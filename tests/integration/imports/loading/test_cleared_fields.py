"""JSON null clears an optional field of a customer, at the version of its row."""

import itertools
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from orderworks.core.errors import InvalidInput
from orderworks.core.schema import customers
from tests.support.types import LoadFile

Contact = tuple[str | None, str | None]

ANN = b'{"id": 1, "name": "Ann", "email": "ann@example.org", "phone": "123", "version": 5}\n'
FORGOTTEN = b'{"id": 1, "name": "Ann", "email": null, "phone": null, "version": 7}\n'


def contact(engine: sa.Engine, customer_id: int = 1) -> Contact:
    with engine.connect() as connection:
        query = sa.select(customers.c.email, customers.c.phone)
        email, phone = connection.execute(query.where(customers.c.id == customer_id)).one()
        return email, phone


def test_null_clears_the_field_of_an_existing_customer(engine: sa.Engine, load: LoadFile) -> None:
    load(ANN, "customers")
    assert load(FORGOTTEN, "customers")["applied"] == 1
    assert contact(engine) == (None, None)


def test_key_that_is_left_out_and_an_empty_text_keep_the_field(
    engine: sa.Engine, load: LoadFile
) -> None:
    load(ANN, "customers")
    load(b'{"id": 1, "name": "Ann", "email": "", "version": 6}\n', "customers")
    load(b'{"id": 1, "name": "Ann", "email": null, "version": 7}\n', "customers")
    assert contact(engine) == (None, "123")


def test_nulls_of_a_file_without_versions_clear(engine: sa.Engine, load: LoadFile) -> None:
    load(b'{"id": 1, "name": "Ann", "email": "a@example.org", "phone": "1"}\n', "customers")
    load(b'{"id": 1, "name": "Ann", "email": null}\n', "customers")
    assert contact(engine) == (None, "1")


SHEET = b"id,name,email,phone\n1,Ann,, \n"


def test_empty_cells_of_csv_clear_if_the_import_is_to(engine: sa.Engine, load: LoadFile) -> None:
    load(ANN, "customers")
    assert load(SHEET, "customers")["unchanged"] == 1
    assert contact(engine) == ("ann@example.org", "123")
    assert load(SHEET, "customers", empty="clears")["applied"] == 1
    assert contact(engine) == (None, None)


def test_column_that_is_not_in_the_sheet_is_not_cleared(engine: sa.Engine, load: LoadFile) -> None:
    load(ANN, "customers")
    load(b"id,name,email\n1,Ann,\n2,Bea,b@example.org\n", "customers", empty="clears")
    assert contact(engine) == (None, "123")
    assert contact(engine, 2) == ("b@example.org", None)


@pytest.mark.parametrize("options", [{"empty": "deletes"}, {"kind": "orders", "empty": "clears"}])
def test_other_use_of_the_option_is_refused(load: LoadFile, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="^empty: "):
        load(SHEET, **{"kind": "customers", **options})


def test_older_null_keeps_a_newer_value(engine: sa.Engine, load: LoadFile) -> None:
    load(ANN, "customers")
    assert load(FORGOTTEN.replace(b"7}", b"4}"), "customers")["stale"] == 1
    assert contact(engine) == ("ann@example.org", "123")


@pytest.mark.parametrize("first", [ANN, b""])
def test_older_value_does_not_return_after_a_newer_null(
    first: bytes, engine: sa.Engine, load: LoadFile
) -> None:
    if first:
        load(first, "customers")
    load(FORGOTTEN, "customers")
    assert load(ANN.replace(b"5}", b"6}"), "customers")["stale"] == 1
    assert contact(engine) == (None, None)
    load(ANN.replace(b"5}", b"8}"), "customers")
    assert contact(engine) == ("ann@example.org", "123")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("existing", [ANN.replace(b"5}", b"1}"), b""])
def test_chunks_in_any_order_clear_alike(
    order: Sequence[int], existing: bytes, engine: sa.Engine, load: LoadFile
) -> None:
    if existing:
        load(existing, "customers")
    rows = [
        b'{"id": 1, "name": "Ann", "email": "x", "phone": "2", "version": 2}',
        b'{"id": 1, "name": "Ann", "email": null, "version": 3}',
        b'{"id": 1, "name": "Ann", "phone": null, "version": 4}',
    ]
    others = iter(range(10, 20))
    # Chunks of an importer in tests have three lines.
    lines = [
        line
        for row in rows
        for line in (row, *(b'{"id": %d, "name": "Bob"}' % next(others) for _ in range(2)))
    ]
    load(b"\n".join(lines) + b"\n", "customers", order=lambda _chunks: order)
    assert contact(engine) == (None, None)


@pytest.mark.parametrize("existing", [ANN.replace(b"5}", b"1}"), b""])
@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (b'"email": null', (None, "2")),
        (b'"email": "y"', ("y", "2")),
        (b'"phone": null', ("x", None)),
    ],
)
def test_two_rows_of_a_customer_in_a_chunk_clear_in_turn(
    later: bytes, expected: Contact, existing: bytes, engine: sa.Engine, load: LoadFile
) -> None:
    if existing:
        load(existing, "customers")
    first = b'{"id": 1, "name": "Ann", "email": "x", "phone": "2", "version": 2}\n'
    load(first + b'{"id": 1, "name": "Ann", "version": 3, ' + later + b"}\n", "customers")
    assert contact(engine) == expected


def test_null_of_a_required_field_is_an_empty_cell(load: LoadFile) -> None:
    assert load(b'{"id": 1, "name": null, "email": null}\n', "customers")["rejected"] == 1


def test_strict_file_clears_in_some_of_its_rows(engine: sa.Engine, load: LoadFile) -> None:
    load(ANN, "customers")
    rows = b"".join(b'{"id": %d, "name": "Bob", "email": "b"}\n' % each for each in range(2, 9))
    load(rows + FORGOTTEN, "customers", strict=True)
    assert contact(engine) == (None, None)
    assert contact(engine, 2) == ("b", None)
