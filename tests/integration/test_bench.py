"""The ways of loading that imports are compared with: each brings all rows as they are."""

import csv
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench.copying import copy
from bench.ways import WAYS, Way
from orders.settings import Settings

CUSTOMERS = "id,name,phone,email\n1,Ada,,ada@shop.example\n"
ORDERS = [
    ("id", "customer_id", "total", "status", "created_at"),
    ("7", "1", "19.90", "open", "2026-11-01"),
    ("9", "1", "0.05", "partly filled", "2026-11-02"),
]

AS_IN_THE_FILE = sa.text(
    "SELECT id::text, customer_id::text, total::text, status, to_char(created_at, 'YYYY-MM-DD') "
    "FROM orders ORDER BY id"
)


@pytest.fixture
def file(settings: Settings, tmp_path: Path) -> Path:
    """A file of orders, whose customer is there."""
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    copy(settings.database, "customers", tmp_path / "customers.csv")
    made = tmp_path / "orders.csv"
    with made.open("w", newline="") as lines:
        csv.writer(lines).writerows(ORDERS)
    return made


def in_the_table(engine: sa.Engine) -> list[tuple[str, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(AS_IN_THE_FILE)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_loads_every_row_as_it_is(engine: sa.Engine, file: Path, way: Way) -> None:
    way.load(engine, file)
    assert in_the_table(engine) == ORDERS[1:]


def test_copy_loads_files_at_once(settings: Settings, engine: sa.Engine, file: Path) -> None:
    header, *rows = file.read_text().splitlines()
    halves = [file.with_name(f"half-{number}.csv") for number in (1, 2)]
    for half, row in zip(halves, rows, strict=True):
        half.write_text(f"{header}\n{row}\n")
    copy(settings.database, "orders", *halves)
    assert in_the_table(engine) == ORDERS[1:]
