"""When the heart beats: as long as this very process hears from its broker.

A process that runs, and even a connection that is open, proves nothing: workers are known to sit on
one and fetch no more. So a worker's heart beats on the answers that its consumer gets while it waits
for messages, and beat's on a look at the schedule during which the broker answered.
"""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.beat import Service
from celery.signals import beat_init
from celery.worker import state
from celery.worker.consumer import Consumer
from redis.exceptions import RedisError

from orderworks.core.redis import make_redis
from worker import heartbeat

MAX_SILENCE = 3.0
"""Seconds without an answer until the broker counts as gone. Waiting for messages, a worker gets one
every second, if only that there are none."""

PING_TIMEOUT = 1.0
"""Seconds the main loop may stand still for an answer, where it has to ask."""

log = structlog.get_logger()


def connect(app: Celery) -> None:
    """Let workers and beat of this app keep the heartbeat file that the environment names, if any."""
    app.steps["consumer"].add(ConsumerHeartbeat)
    beat_init.connect(_watch_beat)


class ConsumerHeartbeat(bootsteps.StartStopStep):
    """Beats in the main loop of a worker, prefork or threads, while the consumer hears its broker.

    Celery starts it with every connection and stops it when that is lost.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Consumer, **options: object) -> None:
        super().__init__(parent, **options)
        self._file = heartbeat.heartbeat_file()
        self._entry: Any = None
        if self._file:
            heartbeat.remove(self._file)

    def start(self, parent: Consumer) -> None:
        """Begin to listen to the heart of a consumer that has just connected."""
        if self._file:
            self._entry = parent.timer.call_repeatedly(
                heartbeat.INTERVAL, self._check, (parent, self._file)
            )

    def stop(self, parent: Consumer) -> None:  # noqa: ARG002 - the signature is Celery's
        """End with the connection."""
        if self._entry is not None:
            self._entry.cancel()

    def _check(self, consumer: Consumer, path: Path) -> None:
        if _hears_broker(consumer):
            _touch(path)


def _hears_broker(consumer: Consumer) -> bool:
    """Whether an answer came lately.

    A consumer with all hands full fetches nothing, so there the broker is asked. One that fetches
    nothing though it holds no message is stuck, whatever the broker would say.
    """
    channel = consumer.task_consumer.channel  # type: ignore[attr-defined]
    if channel.qos.can_consume():
        # Sent anew as soon as the answer to the one before has been read.
        asked = channel._brpop_sent_at  # noqa: SLF001 - kombu keeps no public account of it
        return asked is not None and monotonic() - asked < MAX_SILENCE
    return bool(state.reserved_requests) and _broker_answers(consumer.app.conf.broker_url)


def _broker_answers(broker_url: str) -> bool:
    try:
        with make_redis(broker_url, PING_TIMEOUT) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _touch(path: Path) -> None:
    """Beat; a full disk is no reason for Celery to reconnect, which an OSError would be."""
    try:
        heartbeat.touch(path)
    except OSError as error:
        log.warning("heartbeat_failed", path=str(path), reason=error.strerror)


def _watch_beat(sender: Service, **_: object) -> None:
    """Beat after each look at the schedule, or at who leads, that the broker answered."""
    path = heartbeat.heartbeat_file()
    if path is None:
        return
    heartbeat.remove(path)
    scheduler = sender.scheduler
    scheduler.tick = _with_heartbeat(scheduler, path)  # type: ignore[assignment, method-assign]


def _with_heartbeat(scheduler: Any, path: Path) -> Callable[[], float]:  # noqa: ANN401 - any class of them
    tick = scheduler.tick

    def watched_tick() -> float:
        seconds: float = tick()
        # Ours says whether it heard; any other scheduler raises if it did not.
        if getattr(scheduler, "hears_broker", True):
            _touch(path)
        return seconds

    return watched_tick
