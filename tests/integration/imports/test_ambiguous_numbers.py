"""A number that reads two ways is a reject, wherever the file shows that it does."""

import pytest
import sqlalchemy as sa

from orderworks.core.schema import orders
from orderworks.imports.importer import Importer
from orderworks.imports.progress import read_progress
from orderworks.imports.rejects import iter_rejects
from tests.support.types import AcceptFile, LoadFile

HEADER = b"id;customer_id;total\n"
POINTS = b"".join(b"%d;1;%d.500\n" % (number, number) for number in range(1, 9))
COMMA = b"9;1;99,90\n"

pytestmark = pytest.mark.usefixtures("people")


def codes(importer: Importer, import_id: str) -> list[str]:
    with importer.engine.connect() as connection:
        return [each.code for each in iter_rejects(connection, import_id)]


@pytest.mark.parametrize("file", [POINTS + COMMA, COMMA + POINTS])
def test_three_decimals_are_rejected_in_any_chunk_if_a_cell_of_the_file_has_a_decimal_comma(
    importer: Importer, load: LoadFile, file: bytes
) -> None:
    summary = load(HEADER + file + b"10;1;5.00\n")
    assert (summary["applied"], summary["rejected"]) == (1, 9)
    found = codes(importer, summary["id"])
    assert sorted(found) == ["ambiguous_number"] * 8 + ["bad_number"]


def test_three_decimals_are_read_in_a_file_without_decimal_commas(
    engine: sa.Engine, load: LoadFile
) -> None:
    other = b"id;customer_id;total;weight\n" + POINTS.replace(b"\n", b";0,5\n")
    assert load(other)["applied"] == 8
    with engine.connect() as connection:
        total = connection.scalar(sa.select(sa.func.max(orders.c.total)))
    assert str(total) == "8.50"


def test_dry_run_and_strict_import_find_the_same_numbers(
    importer: Importer, accept: AcceptFile
) -> None:
    tried = accept(HEADER + POINTS + COMMA, dry_run=True)
    importer.plan(tried)
    summary = read_progress(importer.stream, tried)
    assert summary
    assert summary["would"]["rejected"] == 9
    strict = accept(HEADER + POINTS + COMMA, strict=True)
    for number in importer.plan(strict):
        importer.load_chunk(strict, number)
    assert codes(importer, strict) == ["ambiguous_number"] * 8 + ["bad_number"]


def test_quoted_decimal_commas_of_a_file_with_commas_are_found(load: LoadFile) -> None:
    summary = load(b'id,customer_id,total\n1,1,12.500\n2,1,"1.234,56"\n3,1,5\n')
    assert (summary["applied"], summary["rejected"]) == (1, 2)
