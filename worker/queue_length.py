"""The number of messages in a queue, by any broker."""

from typing import Any

from kombu import Connection

RETRY_ONCE: dict[str, Any] = {"max_retries": 1, "interval_start": 0}
"""Otherwise kombu would wait for a broker that is unavailable, without a limit."""


def queue_length(connection: Connection, queue: str) -> int:
    """Return the number of messages that no worker has received yet.

    Raises:
        kombu.exceptions.OperationalError: the broker is unavailable, or has another kind of queue.
    """
    connection.ensure_connection(**RETRY_ONCE)
    declare: Any = connection.autoretry(_declare, connection.default_channel, **RETRY_ONCE)
    declared, _channel = declare(queue)
    return int(declared.message_count)


def _declare(queue: str, channel: Any) -> Any:  # noqa: ANN401 - of any transport
    # Not passive: an empty queue does not exist in Redis. RabbitMQ compares the arguments with those of
    # the workers' queues.
    return channel.queue_declare(queue, durable=True, auto_delete=False)
