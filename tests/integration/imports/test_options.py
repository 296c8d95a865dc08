"""All rows or none, no more rejects than allowed, customers that are made."""

from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.schema import customer_changes, customers, import_rejects, orders
from orderworks.imports.importer import Importer
from orderworks.imports.progress import COUNTS, Summary
from tests.support.types import AcceptFile

HEADER = b"id,customer_id,total\n"
GOOD = HEADER + b"".join(b"%d,1,%d\n" % (n, n) for n in range(1, 9))

pytestmark = pytest.mark.usefixtures("people")


def run(importer: Importer, import_id: str) -> Summary:
    """Load chunks until none is left to load."""
    waiting = importer.plan(import_id)
    for number in waiting:
        step = importer.load_chunk(import_id, number)
        waiting += step.chunks_to_nudge if step else []
    return importer.finish(import_id).summary


def count_of(engine: sa.Engine, table: sa.FromClause) -> int:
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def names(engine: sa.Engine) -> dict[int, str]:
    with engine.connect() as connection:
        return dict(iter(connection.execute(sa.select(customers.c.id, customers.c.name))))


def counts(summary: Summary) -> dict[str, Any]:
    found = {name: summary[name] for name in COUNTS if summary[name]}
    return {"status": summary["status"], **found}


def test_valid_strict_file_is_imported_whole(
    engine: sa.Engine, importer: Importer, accept: AcceptFile
) -> None:
    import_id = accept(GOOD, strict=True)
    assert importer.plan(import_id) == [0]
    assert counts(run(importer, import_id)) == {"status": "done", "applied": 8}
    assert count_of(engine, orders) == 8


def test_strict_file_has_the_same_counts_as_a_chunked_one(
    importer: Importer, accept: AcceptFile
) -> None:
    run(importer, accept(GOOD))
    file = GOOD.replace(b"8,1,8", b"8,1,9") + b"9,1,1\n9,1,2\n"
    summary = run(importer, accept(file, strict=True))
    assert counts(summary) == {"status": "done", "applied": 3, "unchanged": 7}


@pytest.mark.parametrize("bad", [b"9,1,x\n", b"9,777,1\n", b"9,1\n"])
def test_strict_file_with_a_bad_row_leaves_only_its_rejects(
    engine: sa.Engine, importer: Importer, accept: AcceptFile, bad: bytes
) -> None:
    summary = run(importer, accept(GOOD + bad, strict=True))
    assert counts(summary) == {"status": "failed", "rejected": 1}
    assert summary["error"] == "1 of 9 rows were rejected: none was imported"
    assert count_of(engine, orders) == 0
    assert count_of(engine, customer_changes) == 9, "those of the customers"
    assert count_of(engine, import_rejects) == 1


def test_strict_file_with_a_row_refused_by_the_database_leaves_nothing(
    engine: sa.Engine, importer: Importer, accept: AcceptFile
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CONSTRAINT small CHECK (total < 8)"))
    summary = run(importer, accept(GOOD, strict=True))
    assert counts(summary) == {"status": "failed", "rejected": 1}
    assert count_of(engine, orders) == 0
    assert count_of(engine, customer_changes) == 9


def test_exceeding_max_rejects_stops_the_import(
    engine: sa.Engine, importer: Importer, accept: AcceptFile
) -> None:
    file = GOOD.replace(b"1,1,1\n", b"1,1,x\n").replace(b"5,1,5\n", b"5,1,x\n")
    summary = run(importer, accept(file, max_rejects=1))
    assert counts(summary) == {"status": "failed", "applied": 4, "rejected": 2}
    assert summary["rows_left"] == 2
    assert summary["error"] == "more than 1 rows were rejected: the rest was not loaded"
    assert count_of(engine, orders) == 4


def test_exactly_max_rejects_does_not_stop_the_import(
    importer: Importer, accept: AcceptFile
) -> None:
    summary = run(importer, accept(GOOD.replace(b"1,1,1\n", b"1,1,x\n"), max_rejects=1))
    assert counts(summary) == {"status": "done", "applied": 7, "rejected": 1}


def test_create_customers_inserts_unknown_customers(
    engine: sa.Engine, importer: Importer, accept: AcceptFile
) -> None:
    file = b"id,customer_id,total,customer_name\n1,50,1,\n2,50,1,Ada\n3,51,1,\n4,1,1,Nobody\n"
    rejected = run(importer, accept(file))
    assert counts(rejected) == {"status": "done", "applied": 1, "rejected": 3}
    made = run(importer, accept(file, create_customers=True))
    assert counts(made) == {"status": "done", "applied": 3, "unchanged": 1}
    known = names(engine)
    assert (known[50], known[51], known[1]) == ("Ada", "Customer 51", "Customer 1")


def test_created_customers_have_the_lowest_version(
    engine: sa.Engine, importer: Importer, accept: AcceptFile
) -> None:
    older = accept(b"id,name\n50,Grace\n", "customers")
    run(importer, accept(HEADER + b"1,50,1\n", create_customers=True))
    assert counts(run(importer, older)) == {"status": "done", "applied": 1}
    assert names(engine)[50] == "Grace"
