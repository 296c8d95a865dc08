"""Fixtures of fault tests: durable servers, a database with orders, and a beat of short intervals."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.core.settings import Settings
from tests.support.databases import Databases, running_databases
from tests.support.oracle import Oracle, make_rows, write_orders
from tests.support.processes import BEAT_OFTEN, CeleryProcess, running_worker
from tests.support.ten_chunk_file import CHUNK

SMALL_BATCHES = {"UPDATE_BATCH": "500"}
"""Small batches, so that a fault meets the middle of the work and not its end."""

ORDERS = 20_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of processes; their logs are in its parent."""
    return tmp_path / "run"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Servers of the faults' own, as durable as those of users."""
    with running_databases(durable=True) as made:
        yield made


@pytest.fixture(scope="session")
def environment() -> Mapping[str, str]:
    """Variables of processes and tests."""
    return {**BEAT_OFTEN, **SMALL_BATCHES}


@pytest.fixture
def oracle(engine: sa.Engine) -> Oracle:
    """Orders in the database, and what the updates must make of them."""
    rows = make_rows(ORDERS)
    write_orders(engine, rows)
    return Oracle(rows)


@pytest.fixture
def small_chunks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports of many chunks, each of which is given up after two starts."""
    monkeypatch.setenv("IMPORT_CHUNK_ROWS", str(CHUNK))
    monkeypatch.setenv("CHUNK_ATTEMPTS", "2")


@pytest.fixture
def concurrency() -> int:
    """The number of processes of a worker."""
    return 2


@pytest.fixture
def worker(settings: Settings, folder: Path, concurrency: int) -> Iterator[CeleryProcess]:
    """A worker without beat: only messages that the test sends start anything."""
    assert settings.broker
    with running_worker(folder, f"--concurrency={concurrency}") as service:
        yield service


@pytest.fixture
def celery_sender(settings: Settings) -> Iterator[Celery]:
    """A client that sends messages of tasks."""
    with Celery(broker=settings.broker, set_as_current=False) as app:
        yield app
