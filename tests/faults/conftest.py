"""What fault tests start from: a database with orders, and beat in a hurry."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from orderworks_app.embedded.stack import Stack
from producer import Producer
from tests.conftest import fresh_settings
from tests.support.oracle import Oracle, make_rows, write_orders
from tests.support.ten_chunk_file import CHUNK

OFTEN = {"SWEEP_INTERVAL": "1", "REPORT_INTERVAL": "1", "UPDATE_BATCH": "500"}
"""Small batches, so that a fault meets the middle of the work and not its end."""

ORDERS = 20_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where processes run and leave their logs."""
    return tmp_path / "run"


@pytest.fixture
def settings(stack: Stack, admin: sa.Engine, template: str, tmp_path: Path) -> Iterator[Settings]:
    """A fresh database, empty Valkeys and an empty spool."""
    with fresh_settings(stack, admin, template, tmp_path / "home", **OFTEN) as made:
        yield made


@pytest.fixture
def oracle(engine: sa.Engine) -> Oracle:
    """Orders in the database, and who knows what must become of them."""
    rows = make_rows(ORDERS)
    write_orders(engine, rows)
    return Oracle(rows)


@pytest.fixture
def producer(settings: Settings) -> Iterator[Producer]:
    """A producer as apps have it."""
    with Producer.from_settings() as made:
        yield made


@pytest.fixture
def small_chunks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports of many chunks, each of which is given up after two starts."""
    monkeypatch.setenv("IMPORT_CHUNK_ROWS", str(CHUNK))
    monkeypatch.setenv("CHUNK_ATTEMPTS", "2")
