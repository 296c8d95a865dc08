"""The heartbeat of workers and beat: the file is touched while the broker answers this process.

A running process with an open connection proves nothing: workers are known to keep a connection and
fetch no more. A worker therefore touches the file on replies that its consumer gets while it waits for
messages, and beat after a tick during which the broker answered. RabbitMQ sends messages unasked, and
heartbeats between them: there the worker touches the file while something arrives.
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

from orderworks.core.redis import is_redis, make_redis
from worker import heartbeat

MAX_SILENCE = 3.0
"""Seconds without a reply after which the broker counts as unavailable. A worker that waits for
messages gets a reply every second, even if the queues are empty."""

MAX_AMQP_SILENCE = 15.0
"""The same for RabbitMQ, which sends heartbeats twice in the time of `broker_heartbeat`, 10 s. Celery
checks that as often."""

PING_TIMEOUT = 1.0
"""Seconds that the main loop waits at most for the reply to a PING."""

log = structlog.get_logger()


def connect(app: Celery) -> None:
    """Maintain the heartbeat file of workers and beat of this app, if the environment names one."""
    app.steps["consumer"].add(ConsumerHeartbeat)
    beat_init.connect(_watch_beat)


class ConsumerHeartbeat(bootsteps.StartStopStep):
    """Touches the file in the main loop of a worker, prefork or threads, while the broker answers.

    Celery starts this step with every connection and stops it when the connection is lost.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Consumer, **options: object) -> None:
        super().__init__(parent, **options)
        self._file = heartbeat.heartbeat_file()
        self._entry: Any = None
        if self._file:
            heartbeat.remove(self._file)

    def start(self, parent: Consumer) -> None:
        """Start monitoring a connected consumer."""
        if self._file:
            self._entry = parent.timer.call_repeatedly(
                heartbeat.INTERVAL, self._check, (parent, self._file)
            )

    def stop(self, parent: Consumer) -> None:  # noqa: ARG002 - the signature is Celery's
        """Stop monitoring when the connection ends."""
        if self._entry is not None:
            self._entry.cancel()

    def _check(self, consumer: Consumer, path: Path) -> None:
        if _hears_broker(consumer):
            _touch(path)


def _hears_broker(consumer: Consumer) -> bool:
    """Return whether the broker replied lately.

    A consumer at its prefetch limit fetches nothing; then the broker is sent a PING. A consumer that
    fetches nothing although it holds no message is stuck, even if the broker would answer.
    """
    if not is_redis(consumer.app.conf.broker_url):
        return _receives(consumer)
    channel = consumer.task_consumer.channel  # type: ignore[attr-defined]
    if channel.qos.can_consume():
        # kombu sends the next BRPOP as soon as it has read the reply to the last one.
        sent_at = channel._brpop_sent_at  # noqa: SLF001 - kombu has no public name for it
        return sent_at is not None and monotonic() - sent_at < MAX_SILENCE
    return bool(state.reserved_requests) and _broker_answers(consumer.app.conf.broker_url)


def _receives(consumer: Consumer) -> bool:
    """Return whether something arrived lately from a broker that is no Redis.

    Of transports other than that of RabbitMQ only the connection is known, without which Celery stops
    this step.
    """
    connection: Any = consumer.connection
    received_at = getattr(connection.connection, "last_heartbeat_received", None)
    return received_at is None or monotonic() - received_at < MAX_AMQP_SILENCE


def _broker_answers(broker_url: str) -> bool:
    try:
        with make_redis(broker_url, PING_TIMEOUT) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _touch(path: Path) -> None:
    """Touch the file. Celery would reconnect on an OSError, which a full disk is no reason for."""
    try:
        heartbeat.touch(path)
    except OSError as error:
        log.warning("heartbeat_failed", path=str(path), reason=error.strerror)


def _watch_beat(sender: Service, **_: object) -> None:
    """Touch the file after each tick of the scheduler during which the broker answered."""
    path = heartbeat.heartbeat_file()
    if path is None:
        return
    heartbeat.remove(path)
    scheduler = sender.scheduler
    scheduler.tick = _with_heartbeat(scheduler, path)  # type: ignore[assignment, method-assign]


def _with_heartbeat(scheduler: Any, path: Path) -> Callable[[], float]:  # noqa: ANN401 - any scheduler class
    tick = scheduler.tick

    def watched_tick() -> float:
        seconds: float = tick()
        # Our scheduler has the attribute; any other raises if the broker does not answer.
        if getattr(scheduler, "hears_broker", True):
            _touch(path)
        return seconds

    return watched_tick
