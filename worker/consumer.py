"""The consumer of workers: a message that Celery cannot process costs that message only.

`celeryconfig.py` names it. It serves every broker; `worker/redis_transport.py` has what a Redis needs in
addition.
"""

from collections.abc import Callable
from typing import Any

import celery.worker.consumer
from celery.utils.log import get_logger
from kombu.message import Message

from worker.message_check import check_message, report_refused

logger = get_logger(
    __name__
)  # For kombu, which logs to it if the broker does not take a rejection.


class Consumer(celery.worker.consumer.Consumer):
    """Rejects each message that Celery cannot process, with a line in the log."""

    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:  # noqa: ANN401 - Celery's
        """Return the function that receives the messages of tasks."""
        handle = super().create_task_handler(*args, **kwargs)

        def receive(message: Message) -> None:
            if self._is_usable(message):
                self._handle(handle, message)

        return receive

    def _is_usable(self, message: Message) -> bool:
        try:
            check_message(message)
        except Exception as error:  # noqa: BLE001 - any error in a message costs that message
            self._reject(message, error)
            return False
        return True

    def _handle(self, handle: Callable[[Message], None], message: Message) -> None:
        """Pass the message on. An error that the check did not find must not end the process either."""
        try:
            handle(message)
        except KeyError as error:  # One of kombu's errors of a lost connection, but not here.
            self._reject(message, error)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._reject(message, error)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Acknowledge a message whose body cannot be unpacked, and log it.

        Messages of remote control cannot be rejected: the broker does not wait for an answer.
        """
        _report(message, exc)
        message.ack_log_error(logger, self.connection_errors)

    def _reject(self, message: Message, error: Exception) -> None:
        _report(message, error)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)


def _report(message: Message, error: Exception) -> None:
    report_refused(
        error,
        message.body,
        queue=message.delivery_info.get("routing_key"),
        task=message.headers.get("task"),
        id=message.headers.get("id"),
    )
