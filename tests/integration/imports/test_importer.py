"""The steps of an import in the workers, and their failures."""

import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis
import sqlalchemy as sa
from structlog.testing import capture_logs
from tenacity import stop_after_attempt

from orderworks.core import keys
from orderworks.core.database import make_engine
from orderworks.core.errors import (
    DataMissing,
    ImportFailed,
    ImportNotFound,
    InvalidFile,
    InvalidInput,
    Unavailable,
    WaitTimeout,
)
from orderworks.core.redis import make_redis
from orderworks.core.schema import customers, import_chunks, imports
from orderworks.imports import (
    chunk_attempt,
    chunk_loader,
    control,
    finisher,
    ledger,
    pending_chunks,
    plan_attempt,
    planner,
)
from orderworks.imports.chunk_loader import ChunkLoader
from orderworks.imports.chunk_plan import FileChunk
from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary, read_progress
from orderworks.imports.spool import Spool
from producer.imports.job import ImportJob
from tests.support.chunk_locks import attempts, held_by
from tests.support.imports import SEVEN, summary_of
from tests.support.processes import eventually
from tests.support.types import AcceptFile


def names_in_table(importer: Importer) -> int:
    with importer.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(customers)) or 0


def spool_folder(importer: Importer) -> Path:
    return Path(urlsplit(importer.spool.address).path)


@contextmanager
def worked_on(importer: Importer, import_id: str, number: int) -> Iterator[None]:
    """Another worker is loading the chunk."""
    with importer.engine.connect() as connection:
        assert chunk_attempt.claim_chunk(connection, import_id, number)
        yield
        connection.rollback()


def test_accepted_import_is_visible_at_once_and_planned_once(
    importer: Importer, accept: AcceptFile
) -> None:
    import_id = accept(SEVEN, "customers")
    accepted = ImportJob(import_id, importer.stream).progress()
    assert accepted
    assert (accepted["status"], accepted["rows"]) == ("accepted", None)
    assert importer.spool.list_waiting() == [import_id]
    assert importer.plan(import_id) == importer.plan(import_id) == [0, 1, 2]
    assert importer.spool.list_waiting() == []
    assert summary_of(importer, import_id)["rows"] == 7


def test_plan_interrupted_before_manifest_withdrawal_is_resumed(
    importer: Importer, accept: AcceptFile
) -> None:
    import_id = accept(SEVEN, "customers")
    manifest = importer.spool.manifest(import_id)
    assert manifest
    importer.plan(import_id)
    importer.load_chunk(import_id, 1)
    importer.spool.write_manifest(manifest)
    assert importer.plan(import_id) == [0, 2]
    assert summary_of(importer, import_id)["chunks"] == 3


def test_ledger_summary_and_redis_mirror_always_agree(importer: Importer, planned: str) -> None:
    for number in (2, 0, 1):
        step = importer.load_chunk(planned, number)
        assert step
        mirrored = read_progress(importer.stream, planned)
        assert step.summary == mirrored
        assert steady(step.summary) == steady(summary_of(importer, planned))
    assert step
    assert step.summary["status"] == "done"
    assert step.summary["finished_at"]
    assert ImportJob(planned, importer.stream).wait(timeout=1) == step.summary


PACE = ("rows_per_second", "eta_seconds")


def steady(summary: Summary) -> Summary:
    """The members that do not change with time alone."""
    return {name: summary[name] for name in summary if name not in PACE}


def test_chunk_is_loaded_once(importer: Importer, planned: str) -> None:
    assert importer.load_chunk(planned, 0)
    assert importer.load_chunk(planned, 0) is None
    assert summary_of(importer, planned)["applied"] == 3


def test_locked_chunk_is_left_to_its_worker(importer: Importer, planned: str) -> None:
    with worked_on(importer, planned, 0):
        assert importer.load_chunk(planned, 0) is None
    assert names_in_table(importer) == 0
    assert importer.load_chunk(planned, 0)


def test_concurrent_last_chunks_finish_the_import(importer: Importer, planned: str) -> None:
    both_ready = threading.Barrier(3)

    def work(number: int) -> None:
        both_ready.wait(timeout=10)
        importer.load_chunk(planned, number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert summary_of(importer, planned)["status"] == "done"
    assert names_in_table(importer) == 7


def test_chunk_with_lost_workers_is_quarantined_and_others_continue(
    importer: Importer, planned: str
) -> None:
    for _start in range(importer.settings.chunk_attempts):
        with importer.engine.begin() as connection:
            assert chunk_attempt.count_start(
                connection, planned, 1, importer.settings.chunk_attempts
            )
    for number in range(3):
        importer.load_chunk(planned, number)
    summary = summary_of(importer, planned)
    assert (summary["status"], summary["quarantined"], summary["applied"]) == ("failed", 1, 4)
    assert summary["error"] == "given up after 5 starts: its worker was lost each time"
    assert ImportJob(planned, importer.stream).wait(timeout=1) == summary


def test_start_ended_by_server_failure_is_not_counted(
    importer: Importer, planned: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    unavailable = Spool((tmp_path / "file" / "spool").as_uri())
    broken = Importer(
        importer.engine, unavailable, importer.stream, importer.cache, importer.settings
    )
    for _start in range(importer.settings.chunk_attempts + 1):
        with pytest.raises(Unavailable):
            broken.load_chunk(planned, 0)
    assert importer.load_chunk(planned, 0)


class Outage:
    """PostgreSQL becomes unavailable in the middle of a chunk: sessions end, connections are refused."""

    def __init__(self, importer: Importer, admin: sa.Engine, patch: pytest.MonkeyPatch) -> None:
        self.met = 0
        self.unavailable = False
        self._admin = admin
        self._database = importer.engine.url.database
        self._claim = chunk_attempt.claim_chunk
        patch.setattr(chunk_attempt, "claim_chunk", self._claim_and_lose)
        sa.event.listen(importer.engine, "do_connect", self._connect)

    def _claim_and_lose(
        self, connection: sa.Connection, import_id: str, number: int
    ) -> chunk_attempt.ChunkWork | None:
        work = self._claim(connection, import_id, number)
        self.met, self.unavailable = self.met + 1, True
        sessions = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        )
        with self._admin.connect() as admin:
            admin.execute(sessions, {"name": self._database})
        return work

    def _connect(self, *_: object) -> None:
        if self.unavailable:
            raise psycopg2.OperationalError("connection refused")

    def end(self) -> None:
        """Accept connections again."""
        self.unavailable = False


@pytest.mark.usefixtures("no_retries")
def test_postgresql_outages_are_not_counted_as_starts(
    importer: Importer, planned: str, admin: sa.Engine
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        outage = Outage(importer, admin, patch)
        for _outage in range(importer.settings.chunk_attempts + 2):
            with pytest.raises(sa.exc.OperationalError):
                importer.load_chunk(planned, 0)
            outage.end()
    assert outage.met == importer.settings.chunk_attempts + 2
    assert importer.load_chunk(planned, 0)


@pytest.mark.usefixtures("no_retries")
def test_lost_workers_are_counted_despite_outages(
    importer: Importer, planned: str, admin: sa.Engine
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        outage = Outage(importer, admin, patch)
        with pytest.raises(sa.exc.OperationalError):
            importer.load_chunk(planned, 0)
        outage.end()
    for _start in range(importer.settings.chunk_attempts):
        with importer.engine.begin() as connection:
            assert chunk_attempt.count_start(connection, planned, 0, 99)
    assert importer.load_chunk(planned, 0) is None
    assert summary_of(importer, planned)["quarantined"] == 1


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of work are not tried again: an outage outlasts that anyhow."""
    retrying = ChunkLoader._load.retry  # noqa: SLF001 - tenacity's
    monkeypatch.setattr(retrying, "stop", stop_after_attempt(1))


def test_duplicate_message_before_lock_of_last_start_quarantines_nothing(
    importer: Importer, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _start in range(importer.settings.chunk_attempts - 1):
        with importer.engine.begin() as connection:
            assert chunk_attempt.count_start(
                connection, planned, 0, importer.settings.chunk_attempts
            )
    claim, came = chunk_attempt.claim_chunk, list[int]()

    def claim_later(
        connection: sa.Connection, import_id: str, number: int
    ) -> chunk_attempt.ChunkWork | None:
        if not came:
            came.append(number)
            assert importer.load_chunk(import_id, number) is None
        return claim(connection, import_id, number)

    monkeypatch.setattr(chunk_attempt, "claim_chunk", claim_later)
    step = importer.load_chunk(planned, 0)
    assert came
    assert step
    assert (step.summary["quarantined"], step.summary["applied"]) == (0, 3)


def test_sweep_between_a_start_and_its_claim_costs_no_start(
    importer: Importer, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, sweep = chunk_attempt.claim_chunk, importer.engine.connect()
    importer_waits = threading.Event()

    def end_sweep() -> None:
        assert importer_waits.wait(timeout=10)
        eventually(lambda: lock_waits(importer.engine) == 1, 10, "the claim does not wait")
        sweep.rollback()

    def claim_later(
        connection: sa.Connection, import_id: str, number: int
    ) -> chunk_attempt.ChunkWork | None:
        quiet = timedelta(seconds=-1)
        assert (import_id, number) in pending_chunks.abandoned_chunks(sweep, quiet, limit=9)
        importer_waits.set()
        return claim(connection, import_id, number)

    monkeypatch.setattr(chunk_attempt, "claim_chunk", claim_later)
    ends = threading.Thread(target=end_sweep)
    ends.start()
    step = importer.load_chunk(planned, 0)
    ends.join(timeout=10)
    sweep.close()
    assert step
    assert step.summary["applied"] == 3


def test_start_of_a_chunk_whose_import_is_paused_before_the_claim_does_not_count(
    importer: Importer, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = chunk_attempt.claim_chunk

    def claim_later(
        connection: sa.Connection, import_id: str, number: int
    ) -> chunk_attempt.ChunkWork | None:
        control.apply_action(importer.engine, importer.stream, control.pause, import_id)
        return claim(connection, import_id, number)

    monkeypatch.setattr(chunk_attempt, "claim_chunk", claim_later)
    assert importer.load_chunk(planned, 0) is None
    assert attempts(importer.engine, planned) == [0, 0, 0]


def lock_waits(engine: sa.Engine) -> int:
    """The number of sessions of this database that wait for a lock."""
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return int(connection.scalar(query) or 0)


def test_chunk_lock_is_released_with_the_work(importer: Importer, planned: str) -> None:
    def lock(number: int) -> AbstractContextManager[bool]:
        return locked(importer, planned, number)

    for _time in range(2):
        with lock(0) as mine, lock(0) as second, lock(1) as other:
            assert (mine, second, other) == (True, False, True)


@contextmanager
def locked(importer: Importer, import_id: str, number: int) -> Iterator[bool]:
    """Try to reserve the start of the chunk until the block ends; true if it is."""
    with importer.engine.begin() as connection:
        yield chunk_attempt.lock_chunk(connection, import_id, number)


def test_summary_is_computed_once_per_chunk(
    importer: Importer, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    summarise = ledger.import_summary

    def counted(connection: sa.Connection, import_id: str) -> Summary:
        asked.append(import_id)
        return summarise(connection, import_id)

    monkeypatch.setattr(ledger, "import_summary", counted)
    importer.load_chunk(planned, 0)
    importer.load_chunk(planned, 0)
    assert asked == [planned, planned]


def test_quarantined_chunk_keeps_its_last_error(importer: Importer, planned: str) -> None:
    with importer.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE customers RENAME COLUMN name TO label"))
    for _start in range(importer.settings.chunk_attempts):
        with pytest.raises(sa.exc.ProgrammingError):
            importer.load_chunk(planned, 0)
    assert importer.load_chunk(planned, 0) is None
    with importer.engine.connect() as connection:
        chunk = connection.execute(
            sa.select(import_chunks).where(import_chunks.c.number == 0)
        ).one()
    assert chunk.status == "quarantined"
    assert chunk.error.startswith("given up after 5 starts: ProgrammingError: ")
    assert 'column "name"' in chunk.error


def test_spooled_data_of_another_size_fails_the_chunk_at_once(
    importer: Importer, planned: str
) -> None:
    with (spool_folder(importer) / "data" / planned).open("ab") as file:
        file.write(b"8,Eve\n")
    with pytest.raises(ImportFailed, match=r"the spool holds \d+ bytes of import"):
        importer.load_chunk(planned, 0)
    summary = summary_of(importer, planned)
    assert summary["quarantined"] == 1
    assert "the spool holds" in summary["error"]


def test_worker_without_access_to_spool_leaves_chunks_to_others(
    importer: Importer, planned: str, tmp_path: Path
) -> None:
    elsewhere = Spool((tmp_path / "elsewhere").as_uri())
    lost = Importer(importer.engine, elsewhere, importer.stream, importer.cache, importer.settings)
    with pytest.raises(DataMissing):
        lost.load_chunk(planned, 0)
    assert importer.load_chunk(planned, 0)
    for _start in range(importer.settings.chunk_attempts):
        with pytest.raises(DataMissing):
            lost.load_chunk(planned, 1)
    assert importer.load_chunk(planned, 1) is None
    error = summary_of(importer, planned)["error"]
    assert error.startswith("given up after 5 starts: DataMissing: the spool at file://")
    assert socket.gethostname() in error


def test_modified_spool_data_are_never_planned(importer: Importer, accept: AcceptFile) -> None:
    import_id = accept(SEVEN, "customers")
    path = spool_folder(importer) / "data" / import_id
    path.write_bytes(path.read_bytes().replace(b"Customer 3", b"Customer X"))
    with pytest.raises(ImportFailed, match="is not what was accepted"):
        importer.plan(import_id)
    summary = summary_of(importer, import_id)
    assert summary["status"] == "failed"
    assert "is not what was accepted" in summary["error"]
    assert ImportJob(import_id, importer.stream).wait(timeout=1) == summary
    assert importer.spool.list_waiting() == []
    assert importer.plan(import_id) == []


@pytest.mark.parametrize(
    ("ends_with", "reason"),
    [
        (RuntimeError("too slow"), "RuntimeError: too slow"),
        (SystemExit("killed"), "it took too long, or its worker was lost"),
    ],
)
def test_plan_that_fails_each_time_fails_the_import(
    importer: Importer,
    accept: AcceptFile,
    ends_with: BaseException,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planner, "planned_chunks", Mock(side_effect=ends_with))
    import_id = accept(SEVEN, "customers")
    for _start in range(plan_attempt.PLAN_ATTEMPTS):
        with pytest.raises(type(ends_with)):
            importer.plan(import_id)
    assert importer.spool.list_waiting() == [import_id]
    with pytest.raises(ImportFailed, match="planning was given up after 3 starts"):
        importer.plan(import_id)
    summary = ImportJob(import_id, importer.stream).wait(timeout=1)
    assert summary["status"] == "failed"
    assert summary["error"] == f"planning was given up after 3 starts: {reason}"
    assert importer.spool.list_waiting() == []


def test_plan_ended_by_server_failure_is_not_counted(
    importer: Importer, accept: AcceptFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = accept(SEVEN, "customers")
    with monkeypatch.context() as patch:
        patch.setattr(planner, "planned_chunks", Mock(side_effect=Unavailable("the spool")))
        for _start in range(plan_attempt.PLAN_ATTEMPTS + 1):
            with pytest.raises(Unavailable):
                importer.plan(import_id)
    assert importer.plan(import_id) == [0, 1, 2]


def test_import_being_planned_is_left_to_its_planner(
    importer: Importer, accept: AcceptFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = accept(SEVEN, "customers")
    planned_chunks, second = planner.planned_chunks, list[list[int]]()

    def meanwhile(*how: Any) -> list[FileChunk]:  # noqa: ANN401 - passed on
        second.append(importer.plan(import_id))
        return planned_chunks(*how)

    monkeypatch.setattr(planner, "planned_chunks", meanwhile)
    assert importer.plan(import_id) == [0, 1, 2]
    assert second == [[]]
    assert importer.stream.exists(keys.import_nudge(import_id)), "a sign of life"


def test_file_without_rows_is_done_after_planning(importer: Importer, accept: AcceptFile) -> None:
    import_id = accept(b"id,name\n\n", "customers")
    assert importer.plan(import_id) == []
    summary = ImportJob(import_id, importer.stream).wait(timeout=1)
    assert (summary["status"], summary["rows"]) == ("done", 0)


def test_each_step_of_an_import_is_logged_in_one_line(
    importer: Importer, accept: AcceptFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Mock()
    for module in (planner, chunk_loader, finisher):
        monkeypatch.setattr(module, "log", log)
    import_id = accept(b"id,name\n1,Ann\n2,Bob\nx,Cid\n4,Dan\n", "customers")
    for number in (*importer.plan(import_id), 0):
        importer.load_chunk(import_id, number)
    assert [
        (call.args, {name: value for name, value in call.kwargs.items() if name != "ms"})
        for call in log.info.call_args_list
    ] == [
        (("import_planned",), {"import_id": import_id, "rows": 4, "chunks": 2}),
        (("chunk_loaded",), {"import_id": import_id, "chunk": 0, "rows": 3, "rejected": 1}),
        (("chunk_loaded",), {"import_id": import_id, "chunk": 1, "rows": 1, "rejected": 0}),
        (
            ("import_finished",),
            {"import_id": import_id, "status": "done", "rows": 4, "applied": 3, "rejected": 1}
            | dict.fromkeys(("unchanged", "stale", "superseded"), 0),
        ),
    ]


def test_import_that_cannot_be_planned_is_logged_as_finished(
    importer: Importer, accept: AcceptFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Mock()
    monkeypatch.setattr(finisher, "log", log)
    import_id = accept(b"id,name,line\n1,Ann,2\n", "customers", parent="unknown")
    with pytest.raises(ImportFailed):
        importer.plan(import_id)
    (call,) = log.info.call_args_list
    assert (call.kwargs["import_id"], call.kwargs["status"]) == (import_id, "failed")


def test_unknown_import_raises_import_not_found(importer: Importer) -> None:
    for call in (importer.plan, importer.finish, lambda name: importer.load_chunk(name, 0)):
        with pytest.raises(ImportNotFound, match="there is no import nonsense"):
            call("nonsense")


def test_loading_customers_invalidates_their_cache(importer: Importer, planned: str) -> None:
    for customer in (1, 7):
        importer.cache.hset(keys.customer_cache(customer), "token", "x")
    importer.load_chunk(planned, 0)
    left = [importer.cache.exists(keys.customer_cache(customer)) for customer in (1, 7)]
    assert left == [0, 1]


def test_unavailable_cache_does_not_stop_an_import(importer: Importer, planned: str) -> None:
    unavailable = make_redis("redis://127.0.0.1:1/0", timeout=0.2)
    without = Importer(
        importer.engine, importer.spool, importer.stream, unavailable, importer.settings
    )
    assert without.load_chunk(planned, 0)


def test_import_ends_only_after_its_end_is_mirrored_to_redis(
    importer: Importer, planned: str
) -> None:
    unavailable = make_redis("redis://127.0.0.1:1/0", timeout=0.2)
    without = Importer(
        importer.engine, importer.spool, unavailable, importer.cache, importer.settings
    )
    for number in range(3):
        without.load_chunk(planned, number)
    assert summary_of(importer, planned)["status"] == "running"
    with importer.engine.connect() as connection:
        assert ledger.unfinished_complete_imports(connection) == [planned]
    assert importer.finish(planned).summary["status"] == "done"
    assert ImportJob(planned, importer.stream).wait(timeout=1)["applied"] == 7


def test_abandoned_chunks_are_found_and_locked_ones_are_not(
    importer: Importer, planned: str
) -> None:
    def abandoned(quiet: float) -> list[tuple[str, int]]:
        with importer.engine.begin() as connection:
            return pending_chunks.abandoned_chunks(connection, timedelta(seconds=quiet), limit=100)

    assert abandoned(60) == []
    with importer.engine.begin() as connection:
        long_ago = sa.func.now() - timedelta(minutes=5)
        connection.execute(sa.update(imports).values(nudged_at=long_ago))
    with worked_on(importer, planned, 1):
        assert abandoned(60) == [(planned, 0), (planned, 2)]
    assert abandoned(60) == []


def test_imports_are_listed_newest_first_and_counted(
    importer: Importer, accept: AcceptFile
) -> None:
    ids = [accept(SEVEN, "customers") for _ in range(2)]
    for import_id in ids:
        importer.plan(import_id)
    with importer.engine.connect() as connection:
        assert [each["id"] for each in ledger.list_imports(connection)] == ids[::-1]
        assert ledger.count_by_status(connection) == {"running": 2}


def test_file_that_is_refused_leaves_nothing_in_the_spool(
    importer: Importer, accept: AcceptFile
) -> None:
    for content in (b"id\n1\n", b"\xff\xfei\0d\0", b""):
        with pytest.raises(InvalidFile):
            accept(content, "customers")
    with pytest.raises(InvalidInput, match="'people' cannot be imported"):
        accept(SEVEN, "people")
    left = [path for path in spool_folder(importer).rglob("*") if path.is_file()]
    assert left == []


def test_import_is_refused_while_redis_is_unavailable(
    importer: Importer, accept: AcceptFile
) -> None:
    importer.stream.connection_pool.connection_kwargs["port"] = 1
    importer.stream.connection_pool.disconnect()
    with pytest.raises(Unavailable, match="Redis cannot be used: .*127.0.0.1:1"):
        accept(SEVEN, "customers")
    assert not list(spool_folder(importer).glob("data/*"))


def test_wait_times_out_and_reports_progress(importer: Importer, planned: str) -> None:
    importer.load_chunk(planned, 0)
    seen: list[Summary] = []
    with pytest.raises(WaitTimeout, match="has not ended within 0.3 s; it continues"):
        ImportJob(planned, importer.stream).wait(timeout=0.3, on_progress=seen.append)
    assert [each["chunks_done"] for each in seen] == [1]


def test_progress_raises_unavailable_without_redis() -> None:
    job = ImportJob("x", make_redis("redis://127.0.0.1:1/0", timeout=0.2))
    with pytest.raises(Unavailable) as raised:
        job.progress()
    assert isinstance(raised.value.__cause__, redis.RedisError)


def test_chunk_is_retried_when_its_postgresql_backend_is_killed(
    importer: Importer, planned: str
) -> None:
    """A trigger kills the session that writes, once."""
    with importer.engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION shoot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF nextval('shot') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); "
                "PERFORM pg_sleep(5); END IF; RETURN NULL; END $$"
            )
        )
        connection.execute(sa.text("CREATE SEQUENCE shot"))
        connection.execute(
            sa.text(
                "CREATE TRIGGER shoot AFTER INSERT ON customers "
                "FOR EACH STATEMENT EXECUTE FUNCTION shoot()"
            )
        )
    step = importer.load_chunk(planned, 0)
    assert step
    assert step.summary["applied"] == 3
    with importer.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT last_value FROM shot")) == 2


def test_chunk_with_a_locked_row_is_tried_again_and_others_are_loaded(
    importer: Importer, planned: str, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.insert(customers).values(id=1, name="Old"))
    options = importer.settings.model_copy(update={"db_lock_timeout": 1})
    impatient = make_engine(options, "orderworks-worker")
    loader = Importer(impatient, importer.spool, importer.stream, importer.cache, options)
    with held_by(engine, "UPDATE customers SET name = 'x' WHERE id = 1"), capture_logs() as logs:
        for _ in range(2):
            assert loader.load_chunk(planned, 0) is None
        assert loader.load_chunk(planned, 1)
        with engine.connect() as connection:
            query = sa.select(*import_chunks.c["status", "attempts"]).where(
                import_chunks.c.number == 0
            )
            assert connection.execute(query).one() == ("pending", 0)
    waits = [each for each in logs if each["event"] == "chunk_waits_for_lock"]
    assert len(waits) == 2
    assert str(waits[0]["application"]).startswith("orderworks-test")
    assert loader.load_chunk(planned, 0)
    impatient.dispose()
