"""Commands on an import that a real worker is loading: pause, resume, cancel, retry."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.core.routing import Queue
from orderworks.core.schema import customers
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from orderworks_app.operations.imports import Imports
from producer import Producer
from tests.support.celery_inspection import is_drained, messages, waiting
from tests.support.celery_inspection import run as run_sql
from tests.support.chunk_locks import AT_A_ROW, attempts, chunks_at_work, held_by, orders_taken
from tests.support.commands import RunCommand
from tests.support.oracle import read_orders, seed_orders
from tests.support.processes import CeleryProcess, eventually, running_worker

CHUNK = 600
"""More rows than the database may refuse one by one before a chunk is given up."""

CHUNKS = 4
ROWS = CHUNKS * CHUNK

LAG = 0.2
"""Seconds that an update may wait before chunks yield to it."""

ENDED = "(?:succeeded|raised)"
"""The words of the log for a task that ended."""

SubmitImport = Callable[..., str]
Shown = Callable[..., dict[str, Any]]
Wait = Callable[[int], None]


class File:
    """A file of orders that no other test has, in four chunks. Line 2 is its first order."""

    _written = 0

    def __init__(self) -> None:
        File._written += 1
        self.first = File._written * 1_000_000
        self.ids = range(self.first, self.first + ROWS)

    def chunk(self, number: int) -> range:
        """The ids of a chunk's orders."""
        return self.ids[number * CHUNK : (number + 1) * CHUNK]

    def text(self, total: Callable[[int], object] = lambda _place: 5) -> str:
        """Its content; `total` returns the cell of each row, by the row's index."""
        rows = (f"{key},1,{total(place)}\n" for place, key in enumerate(self.ids))
        return "id,customer_id,total\n" + "".join(rows)


@pytest.fixture(scope="module")
def worker(settings: Settings, folder: Path) -> Iterator[CeleryProcess]:
    """A worker of two processes, small chunks, and little patience with updates that wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPORT_CHUNK_ROWS", str(CHUNK))
        patch.setenv("IMPORT_YIELD_LAG", str(LAG))
        with running_worker(folder, "--concurrency=2") as service:
            yield service


@pytest.fixture(scope="module", autouse=True)
def _orders(settings: Settings) -> None:
    seed_orders(settings, {1: (1, "new", Decimal(1), 0)})


@pytest.fixture
def orders_file() -> File:
    """A file of the test's own."""
    return File()


@pytest.fixture
def submit_import(run: RunCommand, worker: CeleryProcess, tmp_path: Path) -> SubmitImport:
    """Import a text with the command; the import's id."""

    def accept(text: str, *options: str) -> str:
        (tmp_path / "file.csv").write_text(text, encoding="utf-8")
        done = run("import", "file.csv", "--json", *options)
        assert done.status == 0, done.err
        return str(json.loads(done.out)["id"])

    return accept


@pytest.fixture
def shown(run: RunCommand) -> Shown:
    """The output of `orderworks imports ID`."""

    def show(import_id: str, *options: str) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(run("imports", import_id, "--json", *options).out)
        return summary

    return show


@pytest.fixture
def all_looked_at(worker: CeleryProcess) -> Wait:
    """Wait until the worker has run this number of `load_chunk` tasks since the test began."""
    eventually(lambda: loads(worker, "received") == loads(worker, ENDED), 20, "earlier ones")
    before = loads(worker, ENDED)

    def wait(count: int) -> None:
        eventually(lambda: loads(worker, ENDED) >= before + count, 20, "messages to load a chunk")

    return wait


def loads(worker: CeleryProcess, how: str) -> int:
    """The number of `load_chunk` tasks that the log reports so."""
    return len(re.findall(rf"load_chunk\[[^]]+\] {how}", worker.said()))


def found(engine: sa.Engine, orders_file: File) -> list[int]:
    """The orders of the file that are in the database."""
    return sorted(set(read_orders(engine)) & set(orders_file.ids))


def both_at_work(engine: sa.Engine, import_id: str) -> bool:
    """Return whether both processes are loading a chunk, the first and the second one."""
    return len(set(waiting(engine, AT_A_ROW))) == 2 and chunks_at_work(engine, import_id) == [0, 1]


def test_paused_import_finishes_running_chunks_only_and_completes_after_resume(
    run: RunCommand,
    submit_import: SubmitImport,
    shown: Shown,
    all_looked_at: Wait,
    engine: sa.Engine,
    orders_file: File,
) -> None:
    with held_by(engine, orders_taken(orders_file.chunk(0)[-1], orders_file.chunk(1)[-1])):
        import_id = submit_import(orders_file.text())
        eventually(lambda: both_at_work(engine, import_id), 20, "two chunks are not loading")
        assert run("pause", import_id).status == 0
        assert shown(import_id)["status"] == "paused"
    all_looked_at(CHUNKS)
    paused = shown(import_id)
    assert (paused["status"], paused["applied"], paused["rows_left"]) == (
        "paused",
        2 * CHUNK,
        2 * CHUNK,
    )
    assert attempts(engine, import_id) == [1, 1, 0, 0]
    assert found(engine, orders_file) == [*orders_file.chunk(0), *orders_file.chunk(1)]
    assert run("resume", import_id).status == 0
    whole = shown(import_id, "--follow")
    assert (whole["status"], whole["applied"], whole["rows_left"]) == ("done", ROWS, 0)
    assert attempts(engine, import_id) == [1, 1, 1, 1]
    assert found(engine, orders_file) == list(orders_file.ids)


def test_cancelled_import_finishes_running_chunks_only_and_releases_waiters(
    run: RunCommand,
    submit_import: SubmitImport,
    shown: Shown,
    all_looked_at: Wait,
    engine: sa.Engine,
    orders_file: File,
) -> None:
    with ThreadPoolExecutor(1) as pool, Producer.from_settings() as producer, ExitStack() as held:
        held.enter_context(
            held_by(engine, orders_taken(orders_file.chunk(0)[0], orders_file.chunk(1)[0]))
        )
        job = producer.import_file(orders_file.text().encode())
        eventually(lambda: both_at_work(engine, job.id), 20, "two chunks are not loading")
        waited = pool.submit(job.wait, 20)
        assert run("cancel", job.id).status == 0
        assert waited.result(timeout=10)["status"] == "cancelled"
        assert both_at_work(engine, job.id), "the running chunks did not end yet"
        held.close()
        all_looked_at(CHUNKS)
        assert job.wait(timeout=1) == shown_before(shown(job.id))
    cancelled = shown(job.id)
    assert (cancelled["status"], cancelled["applied"]) == ("cancelled", 2 * CHUNK)
    assert (cancelled["rows_left"], cancelled["chunks_done"]) == (2 * CHUNK, 2)
    assert attempts(engine, job.id) == [1, 1, 0, 0]
    assert found(engine, orders_file) == [*orders_file.chunk(0), *orders_file.chunk(1)]
    resumed = run("resume", job.id)
    assert (resumed.status, "is cancelled" in resumed.err) == (1, True)


def shown_before(summary: dict[str, Any]) -> dict[str, Any]:
    """The members of the command's output, without those that only the command adds."""
    return {name: value for name, value in summary.items() if name != "waits_for_updates"}


def test_retry_loads_chunk_refused_by_database_after_cause_is_fixed(
    run: RunCommand, submit_import: SubmitImport, shown: Shown, engine: sa.Engine, orders_file: File
) -> None:
    refused = orders_file.chunk(2)
    rule = f"CHECK (id NOT BETWEEN {refused[0]} AND {refused[-1]})"
    run_sql(engine, f"ALTER TABLE orders ADD CONSTRAINT too_strict {rule} NOT VALID")
    try:
        import_id = submit_import(orders_file.text())
        failed = shown(import_id, "--follow")
    finally:
        run_sql(engine, "ALTER TABLE orders DROP CONSTRAINT too_strict")
    assert (failed["status"], failed["quarantined"]) == ("failed", 1)
    assert (failed["applied"], failed["rows_left"]) == (ROWS - CHUNK, CHUNK)
    assert "refuses more than 500 rows" in failed["error"]
    assert "too_strict" in failed["error"]
    assert not set(refused) & set(found(engine, orders_file)), "nothing of it is left half done"
    assert run("retry", import_id).status == 0
    mended = shown(import_id, "--follow")
    assert (mended["status"], mended["applied"], mended["error"]) == ("done", ROWS, None)
    assert found(engine, orders_file) == list(orders_file.ids)


def test_retry_loads_chunks_whose_spool_data_were_missing(
    run: RunCommand,
    submit_import: SubmitImport,
    shown: Shown,
    engine: sa.Engine,
    orders_file: File,
    settings: Settings,
) -> None:
    with held_by(engine, orders_taken(orders_file.chunk(0)[0], orders_file.chunk(1)[0])):
        import_id = submit_import(orders_file.text())
        eventually(lambda: both_at_work(engine, import_id), 20, "two chunks are not loading")
        data = Path(settings.orderworks_home) / "spool" / "data" / import_id
        content = data.read_bytes()
        data.write_bytes(content[:-1])
    failed = shown(import_id, "--follow")
    assert (failed["status"], failed["quarantined"]) == ("failed", 2)
    assert failed["applied"] == 2 * CHUNK
    data.write_bytes(content)
    assert run("retry", import_id).status == 0
    mended = shown(import_id, "--follow")
    assert (mended["status"], mended["applied"]) == ("done", ROWS)


def test_finished_import_rejects_pause_resume_cancel_and_retry(
    run: RunCommand, submit_import: SubmitImport, shown: Shown, orders_file: File
) -> None:
    import_id = submit_import(orders_file.text())
    assert shown(import_id, "--follow")["status"] == "done"
    for command in ("pause", "resume", "cancel", "retry"):
        done = run(command, import_id)
        assert (done.status, done.out) == (1, "")
        assert len(done.err.splitlines()) == 1
        assert done.err.startswith(f"orderworks: import {import_id} is done; only ")


def test_exceeding_max_rejects_stops_the_import_and_reports_applied_rows(
    run: RunCommand,
    submit_import: SubmitImport,
    shown: Shown,
    all_looked_at: Wait,
    engine: sa.Engine,
    orders_file: File,
) -> None:
    bad = 5
    with held_by(engine, orders_taken(orders_file.chunk(1)[0])):
        import_id = submit_import(
            orders_file.text(lambda place: "x" if place < bad else 5), "--max-rejects", str(bad - 1)
        )
        stopped = shown(import_id, "--follow")
        assert chunks_at_work(engine, import_id) == [1]
        assert (stopped["status"], stopped["rejected"]) == ("failed", bad)
        assert (stopped["applied"], stopped["rows_left"]) == (CHUNK - bad, ROWS - CHUNK)
        said = "more than 4 rows were rejected: the rest was not loaded"
        assert stopped["error"] == said
    all_looked_at(CHUNKS)
    final = shown(import_id)
    assert (final["status"], final["applied"]) == ("failed", 2 * CHUNK - bad)
    assert found(engine, orders_file) == [*orders_file.chunk(0)[bad:], *orders_file.chunk(1)]
    output = run("imports", import_id).out
    assert f"failed, 2,400 rows: {2 * CHUNK - bad:,} applied, {bad} rejected." in output
    assert said in output
    assert len(run("rejects", import_id).out.splitlines()) == 1 + bad


def test_exactly_max_rejects_does_not_stop_the_import(
    submit_import: SubmitImport, shown: Shown, orders_file: File
) -> None:
    import_id = submit_import(
        orders_file.text(lambda place: "x" if place < 5 else 5), "--max-rejects", "5"
    )
    summary = shown(import_id, "--follow")
    assert (summary["status"], summary["rejected"]) == ("done", 5)
    assert summary["applied"] == ROWS - 5


def test_create_customers_inserts_customers_referenced_by_orders(
    submit_import: SubmitImport, shown: Shown, engine: sa.Engine, orders_file: File
) -> None:
    text = "id,customer_id,total,customer_name\n" + "".join(
        f"{key},{person},5,{name}\n"
        for key, person, name in zip(orders_file.ids, (7001, 7002, 7001, 1), "ABCD", strict=False)
    )
    refused = shown(submit_import(text), "--follow")
    assert (refused["applied"], refused["rejected"]) == (1, 3)
    made = shown(submit_import(text, "--create-customers"), "--follow")
    assert (made["applied"], made["unchanged"], made["rejected"]) == (3, 1, 0)
    query = sa.select(customers.c.id, customers.c.name).where(customers.c.id > 7000)
    with engine.connect() as connection:
        people = dict(iter(connection.execute(query)))
    assert people == {7001: "A", 7002: "B"}


def test_strict_file_is_imported_whole_after_its_bad_row_is_corrected(
    run: RunCommand, engine: sa.Engine, orders_file: File, worker: CeleryProcess, tmp_path: Path
) -> None:
    command = ("import", "strict.csv", "--strict", "--follow", "--json")
    (tmp_path / "strict.csv").write_text(
        orders_file.text(lambda place: "x" if place == ROWS - 1 else 5)
    )
    failed = run(*command)
    assert failed.status == 1
    assert json.loads(failed.out)["error"] == f"1 of {ROWS} rows were rejected: none was imported"
    assert found(engine, orders_file) == []
    (tmp_path / "strict.csv").write_text(orders_file.text())
    done = run(*command)
    assert (done.status, json.loads(done.out)["applied"]) == (0, ROWS)
    assert found(engine, orders_file) == list(orders_file.ids)


def test_chunks_wait_for_pending_updates_and_then_load(
    submit_import: SubmitImport,
    shown: Shown,
    all_looked_at: Wait,
    engine: sa.Engine,
    orders_file: File,
    settings: Settings,
) -> None:
    with Celery(broker=settings.broker, set_as_current=False) as app:
        assert app.control.cancel_consumer(Queue.UPDATES.value, reply=True, limit=1, timeout=5)
        with Producer.from_settings() as producer:
            producer.update(OrderUpdate(order_id=1, status="waits"))
        with Imports.from_environment() as imports:
            eventually(imports.are_held_back, 5, "the update is not old")
        import_id = submit_import(orders_file.text())
        # Each of the four goes back to the end of the queue, and comes again.
        all_looked_at(3 * CHUNKS)
        kept = shown(import_id)
        assert (kept["status"], kept["applied"], kept["waits_for_updates"]) == ("running", 0, True)
        assert attempts(engine, import_id) == [0] * CHUNKS
        assert not is_drained(settings)
        assert app.control.add_consumer(Queue.UPDATES.value, reply=True, limit=1, timeout=5)
    done = shown(import_id, "--follow")
    assert (done["status"], done["applied"]) == ("done", ROWS)
    assert read_orders(engine)[1][1] == "waits"
    eventually(lambda: not messages(settings, Queue.IMPORTS), 10)
