"""The listener of a worker: it nudges a drain when the outbox gets rows, a refresh when orders change.

An update in the outbox, or a change by plain SQL, then waits for less than a second. Nothing depends on
the listener: the sweep and the next refresh find what it missed.
"""

import select
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import redis
import sqlalchemy as sa
import structlog
from celery import Celery, bootsteps
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError

from orderworks import changelog
from orderworks.core.database import make_engine
from orderworks.core.errors import Unavailable
from orderworks.core.keys import refresh_nudge
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import OUTBOX, Queue, TaskName
from orderworks.core.sessions import is_pooled
from orderworks.core.settings import Settings
from orderworks.updates import outbox
from orderworks.updates.stream import UpdateStream

POLL_INTERVAL = 0.5
"""Seconds between two checks of the outbox and the change log, and for the end of the thread."""

RECONNECT_PAUSE = 5.0
"""Seconds until the listener connects again after an error."""

NUDGE_TTL = 10
"""Seconds after which a nudge to refresh counts as lost, so that another one may be sent."""

SendNudge = Callable[[], None]

log = structlog.get_logger()


def connect(app: Celery) -> None:
    """Start a listener in each worker of this app."""
    app.steps["consumer"].add(Listener)


class Listener(bootsteps.StartStopStep):
    """Listens in a thread of a worker's main process while its consumer is connected to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Consumer, **options: object) -> None:
        super().__init__(parent, **options)
        self._stopped = threading.Event()

    def start(self, parent: Consumer) -> None:
        """Start the thread, if this worker consumes a queue that it sends nudges to."""
        self._stopped = threading.Event()
        settings = Settings.load()
        nudges = _nudges_for(parent.app, settings)
        if nudges != ListenerNudges(None, None):
            listening = threading.Thread(
                target=listen, args=(settings, nudges, self._stopped), name="listener", daemon=True
            )
            listening.start()

    def stop(self, parent: Consumer) -> None:  # noqa: ARG002 - the signature is Celery's
        """Stop the thread; it ends within `POLL_INTERVAL`."""
        self._stopped.set()


class ListenerNudges(NamedTuple):
    """Sends a nudge when the outbox has rows, and when orders were changed by others than workers.

    None where this worker does not consume the queue.
    """

    drain: SendNudge | None
    refresh: SendNudge | None


def _nudges_for(app: Celery, settings: Settings) -> ListenerNudges:
    queues = app.amqp.queues.consume_from
    client = make_redis(settings.stream, settings.redis_timeout)
    return ListenerNudges(
        _drain_nudge(app, client, settings) if Queue.UPDATES.value in queues else None,
        _refresh_nudge(app, client) if Queue.REPORTS.value in queues else None,
    )


def _drain_nudge(app: Celery, client: Redis, settings: Settings) -> SendNudge:
    """Return a function that sends a nudge to drain the outbox, unless one is pending."""
    stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    def nudge() -> None:
        if stream.acquire_nudge(OUTBOX):
            app.send_task(TaskName.DRAIN_UPDATES.value, args=(OUTBOX,))

    return _logging_failure(nudge)


def _refresh_nudge(app: Celery, client: Redis) -> SendNudge:
    """Return the same for a refresh. The refresh deletes the nudge's key when it begins."""

    def nudge() -> None:
        if client.set(refresh_nudge(), b"1", nx=True, ex=NUDGE_TTL):
            app.send_task(TaskName.REFRESH_TOP_CUSTOMERS.value)

    return _logging_failure(nudge)


def _logging_failure(nudge: SendNudge) -> SendNudge:
    @wraps(nudge)
    def wrapped() -> None:
        try:
            nudge()
        except (redis.RedisError, OperationalError) as error:
            log.warning("nudge_deferred", to="beat", error=str(error))

    return wrapped


def listen(settings: Settings, nudges: ListenerNudges, stopped: threading.Event) -> None:
    """Send nudges until `stopped` is set; connect again after an error."""
    engine = make_engine(settings, "orderworks-listener")
    # A pooler takes the notifications for itself. The outbox is then polled only.
    channel = None if is_pooled(settings) else outbox.CHANNEL
    while not stopped.is_set():
        try:
            _listen(engine, channel, nudges, stopped)
        except Exception as error:  # noqa: BLE001 - the thread continues after any error
            log.warning("postgres_listen_failed", error=str(error).strip())
            stopped.wait(RECONNECT_PAUSE)
    engine.dispose()


def _listen(
    engine: sa.Engine, channel: str | None, nudges: ListenerNudges, stopped: threading.Event
) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if nudges.drain and channel:
            connection.execute(sa.text(f"LISTEN {channel}"))
        session: Any = connection.connection.driver_connection
        next_check = 0.0
        while not stopped.is_set():
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + POLL_INTERVAL
                _nudge_waiting(connection, nudges)
            if select.select([session], [], [], POLL_INTERVAL)[0]:
                session.poll()
            if session.notifies and nudges.drain:
                session.notifies.clear()
                nudges.drain()


def _nudge_waiting(connection: sa.Connection, nudges: ListenerNudges) -> None:
    """Nudge for what is there: rows committed before LISTEN, and changes by others than workers.

    Changes send no NOTIFY: it takes a lock at commit, so writers of orders would commit one by one.
    """
    _require_writable(connection)
    if nudges.drain and outbox.waits(connection):
        nudges.drain()
    if nudges.refresh and changelog.has_uninvalidated(connection):
        nudges.refresh()


def _require_writable(connection: sa.Connection) -> None:
    """Raise if the session is read-only: a former primary, for instance, sends no notifications."""
    if connection.scalar(sa.text("SHOW transaction_read_only")) == "on":
        connection.invalidate()
        raise Unavailable("the session is read-only")
