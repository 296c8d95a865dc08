"""What waits in the broker's queues for workers to take."""

from worker.celery import app


def count_messages(queue: str) -> int:
    """How many messages no worker has taken yet."""
    with app.connection_or_acquire() as connection:
        # Declared, not looked up: an empty queue is one that Redis does not have.
        return int(connection.default_channel.queue_declare(queue).message_count)


def messages_wait() -> bool:
    """Whether there is a message for this very worker, which its children are too busy to take."""
    return any(count_messages(queue) for queue in app.amqp.queues.consume_from)
