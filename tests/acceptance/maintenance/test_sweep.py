"""The sweep in a worker: its messages do not accumulate while no worker receives them."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.core.redis import make_redis
from orderworks.core.routing import QUEUE_OF, Queue, TaskName
from orderworks.core.schema import imports
from orderworks.core.settings import Settings
from orderworks.maintenance.sweep import MAX_WAITING
from producer import Producer
from tests.support.celery_inspection import messages
from tests.support.processes import CeleryProcess, eventually, running_worker, worker_and_beat

CHUNKS = MAX_WAITING + 50
FILE = "id,name\n" + "".join(f"{key},Customer {key}\n" for key in range(CHUNKS))


@pytest.fixture(autouse=True)
def _one_line_a_chunk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPORT_CHUNK_ROWS", "1")


def test_sweep_nudges_chunks_without_workers_only_once(
    settings: Settings, engine: sa.Engine, folder: Path
) -> None:
    with Producer.from_settings() as producer:
        job = producer.import_file(FILE.encode(), kind="customers")
    with running_worker(folder, "-Q", "imports,upkeep", "--concurrency=1") as worker:
        eventually(lambda: is_planned(engine), 20, "the import is planned")
        worker.kill_all()
    with make_redis(settings.broker, timeout=5) as broker:
        broker.flushdb()
    with running_worker(folder, "-Q", "upkeep", "--concurrency=1") as worker:
        for _sweep in range(4):
            sweep(settings, engine, worker)
        assert messages(settings, Queue.IMPORTS) == MAX_WAITING
    with worker_and_beat(folder, "--concurrency=2"):
        assert job.wait(timeout=120)["chunks_done"] == CHUNKS, (
            "the other chunks follow when those are loaded"
        )


def is_planned(engine: sa.Engine) -> bool:
    """Return whether the ledger has an import."""
    with engine.connect() as connection:
        return bool(connection.scalar(sa.select(sa.func.count()).select_from(imports)))


def sweep(settings: Settings, engine: sa.Engine, worker: CeleryProcess) -> None:
    """Make the import quiet for long enough, and run a sweep."""
    with engine.begin() as connection:
        past = sa.func.now() - timedelta(minutes=5)
        connection.execute(sa.update(imports).values(nudged_at=past))
    with Celery(broker=settings.broker, set_as_current=False) as sender:
        sent = sender.send_task(TaskName.SWEEP.value, queue=QUEUE_OF[TaskName.SWEEP].value)
        eventually(lambda: f"[{sent.id}] succeeded" in worker.said(), 20)
