"""Actions of operators on imports: only those that the state allows, published at once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from orderworks.core.errors import ImportNotFound, WrongState
from orderworks.core.keys import import_uncounted_starts
from orderworks.core.redis import make_redis
from orderworks.core.schema import import_chunks, imports
from orderworks.imports import chunk_attempt, control, ledger
from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary, read_progress
from producer.imports.job import ImportJob
from tests.support.imports import SEVEN
from tests.support.types import AcceptFile

Do = Callable[[control.ControlAction], Summary]


@pytest.fixture
def do(importer: Importer, planned: str) -> Do:
    """Make a change to the import."""
    return lambda change: control.apply_action(importer.engine, importer.stream, change, planned)


def set_chunk(importer: Importer, number: int, **values: Any) -> None:  # noqa: ANN401 - of any type
    with importer.engine.begin() as connection:
        of_number = sa.update(import_chunks).where(import_chunks.c.number == number)
        connection.execute(of_number.values(values))


def give_up(importer: Importer, import_id: str, number: int) -> None:
    with importer.engine.begin() as connection:
        chunk_attempt.quarantine_chunk(connection, import_id, number, "it would not load")


def test_paused_import_starts_no_chunk_until_resumed(
    importer: Importer, planned: str, do: Do
) -> None:
    assert do(control.pause)["status"] == "paused"
    assert importer.load_chunk(planned, 0) is None
    assert do(control.resume)["status"] == "running"
    assert importer.plan(planned) == [0, 1, 2]


def test_every_state_change_is_visible_to_the_producer_at_once(
    importer: Importer, planned: str, do: Do
) -> None:
    for change, status in (
        (control.pause, "paused"),
        (control.resume, "running"),
        (control.pause, "paused"),
        (control.cancel, "cancelled"),
    ):
        changed = do(change)
        assert changed["status"] == status
        assert read_progress(importer.stream, planned) == changed
    assert ImportJob(planned, importer.stream).wait(timeout=1)["finished_at"]


def test_a_cancelled_import_starts_no_chunk_and_stays_cancelled(
    importer: Importer, planned: str, do: Do
) -> None:
    do(control.cancel)
    assert importer.load_chunk(planned, 0) is None
    with importer.engine.connect() as connection:
        assert ledger.import_summary(connection, planned)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "impossible"),
    [
        ("running", [control.resume, control.retry]),
        ("paused", [control.pause, control.retry]),
        ("done", [control.pause, control.resume, control.cancel, control.retry]),
        ("failed", [control.pause, control.resume, control.cancel, control.retry]),
        ("cancelled", [control.pause, control.resume, control.cancel, control.retry]),
    ],
)
def test_disallowed_transition_changes_nothing_and_names_allowed_states(
    importer: Importer, planned: str, do: Do, status: str, impossible: list[control.ControlAction]
) -> None:
    with importer.engine.begin() as connection:
        connection.execute(sa.update(imports).values(status=status))
    for change in impossible:
        with pytest.raises(WrongState, match=f"import {planned} is {status}; only "):
            do(change)
    with importer.engine.connect() as connection:
        summary = ledger.import_summary(connection, planned)
    assert (summary["status"], summary["steps"]) == (status, 1)


def test_unplanned_import_is_not_found(importer: Importer, accept: AcceptFile) -> None:
    import_id = accept(SEVEN, "customers")
    for change in (control.pause, control.resume, control.cancel, control.retry):
        with pytest.raises(ImportNotFound):
            control.apply_action(importer.engine, importer.stream, change, import_id)


def test_without_redis_nothing_is_changed(importer: Importer, planned: str) -> None:
    with make_redis("redis://127.0.0.1:1/0", 1) as unavailable, pytest.raises(redis.RedisError):
        control.apply_action(importer.engine, unavailable, control.cancel, planned)
    with importer.engine.connect() as connection:
        assert ledger.import_summary(connection, planned)["status"] == "running"


@pytest.mark.parametrize("status", ["running", "failed"])
def test_retry_restarts_quarantined_chunks(
    importer: Importer, planned: str, do: Do, status: str
) -> None:
    set_chunk(importer, 0, status="done", applied=3)
    give_up(importer, planned, 1)
    with importer.engine.begin() as connection:
        connection.execute(sa.update(imports).values(status=status, error="it failed"))
    summary = do(control.retry)
    assert (summary["status"], summary["error"], summary["finished_at"]) == ("running", None, None)
    assert (summary["chunks_done"], summary["quarantined"]) == (1, 0)
    assert importer.plan(planned) == [1, 2]


def test_retry_resets_uncounted_starts(importer: Importer, planned: str) -> None:
    importer.stream.hset(import_uncounted_starts(planned), "1", "7")
    control.reset_uncounted_starts(importer.stream, planned)
    assert not importer.stream.exists(import_uncounted_starts(planned))


def test_summary_reports_progress_and_speed(importer: Importer, planned: str, do: Do) -> None:
    with importer.engine.connect() as connection:
        fresh = ledger.import_summary(connection, planned)
    assert (fresh["bytes_done"], fresh["rows_left"]) == (0, 7)
    assert (fresh["rows_per_second"], fresh["eta_seconds"]) == (None, None)
    set_chunk(importer, 0, status="done", applied=2, rejected=1)
    some = do(control.pause)
    assert 0 < some["bytes_done"] < some["bytes"]
    assert (some["rows_left"], some["eta_seconds"]) == (4, None)
    with importer.engine.begin() as connection:
        connection.execute(
            sa.update(imports).values(planned_at=sa.func.now() - timedelta(seconds=30))
        )
    some = do(control.resume)
    assert some["rows_per_second"] == pytest.approx(3 / 30, rel=0.2)
    assert some["eta_seconds"] == pytest.approx(40, rel=0.2)
    set_chunk(importer, 1, status="done", applied=3)
    set_chunk(importer, 2, status="quarantined")
    assert do(control.cancel)["bytes_done"] == len(SEVEN)


def test_summary_counts_corrected_rejects(importer: Importer, accept: AcceptFile) -> None:
    parent = accept(b"id,name\n1,\n2,\n", "customers")
    importer.plan(parent)
    columns = 'import_id, line, "column", code, reason, raw, mended_by'
    with importer.engine.begin() as connection:
        connection.execute(
            sa.text(f"INSERT INTO import_rejects ({columns}) VALUES (:id, 2, '', '', '', '', 'x')"),
            {"id": parent},
        )
        assert ledger.import_summary(connection, parent)["mended"] == 0, "no import corrects it"
        connection.execute(sa.update(imports).values(parent=parent))
        assert ledger.import_summary(connection, parent)["mended"] == 1
