"""Workers listen to PostgreSQL: it says when a transaction enqueued; and whether others changed orders.

So an update of an outbox, and a change by plain SQL, waits for moments, not for beat. Nothing depends on
it: what is not heard, the sweep or the next refresh finds.
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
from orderworks.core.keys import refresh_nudge
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import OUTBOX, Queue, TaskName
from orderworks.core.settings import Settings
from orderworks.updates import outbox
from orderworks.updates.stream import UpdateStream

POLL_INTERVAL = 0.5
"""Seconds between two looks for changes that no worker made, and whether the thread is to end."""

RECONNECT_PAUSE = 5.0
"""Seconds before a lost connection is made anew."""

NUDGE_TTL = 10
"""Seconds after which a nudge to refresh counts as lost, and another one is sent."""

SendNudge = Callable[[], None]

log = structlog.get_logger()


def connect(app: Celery) -> None:
    """Let workers of this app listen."""
    app.steps["consumer"].add(Listener)


class Listener(bootsteps.StartStopStep):
    """Listens in a thread of a worker's main process while its consumer is connected to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Consumer, **options: object) -> None:
        super().__init__(parent, **options)
        self._ended = threading.Event()

    def start(self, parent: Consumer) -> None:
        """Begin to listen for what this worker can do."""
        self._ended = threading.Event()
        settings = Settings.load()
        wanted = _nudges_for(parent.app, settings)
        if wanted != ListenerNudges(None, None):
            listening = threading.Thread(
                target=listen, args=(settings, wanted, self._ended), name="listener", daemon=True
            )
            listening.start()

    def stop(self, parent: Consumer) -> None:  # noqa: ARG002 - the signature is Celery's
        """End, at the latest after `PATIENCE`."""
        self._ended.set()


class ListenerNudges(NamedTuple):
    """What to do about an outbox that holds something, and about changes that no worker made.

    None for what this worker does not do.
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
    """What sends a nudge to drain the outbox, unless one is on its way."""
    stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    def nudge() -> None:
        if stream.acquire_nudge(OUTBOX):
            app.send_task(TaskName.DRAIN_UPDATES.value, args=(OUTBOX,))

    return _logging_failure(nudge)


def _refresh_nudge(app: Celery, client: Redis) -> SendNudge:
    """The same for a refresh, which takes the nudge away when it begins."""

    def nudge() -> None:
        if client.set(refresh_nudge(), b"1", nx=True, ex=NUDGE_TTL):
            app.send_task(TaskName.REFRESH_TOP_CUSTOMERS.value, expires=NUDGE_TTL)

    return _logging_failure(nudge)


def _logging_failure(nudge: SendNudge) -> SendNudge:
    @wraps(nudge)
    def bold() -> None:
        try:
            nudge()
        except (redis.RedisError, OperationalError) as error:
            log.warning("nudge_deferred", to="beat", error=str(error))

    return bold


def listen(settings: Settings, nudges: ListenerNudges, ended: threading.Event) -> None:
    """Ask for work as it is heard of, until `ended`; connect again when it is cut off."""
    engine = make_engine(settings, "orderworks-listener")
    while not ended.is_set():
        try:
            _listen(engine, nudges, ended)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread has to live on
            log.warning("postgres_listen_failed", error=str(error).strip())
            ended.wait(RECONNECT_PAUSE)
    engine.dispose()


def _listen(engine: sa.Engine, nudges: ListenerNudges, ended: threading.Event) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if nudges.drain:
            connection.execute(sa.text(f"LISTEN {outbox.CHANNEL}"))
            if outbox.waits(connection):  # What was committed before somebody listened.
                nudges.drain()
        session: Any = connection.connection.driver_connection
        next_look = 0.0
        while not ended.is_set():
            # Not by NOTIFY: whoever writes orders would commit one after another for it.
            if nudges.refresh and time.monotonic() >= next_look:
                next_look = time.monotonic() + POLL_INTERVAL
                if changelog.has_uninvalidated(connection):
                    nudges.refresh()
            if select.select([session], [], [], POLL_INTERVAL)[0]:
                session.poll()
            if session.notifies and nudges.drain:
                session.notifies.clear()
                nudges.drain()
