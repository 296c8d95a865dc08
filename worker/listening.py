"""A worker that takes updates listens to the outbox: PostgreSQL says when a transaction enqueued.

So an update of an outbox waits for moments, not for the sweep. Nothing depends on it: what is not
heard, the sweep finds.
"""

import select
import threading
from collections.abc import Callable
from typing import Any

import redis
import sqlalchemy as sa
import structlog
from celery import Celery, bootsteps
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError

from orders import outbox
from orders.database import make_engine
from orders.names import OUTBOX, Queue, TaskName
from orders.redis import make_redis
from orders.settings import Settings
from orders.stream import UpdateStream

PATIENCE = 1.0
"""Seconds until the thread looks whether it is to end."""

PAUSE = 5.0
"""Seconds before a lost connection is made anew."""

log = structlog.get_logger()


def connect(app: Celery) -> None:
    """Let workers of this app listen."""
    app.steps["consumer"].add(OutboxListener)


class OutboxListener(bootsteps.StartStopStep):
    """Listens in a thread of a worker's main process while its consumer is connected to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Consumer, **options: object) -> None:
        super().__init__(parent, **options)
        self._ended = threading.Event()

    def include_if(self, parent: Consumer) -> bool:
        """Only a worker that takes updates."""
        return Queue.UPDATES.value in parent.app.amqp.queues.consume_from

    def start(self, parent: Consumer) -> None:
        """Begin to listen."""
        self._ended = threading.Event()
        nudge = _nudges(parent.app, Settings.load())
        threading.Thread(
            target=listen, args=(Settings.load(), nudge, self._ended), name="outbox", daemon=True
        ).start()

    def stop(self, parent: Consumer) -> None:  # noqa: ARG002 - the signature is Celery's
        """End, at the latest after `PATIENCE`."""
        self._ended.set()


def _nudges(app: Celery, settings: Settings) -> Callable[[], None]:
    """What sends a nudge to drain the outbox, unless one is on its way."""
    client = make_redis(settings.stream, settings.redis_timeout)
    stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    def nudge() -> None:
        try:
            if stream.take_nudge(OUTBOX):
                app.send_task(TaskName.DRAIN_UPDATES.value, args=(OUTBOX,))
        except (redis.RedisError, OperationalError) as error:
            log.warning("outbox_left_to_sweep", error=str(error))

    return nudge


def listen(settings: Settings, nudge: Callable[[], None], ended: threading.Event) -> None:
    """Nudge for every transaction that enqueued, until `ended`; connect again when it is cut off."""
    engine = make_engine(settings, "orderworks-listener")
    while not ended.is_set():
        try:
            _listen(engine, nudge, ended)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread has to live on
            log.warning("outbox_not_heard", error=str(error).strip())
            ended.wait(PAUSE)
    engine.dispose()


def _listen(engine: sa.Engine, nudge: Callable[[], None], ended: threading.Event) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"LISTEN {outbox.CHANNEL}"))
        if outbox.waits(connection):  # What was committed before somebody listened.
            nudge()
        session: Any = connection.connection.driver_connection
        while not ended.is_set():
            if select.select([session], [], [], PATIENCE)[0]:
                session.poll()
            if session.notifies:
                session.notifies.clear()
                nudge()
