"""Counts of the messages that wait in the broker's queues."""

from worker.celery import app


def count_messages(queue: str) -> int:
    """Return the number of messages that no worker has received yet."""
    with app.connection_or_acquire() as connection:
        # Not passive: an empty queue does not exist in Redis. RabbitMQ compares the arguments with those
        # of the workers' queues.
        declared = connection.default_channel.queue_declare(queue, durable=True, auto_delete=False)
        return int(declared.message_count)


def messages_wait() -> bool:
    """Return whether a message waits that this worker could receive if its children were not busy."""
    return any(count_messages(queue) for queue in app.amqp.queues.consume_from)
