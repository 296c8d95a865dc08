"""SIGKILL in the middle of every kind of import: the import still ends, with a complete result."""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.schema import import_rejects
from orderworks.imports.progress import ENDED, Summary
from orderworks_app.embedded.stack import Stack
from producer import Producer
from producer.imports.job import ImportJob
from tests.faults.conftest import ORDERS
from tests.support.celery_inspection import waiting
from tests.support.chunk_locks import (
    AT_THE_TABLE,
    attempts,
    blocked_workers,
    chunks_at_work,
    chunks_left,
    held_by,
    orders_taken,
)
from tests.support.oracle import differences, read_orders
from tests.support.processes import CeleryProcess, eventually, kill, running_worker, worker_and_beat
from tests.support.stack_process import server_of
from tests.support.ten_chunk_file import CHUNK, FILE, FIRST, ROWS, counted_orders, in_file

BY_SIGKILL = "exited with 'signal 9 (SIGKILL)'"

CHUNKS = ROWS // CHUNK

LAST = FIRST + ROWS - 1
"""The order in the last line: a strict import has written all others before it."""

AS_A_WHOLE = (0, ROWS)
BY_CHUNKS = range(0, ROWS + 1, CHUNK)
"""Numbers of orders of the file that may be visible."""

BAD = 5
"""One in this number of lines, including the last one, is to be corrected."""

pytestmark = pytest.mark.usefixtures("oracle", "small_chunks")


def test_child_killed_while_importing_unchanged_rows_writes_nothing(
    engine: sa.Engine, producer: Producer, folder: Path
) -> None:
    # Without versions of their own, so that equal rows are left as they are.
    plain = b"".join(line.rpartition(b",")[0] + b"\n" for line in FILE.splitlines())
    with worker_and_beat(folder, "--concurrency=2") as worker:
        first = ended(producer.import_file(plain), engine, BY_CHUNKS)
        before = writers(engine)
        with held_by(engine, "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"):
            job = producer.import_file(plain, again=True)
            eventually(lambda: len(set(waiting(engine, AT_THE_TABLE))) == 2, 20, "two chunks")
            assert len(chunks_at_work(engine, job.id)) == 2, "it was in the middle"
            kill_child(waiting(engine, AT_THE_TABLE)[0], worker)
        summary = ended(job, engine, [ROWS])
    assert first["applied"] == ROWS
    assert (summary["status"], summary["unchanged"], summary["applied"]) == ("done", ROWS, 0)
    assert sum(attempts(engine, job.id)) == CHUNKS + 1
    assert writers(engine) == before
    assert counted_orders(engine) == ORDERS + ROWS


def test_child_killed_at_last_row_of_strict_import_leaves_nothing_and_it_restarts(
    engine: sa.Engine, producer: Producer, folder: Path
) -> None:
    with worker_and_beat(folder, "--concurrency=2") as worker:
        with held_by(engine, orders_taken(LAST)) as holder:
            job = producer.import_file(FILE, strict=True)
            kill_child(at_the_last_row(engine, job, holder), worker)
            assert visible(engine) == 0
        summary = ended(job, engine, AS_A_WHOLE)
    check_complete(summary, engine)
    assert attempts(engine, job.id) == [2]


def test_worker_killed_in_strict_import_leaves_nothing_and_the_next_completes_it(
    engine: sa.Engine, producer: Producer, folder: Path
) -> None:
    with worker_and_beat(folder, "--concurrency=2") as worker:
        with held_by(engine, orders_taken(LAST)) as holder:
            job = producer.import_file(FILE, strict=True)
            at_the_last_row(engine, job, holder)
            worker.kill_all()
        assert visible(engine) == 0
        with running_worker(folder, "--concurrency=2"):
            summary = ended(job, engine, AS_A_WHOLE)
    check_complete(summary, engine)
    assert attempts(engine, job.id) == [2]


def test_child_killed_while_importing_corrections_marks_each_reject_corrected_once(
    engine: sa.Engine, producer: Producer, folder: Path
) -> None:
    header, *lines = FILE.splitlines()
    spoilt = [spoil(line) if is_bad(place) else line for place, line in enumerate(lines)]
    mended = [b"%s,%d" % (line, place + 2) for place, line in enumerate(lines) if is_bad(place)]
    with worker_and_beat(folder, "--concurrency=2") as worker:
        parent = producer.import_file(b"\n".join([header, *spoilt]))
        assert parent.wait(timeout=30)["rejected"] == len(mended)
        with held_by(engine, orders_taken(LAST)) as holder:
            sheet = b"\n".join([header + b",line", *mended])
            child = producer.import_file(sheet, parent=parent.id)
            kill_child(at_the_last_row(engine, child, holder), worker)
        summary = child.wait(timeout=30)
        eventually(lambda: (parent.progress() or {})["mended"] == len(mended), 10)
    assert (summary["status"], summary["applied"]) == ("done", len(mended))
    assert sum(attempts(engine, child.id)) == summary["chunks"] + 1
    assert mended_by(engine, parent) == {child.id: len(mended)}
    check_orders(engine)


@pytest.mark.parametrize(("how", "may_be_seen"), [("strict", AS_A_WHOLE), ("by chunks", BY_CHUNKS)])
def test_import_completes_after_its_postgresql_session_was_killed(
    how: str,
    may_be_seen: Collection[int],
    engine: sa.Engine,
    admin: sa.Engine,
    producer: Producer,
    folder: Path,
) -> None:
    with worker_and_beat(folder, "--concurrency=2"):
        job = producer.import_file(FILE, strict=how == "strict")
        crash(engine, admin, job, lambda holder: kill(*blocked_workers(holder).values()))
        summary = ended(job, engine, may_be_seen)
    check_complete(summary, engine)


def test_strict_import_completes_after_kill_of_postgresql(
    stack: Stack, engine: sa.Engine, admin: sa.Engine, producer: Producer, folder: Path
) -> None:
    server = server_of(stack)
    with worker_and_beat(folder, "--concurrency=2"):
        job = producer.import_file(FILE, strict=True)
        crash(engine, admin, job, lambda _holder: kill(server))
        summary = ended(job, engine, AS_A_WHOLE)
    assert server_of(stack) != server
    check_complete(summary, engine)


def ended(job: ImportJob, engine: sa.Engine, may_be_seen: Collection[int]) -> Summary:
    """Wait for the end of the import; check meanwhile the number of its visible orders."""

    def look() -> Summary | None:
        with suppress(sa.exc.OperationalError):  # PostgreSQL may be restarting
            assert visible(engine) in may_be_seen
        summary = job.progress()
        return summary if summary and summary["status"] in ENDED else None

    summary = eventually(look, 40, "the import does not end")
    assert summary
    return summary


def visible(engine: sa.Engine) -> int:
    """The number of visible orders of the file."""
    with engine.connect() as connection:
        query = sa.text(f"SELECT count(*) FROM orders WHERE id >= {FIRST}")
        return int(connection.scalar(query) or 0)


def check_complete(summary: Summary, engine: sa.Engine) -> None:
    """Check that summary and orders are those of an undisturbed import."""
    counts = ("status", "error", "applied", "unchanged", "stale", "superseded", "rejected")
    assert [summary[name] for name in counts] == ["done", None, ROWS, 0, 0, 0, 0]
    check_orders(engine)


def check_orders(engine: sa.Engine) -> None:
    """All orders of the file are there, and each was counted once."""
    found = {key: row for key, row in read_orders(engine).items() if key >= FIRST}
    assert not differences(found, in_file())
    assert counted_orders(engine) == ORDERS + ROWS


def at_the_last_row(engine: sa.Engine, job: ImportJob, holder: sa.Connection) -> int:
    """The worker process that waits for the last row, with the only chunk that is not done."""

    def standing() -> list[int]:
        pending = chunks_left(engine, job.id)
        blocked = list(blocked_workers(holder)) if len(pending) == 1 else []
        return blocked if blocked and chunks_at_work(engine, job.id) == pending else []

    (worker,) = eventually(standing, 20, "no worker waits for the row")
    return worker


def kill_child(child: int, worker: CeleryProcess) -> None:
    """Kill a child, and wait until its worker reports that."""
    kill(child)
    eventually(
        lambda: f"pid:{child} {BY_SIGKILL}" in worker.said(),
        10,
        "the child was not reported killed",
    )


def crash(
    engine: sa.Engine, admin: sa.Engine, job: ImportJob, kill_it: Callable[[sa.Connection], None]
) -> None:
    """Kill PostgreSQL, or a part of it, when all but the last row is written."""
    with held_by(engine, orders_taken(LAST)) as holder:
        at_the_last_row(engine, job, holder)
        kill_it(holder)
        eventually(lambda: is_lost(holder), 10, "the connection is not lost")
    for each in (engine, admin):
        each.dispose()


def is_lost(connection: sa.Connection) -> bool:
    """Return whether the connection is lost."""
    try:
        connection.execute(sa.text("SELECT 1"))
    except sa.exc.OperationalError:
        return True
    return False


def writers(engine: sa.Engine) -> dict[int, str]:
    """The transaction that wrote each order of the file."""
    query = sa.text(f"SELECT id, xmin::text FROM orders WHERE id >= {FIRST}")
    with engine.connect() as connection:
        return dict(iter(connection.execute(query)))


def mended_by(engine: sa.Engine, parent: ImportJob) -> dict[str | None, int]:
    """The number of rejects of an import by the import that corrected them; None if none has."""
    by = import_rejects.c.mended_by
    query = sa.select(by, sa.func.count()).where(import_rejects.c.import_id == parent.id)
    with engine.connect() as connection:
        return dict(iter(connection.execute(query.group_by(by))))


def is_bad(place: int) -> bool:
    """Return whether the row is one to be corrected."""
    return place % BAD == BAD - 1


def spoil(line: bytes) -> bytes:
    """The line with an invalid total."""
    order, customer, _total, version = line.split(b",")
    return b",".join([order, customer, b"much", version])
