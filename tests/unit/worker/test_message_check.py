"""The check of a message: every message that a client of Celery sends passes."""

from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature
from kombu import Queue
from kombu.message import Message

from worker.message_check import MalformedMessage, check_message


@pytest.fixture
def app() -> Celery:
    """A client of Celery whose messages stay in this process."""
    made = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)
    made.conf.task_default_queue = "checked"
    return made


def received(app: Celery) -> list[Message]:
    """Take the messages that the client sent."""
    messages: list[Message] = []
    with app.connection_for_read() as connection:
        queue = Queue("checked")(connection.default_channel)
        while message := queue.get():
            messages.append(message)
    return messages


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"countdown": 60, "expires": 3600},
        {"time_limit": 5, "soft_time_limit": 2.5, "retries": 2, "priority": 3},
        {"link": Signature("b"), "link_error": Signature("c")},
        {"headers": {"mine": [1, {"a": None}]}, "compression": "gzip", "shadow": "name"},
        {"ignore_result": True, "reply_to": "x", "group_id": "g"},
    ],
)
def test_message_of_a_client_passes(app: Celery, protocol: int, options: dict[str, Any]) -> None:
    app.conf.task_protocol = protocol
    app.send_task("a", args=([{"order_id": 1}],), kwargs={"b": None}, **options)
    (message,) = received(app)
    check_message(message)


def test_messages_of_a_workflow_pass(app: Celery) -> None:
    call = app.signature("a", args=(1,))
    workflows: list[Any] = [chain(call, call), group(call, call), chord([call, call], call)]
    for workflow in workflows:
        workflow.apply_async()
    messages = received(app)
    assert len(messages) == 5
    for message in messages:
        check_message(message)


def nested_message(app: Celery, depth: int) -> Message:
    """Send a message with an argument of `depth` lists in each other."""
    argument: list[Any] = []
    for _level in range(depth - 1):
        argument = [argument]
    app.send_task("a", args=(argument,))
    (message,) = received(app)
    return message


def test_nesting_is_limited(app: Celery) -> None:
    check_message(nested_message(app, 90))
    with pytest.raises(MalformedMessage, match="more than 100 levels"):
        check_message(nested_message(app, 110))
