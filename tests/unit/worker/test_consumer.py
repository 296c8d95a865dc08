"""The consumer: an error that the check of a message did not find costs that message only."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu import Queue
from kombu.message import Message

from worker.consumer import Consumer

QUEUE = Queue("received")


@pytest.fixture
def app() -> Celery:
    """An app whose messages stay in this process."""
    made = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)
    made.conf.task_default_queue = QUEUE.name
    return made


def received(app: Celery) -> Message:
    """Send a valid message and take it from its queue, unacknowledged."""
    app.send_task("a", args=(1,))
    connection = app.connection_for_read()
    message = QUEUE(connection.default_channel).get(no_ack=False)
    assert message
    return message


def receiver(app: Celery, error: BaseException) -> Callable[[Message], None]:
    """Return what receives the messages of a task whose strategy in Celery fails.

    As with kombu's Redis transport, KeyError is one of the errors of a lost connection.
    """

    def fail(*_: Any) -> None:  # noqa: ANN401 - Celery's
        raise error

    worker = SimpleNamespace(use_eventloop=False)
    consumer = Consumer(fail, app=app, controller=worker)
    consumer.strategies["a"] = fail  # type: ignore[attr-defined]  # absent in the stubs
    consumer.connection_errors = (*consumer.connection_errors, KeyError)
    return consumer.create_task_handler()


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), TypeError("x"), RecursionError()]
)
def test_error_that_the_check_did_not_find_rejects_its_message(
    app: Celery, error: Exception
) -> None:
    message = received(app)
    receiver(app, error)(message)
    assert message.acknowledged


def test_lost_connection_is_no_error_of_a_message(app: Celery) -> None:
    message = received(app)
    lost = app.connection_for_read().connection_errors[0]
    with pytest.raises(lost):
        receiver(app, lost("x"))(message)
    assert not message.acknowledged
