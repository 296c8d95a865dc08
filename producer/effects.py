"""The effects of a producer: a round trip to Redis, a nudge, a pause.

What producers do is written once, as generators of these effects without I/O of their own. The sync
and the async client each perform them in their way.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

import redis

from orderworks.core.effects import Pause, Steps, growing_pauses

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
"""Seconds between two checks of what is waited for: the first pause, and the longest."""

T = TypeVar("T")


class RoundTrip(NamedTuple):
    """Send packed commands together, and read a reply for each. The result is `Replies`.

    Attributes:
        commands: what is sent; empty to read replies that an earlier round trip left unread.
        replies: how many replies to read.
        timeout: seconds until the last of them must be there; None for the connection's own timeout.
        keep_connection: hold on to the connection, because the next round trip belongs to it.
    """

    commands: bytes
    replies: int
    timeout: float | None
    keep_connection: bool = False


class NudgeEffect(NamedTuple):
    """Ask the workers to drain a shard."""

    shard: int


class Replies(NamedTuple):
    """The result of a `RoundTrip`.

    Attributes:
        received: the replies that came, in order; error replies of the server are among them.
        error: why the others did not come; None if all came.
        sent: false if nothing was sent, so that the server certainly did nothing.
    """

    received: list[Any]
    error: redis.RedisError | None = None
    sent: bool = True


ProducerEffect: TypeAlias = RoundTrip | Pause | NudgeEffect

ProducerSteps: TypeAlias = Steps[ProducerEffect, T]
"""The steps of a call of a producer. Only a `RoundTrip` has a result."""


def pauses(timeout: float | None) -> Iterator[float]:
    """Yield growing pauses in seconds, for `timeout` seconds or without end."""
    return growing_pauses(FIRST_PAUSE, LONGEST_PAUSE, timeout)
