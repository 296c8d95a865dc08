"""A worker that freezes in a plan or a chunk loses it; one that only waits for a slow spool does not."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from tenacity import stop_after_attempt

from orderworks.core import locks
from orderworks.core.redis import Redis
from orderworks.imports import keepalive, planner
from orderworks.imports.chunk_attempt import ChunkAttempts
from orderworks.imports.chunk_loader import ChunkLoader
from orderworks.imports.chunk_plan import FileChunk
from orderworks.imports.importer import Importer
from orderworks.imports.planner import Planner
from orderworks.imports.spool_folder import FolderStorage
from tests.support.imports import SEVEN, summary_of
from tests.support.processes import eventually
from tests.support.types import AcceptFile

BOUND = 1
"""Seconds of silence after which PostgreSQL ends a session here."""

SLOW_READS = 2


@pytest.fixture(autouse=True)
def short_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "MAX_IDLE_IN_TRANSACTION", BOUND)
    monkeypatch.setattr(keepalive, "INTERVAL", BOUND / 5)


class Silence:
    """Stops one thread at a place, without a sign of life, until the test continues it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._over = threading.Event()

    def pass_through(self) -> None:
        """Wait here, at the first call."""
        if not self.reached.is_set():
            self.reached.set()
            assert self._over.wait(timeout=30)

    @contextmanager
    def around(self, work: threading.Thread) -> Iterator[None]:
        """Do the block while the thread is silent, then wait for its end."""
        work.start()
        try:
            assert self.reached.wait(timeout=10)
            yield
        finally:
            self._over.set()
            work.join(timeout=30)


@pytest.fixture
def silence() -> Silence:
    return Silence()


def test_plan_of_silent_worker_is_made_by_another_one(
    importer: Importer, accept: AcceptFile, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned_chunks, thawed = planner.planned_chunks, list[list[int]]()

    def slow(*how: Any) -> list[FileChunk]:  # noqa: ANN401 - passed on
        chunks = planned_chunks(*how)
        silence.pass_through()
        return chunks

    monkeypatch.setattr(planner, "planned_chunks", slow)
    import_id = accept(SEVEN, "customers")
    work = threading.Thread(target=lambda: thawed.append(importer.plan(import_id)))
    with silence.around(work):
        assert importer.plan(import_id) == [], "the silent worker still has it"
        numbers = eventually(lambda: importer.plan(import_id), 10, "it is not planned")
        for number in numbers:
            importer.load_chunk(import_id, number)
        by_the_other = summary_of(importer, import_id)
    assert (numbers, thawed) == ([0, 1, 2], [[]])
    assert summary_of(importer, import_id) == by_the_other
    assert (by_the_other["status"], by_the_other["applied"]) == ("done", 7)


def test_chunk_of_silent_worker_is_loaded_by_another_one(
    importer: Importer, planned: str, stream: Redis, silence: Silence
) -> None:
    refused: list[Exception] = []

    def freeze_in_chunk() -> None:
        try:
            with ChunkAttempts(importer.engine, stream, 5).start(planned, 0) as attempt:
                assert attempt
                silence.pass_through()
                attempt.connection.execute(sa.text("UPDATE import_chunks SET applied = 99"))
        except sa.exc.DBAPIError as error:
            refused.append(error)

    with silence.around(threading.Thread(target=freeze_in_chunk)):
        assert importer.load_chunk(planned, 0) is None, "the silent worker still has it"
        step = eventually(lambda: importer.load_chunk(planned, 0), 10, "it is not loaded")
        assert step
    assert refused, "its session is lost"
    assert summary_of(importer, planned)["applied"] == 3


@pytest.mark.parametrize("how", ["by chunks", "strict", "dry run"])
def test_worker_that_waits_for_a_slow_spool_keeps_its_work(
    importer: Importer, accept: AcceptFile, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for retried in (Planner.plan, ChunkLoader._load):  # noqa: SLF001 - it would hide a lost session
        monkeypatch.setattr(retried.retry, "stop", stop_after_attempt(1))
    read, waited = FolderStorage.read, list[str]()

    def answer(storage: FolderStorage, path: str, start: int, end: int) -> bytes:
        if path.startswith("data/") and len(waited) < SLOW_READS:
            until = time.monotonic() + 1.5 * BOUND
            eventually(lambda: time.monotonic() > until, 10)
            waited.append(path)
        return read(storage, path, start, end)

    monkeypatch.setattr(FolderStorage, "read", answer)
    import_id = accept(SEVEN, "customers", strict=how == "strict", dry_run=how == "dry run")
    for number in importer.plan(import_id)[:1]:
        assert importer.load_chunk(import_id, number)
    assert len(waited) == SLOW_READS, "one in the plan, others in the load"
