"""Redis as the broker: an element that is no message of Celery is dropped, in queues and in `unacked`.

In Redis, a queue is a list, to which any client can add anything. kombu takes an element from the list
before it reads it, and an error while it reads it would end the worker.
"""

from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import Any

import kombu.transport
import msgspec
import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from worker.message_check import report_refused


class _DeliveryInfo(msgspec.Struct):
    """The queue to which a message returns if it is not acknowledged."""

    exchange: str
    routing_key: str


class _Properties(msgspec.Struct):
    """The properties that the transport itself uses."""

    delivery_tag: str
    delivery_info: _DeliveryInfo


class _Envelope(msgspec.Struct, rename="kebab"):
    """An element of a queue."""

    properties: _Properties
    headers: dict[str, Any]
    body: str
    content_type: str | None = None
    content_encoding: str | None = None


class Message(virtual.Message):
    """A message in an envelope of the right form."""

    def __init__(self, payload: object, channel: Any = None, **options: Any) -> None:  # noqa: ANN401 - kombu's
        msgspec.convert(payload, _Envelope)
        super().__init__(payload, channel=channel, **options)


class QoS(kombu_redis.QoS):
    """Keeps messages in `unacked` until they are acknowledged."""

    def restore_by_tag(self, tag: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - kombu's
        """Return a message to its queue. One that cannot be read is deleted."""
        try:
            super().restore_by_tag(tag, *args, **kwargs)
        except Exception as error:
            if _is_of_server(error):
                raise
            with self.channel.conn_or_acquire() as client:
                report_refused(error, client.hget(self.unacked_key, tag), id=tag)
            self._remove_from_indices(tag).execute()


class Channel(kombu_redis.Channel):
    """Drops, with a line in the log, elements that are no messages."""

    Message = Message
    QoS = QoS
    _taken: tuple[Any, Any] | None = None
    """The name of the queue or channel, and the element that was taken from it."""

    def _create_client(self, *args: Any, **kwargs: Any) -> redis.Redis:  # noqa: ANN401 - kombu's
        client = super()._create_client(*args, **kwargs)
        client.set_response_callback("BRPOP", self._remember_taken)
        return client

    def _remember_taken(self, reply: Any, **_: Any) -> Any:  # noqa: ANN401 - redis-py's
        self._taken = reply
        return reply

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401 - kombu's
        """Receive a message of a queue."""
        if not self._drop_unreadable(partial(super()._brpop_read, **options)):
            raise Empty
        return True

    def _handle_message(self, *args: Any) -> Any:  # noqa: ANN401 - kombu's
        payload = super()._handle_message(*args)
        self._taken = payload["channel"], payload["data"]
        return payload

    def _receive_one(self, *args: Any) -> bool | None:  # noqa: ANN401 - kombu's
        """Receive a message of remote control."""
        return self._drop_unreadable(partial(super()._receive_one, *args))

    def _drop_unreadable(self, receive: Callable[[], bool | None]) -> bool | None:
        """Return what `receive` returns; None if it took an element that is no message."""
        try:
            return receive()
        except Empty:
            raise
        except Exception as error:
            if self._taken is None or _is_of_server(error):
                raise
            queue, element = self._taken
            report_refused(error, element, queue=queue)
            return None
        finally:
            self._taken = None


def _is_of_server(error: Exception) -> bool:
    """Return whether the server or the connection failed, and not the reading of an element.

    redis-py raises DataError for an argument that it cannot send, such as a list.
    """
    return isinstance(error, redis.RedisError | OSError) and not isinstance(error, redis.DataError)


class Transport(kombu_redis.Transport):
    """kombu's transport for Redis, with our channel."""

    Channel = Channel


def register() -> None:
    """Have connections to `redis://` and `rediss://` addresses use this transport in this process."""
    for scheme in ("redis", "rediss"):
        kombu.transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
