"""RabbitMQ as the broker: a message whose headers cannot be read is received without them.

py-amqp reads headers while it reads from the connection. An error there, such as a time beyond the year
9999, would end the worker, and the message would be delivered to the next one. Without its headers the
message is refused by the consumer.
"""

from collections.abc import Callable
from typing import Any

import structlog
from amqp.basic_message import Message
from amqp.method_framing import frame_handler

HEADER = 2
"""The type of the frame that has the properties and headers of a message."""

FIXED_SIZE, NO_PROPERTIES = 12, b"\0\0"
"""The bytes of such a frame before the properties, and the flags of a message that has none."""

log = structlog.get_logger()


class FrameHandler:
    """Receives each frame from py-amqp, which makes one for a connection."""

    def __init__(self, connection: Any, callback: Callable[..., object]) -> None:  # noqa: ANN401 - py-amqp's
        self._handle = frame_handler(connection, callback)

    def __call__(self, frame: tuple[int, int, Any]) -> bool:
        """Handle the frame; return whether it completed a method or a message."""
        kind, channel, content = frame
        if kind == HEADER and not _is_readable(content):
            content = bytes(content[:FIXED_SIZE]) + NO_PROPERTIES
        return bool(self._handle((kind, channel, content)))


def _is_readable(header: object) -> bool:
    message: Any = Message()
    try:
        message.inbound_header(header)
    except Exception as error:  # noqa: BLE001 - any error in a message costs that message
        log.error("message_headers_unreadable", error=repr(error))  # noqa: TRY400 - no traceback needed
        return False
    return True
