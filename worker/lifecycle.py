"""Start and end of a worker process: prefork children after the fork, thread pools at start."""

import os
import sys
from typing import Any

import sqlalchemy as sa
import structlog
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.signals import (
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
)

from orderworks.core.database import database_unavailable, make_engine
from orderworks.core.errors import ConfigurationError
from orderworks.core.server_version import require_supported_version
from orderworks.core.settings import Settings
from worker.resources import NotStarted, WorkerResources

log = structlog.get_logger()

_process: WorkerResources | None = None


def connect() -> None:
    """Start and stop the resources of this process by Celery's signals."""
    worker_init.connect(_refuse_old_server)
    worker_init.connect(_start_unless_forking)
    worker_process_init.connect(_start)
    worker_process_shutdown.connect(_stop)
    worker_shutdown.connect(_stop)


def current() -> WorkerResources:
    """Return the resources of this process.

    Raises:
        NotStarted: this process has made none; those inherited by a fork do not count.
    """
    if _process is None or _process.pid != os.getpid():
        raise NotStarted(
            "This process has no connections of its own: tasks run only in a worker that "
            "`celery -A worker worker` started"
        )
    return _process


def _refuse_old_server(**_: object) -> None:
    """End the process if PostgreSQL is too old. While it is unavailable, a worker starts and waits."""
    settings = Settings.load()
    engine = make_engine(settings, "orderworks-worker")
    try:
        with engine.connect() as connection:
            require_supported_version(connection)
    except sa.exc.DBAPIError as error:
        reason = str(database_unavailable(error, settings.database))
        log.warning("postgresql_unavailable", error=reason)
    except ConfigurationError as error:
        sys.exit(f"orderworks: {error}")  # Celery only logs other exceptions.
    finally:
        engine.dispose()


def _start_unless_forking(sender: Any, **_: object) -> None:  # noqa: ANN401 - a WorkController
    """Start in the main process only if its pool runs tasks there, in threads.

    The pool then has a connection for each thread.
    """
    if not issubclass(get_implementation(sender.pool_cls), PreforkPool):
        settings = Settings.load()
        threads = max(sender.concurrency, settings.db_pool_size)
        _adopt(settings.model_copy(update={"db_pool_size": threads}))


def _start(**_: object) -> None:
    if _process is None or _process.pid != os.getpid():
        _adopt(Settings.load())


def _adopt(settings: Settings) -> None:
    global _process  # noqa: PLW0603 - there is one per process
    _process = WorkerResources.start(settings)


def _stop(**_: object) -> None:
    global _process  # noqa: PLW0603 - as above
    if _process is not None and _process.pid == os.getpid():
        _process.stop()
        _process = None
