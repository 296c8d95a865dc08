"""When a worker process begins and ends: prefork children after the fork, thread pools at start."""

import os
from typing import Any

from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.signals import (
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
)

from orderworks.core.settings import Settings
from worker.resources import NotStarted, WorkerResources

_process: WorkerResources | None = None


def connect() -> None:
    """Hook the life of the process to Celery's signals."""
    worker_init.connect(_start_unless_forking)
    worker_process_init.connect(_start)
    worker_process_shutdown.connect(_stop)
    worker_shutdown.connect(_stop)


def current() -> WorkerResources:
    """The connections of this process.

    Raises:
        NotStarted: none were made in this very process; what a fork inherited does not count.
    """
    if _process is None or _process.pid != os.getpid():
        raise NotStarted(
            "This process has no connections of its own: tasks run only in a worker that "
            "`celery -A worker worker` started"
        )
    return _process


def _start_unless_forking(sender: Any, **_: object) -> None:  # noqa: ANN401 - a WorkController
    """Start in the main process only if its pool runs the tasks there, in threads.

    Each of them then has a connection of the pool.
    """
    if not issubclass(get_implementation(sender.pool_cls), PreforkPool):
        settings = Settings.load()
        threads = max(sender.concurrency, settings.db_pool_size)
        _adopt(settings.model_copy(update={"db_pool_size": threads}))


def _start(**_: object) -> None:
    if _process is None or _process.pid != os.getpid():
        _adopt(Settings.load())


def _adopt(settings: Settings) -> None:
    global _process  # noqa: PLW0603 - one per process is the point
    _process = WorkerResources.start(settings)


def _stop(**_: object) -> None:
    global _process  # noqa: PLW0603 - likewise
    if _process is not None and _process.pid == os.getpid():
        _process.stop()
        _process = None
