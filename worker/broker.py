"""The messages that wait in the queues of this app's broker."""

import structlog

from worker.celery import app
from worker.queue_length import queue_length

log = structlog.get_logger()


def count_messages(queue: str) -> int:
    """Return the number of messages that no worker has received yet.

    Raises:
        kombu.exceptions.OperationalError: the broker is unavailable, or has another kind of queue.
    """
    with app.connection_or_acquire() as connection:
        return queue_length(connection, queue)


def messages_wait() -> bool:
    """Return whether a message waits that this worker could receive if its children were not busy.

    That is assumed while the broker is unavailable, so that no drain waits for more updates then.
    """
    try:
        return any(count_messages(queue) for queue in app.amqp.queues.consume_from)
    except Exception as error:  # noqa: BLE001 - kombu raises any error of its transport
        log.warning("broker_unavailable", error=str(error) or repr(error))
        return True
