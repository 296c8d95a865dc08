"""Workers listen to PostgreSQL: it says when a transaction enqueued, or changed orders past the workers.

So an update of an outbox, and a change by plain SQL, waits for moments, not for beat. Nothing depends on
it: what is not heard, the sweep or the next refresh finds.
"""

import select
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import redis
import sqlalchemy as sa
import structlog
from celery import Celery, bootsteps
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError

from orders import changes, names, outbox
from orders.database import make_engine
from orders.names import OUTBOX, Queue, TaskName
from orders.redis import make_redis
from orders.settings import Settings
from orders.stream import UpdateStream

PATIENCE = 1.0
"""Seconds until the thread looks whether it is to end."""

PAUSE = 5.0
"""Seconds before a lost connection is made anew."""

REFRESH_GAP = 0.5
"""Seconds between two refreshes that are asked for here: many small changes cost two a second."""

REFRESH_PATIENCE = 5.0
"""Seconds that such a refresh waits for another one, which may have begun before the change."""

Send = Callable[[], bool]
"""Sends a message; false if another worker has just done so, who may not have heard as much."""

log = structlog.get_logger()


def connect(app: Celery) -> None:
    """Let workers of this app listen."""
    app.steps["consumer"].add(Listener)


class Ear:
    """Listens on one channel, and asks for the work once for all that it hears within `gap` seconds."""

    def __init__(
        self, channel: str, waits: Callable[[sa.Connection], bool], send: Send, gap: float = 0
    ) -> None:
        """`waits` looks whether something was committed before anybody listened."""
        self.channel = channel
        self._waits = waits
        self._send = send
        self._gap = gap
        self._heard = False
        self._next = 0.0

    def begin(self, connection: sa.Connection) -> None:
        """Listen from now on, and take what waits already for heard."""
        connection.execute(sa.text(f"LISTEN {self.channel}"))
        self._heard = self._waits(connection)

    def hear(self, channels: set[str]) -> None:
        """Something was said on these channels."""
        self._heard = self._heard or self.channel in channels

    def patience(self) -> float:
        """Seconds until there is something to do here, `PATIENCE` at the most."""
        return max(0.0, min(PATIENCE, self._next - time.monotonic())) if self._heard else PATIENCE

    def speak(self) -> None:
        """Ask for the work, if something was heard and it is time."""
        if self._heard and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._gap
            self._heard = not self._send() and self._gap > 0


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
        ears = _ears(parent.app, settings, parent.app.amqp.queues.consume_from)
        if ears:
            listening = threading.Thread(
                target=listen, args=(settings, ears, self._ended), name="listener", daemon=True
            )
            listening.start()

    def stop(self, parent: Consumer) -> None:  # noqa: ARG002 - the signature is Celery's
        """End, at the latest after `PATIENCE`."""
        self._ended.set()


def _ears(app: Celery, settings: Settings, queues: dict[str, Any]) -> list[Ear]:
    """An ear for each channel whose work waits in one of the queues."""
    client = make_redis(settings.stream, settings.redis_timeout)
    stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    def is_first() -> bool:
        gap = int(1000 * REFRESH_GAP)
        return bool(client.set(names.refresh_nudge(), b"1", nx=True, px=gap))

    drain = partial(app.send_task, TaskName.DRAIN_UPDATES.value, args=(OUTBOX,))
    refresh = partial(
        app.send_task,
        TaskName.REFRESH_TOP_CUSTOMERS.value,
        kwargs={"patience": REFRESH_PATIENCE},
    )
    taken = partial(stream.take_nudge, OUTBOX)
    ears = {
        Queue.UPDATES: Ear(outbox.CHANNEL, outbox.waits, partial(_send, drain, taken)),
        Queue.REPORTS: Ear(
            changes.CHANNEL, changes.waits, partial(_send, refresh, is_first), REFRESH_GAP
        ),
    }
    return [ear for queue, ear in ears.items() if queue.value in queues]


def _send(send: Callable[[], object], is_free: Callable[[], bool]) -> bool:
    """Send a nudge, unless one is on its way."""
    try:
        if is_free():
            send()
            return True
    except (redis.RedisError, OperationalError) as error:
        log.warning("nudge_left_to_beat", error=str(error))
        return True
    return False


def listen(settings: Settings, ears: Sequence[Ear], ended: threading.Event) -> None:
    """Ask for work as it is heard of, until `ended`; connect again when it is cut off."""
    engine = make_engine(settings, "orderworks-listener")
    while not ended.is_set():
        try:
            _listen(engine, ears, ended)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread has to live on
            log.warning("not_heard", error=str(error).strip())
            ended.wait(PAUSE)
    engine.dispose()


def _listen(engine: sa.Engine, ears: Sequence[Ear], ended: threading.Event) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for ear in ears:
            ear.begin(connection)
        session: Any = connection.connection.driver_connection
        while not ended.is_set():
            for ear in ears:
                ear.speak()
            if select.select([session], [], [], min(ear.patience() for ear in ears))[0]:
                session.poll()
            said = {each.channel for each in session.notifies}
            session.notifies.clear()
            for ear in ears:
                ear.hear(said)
