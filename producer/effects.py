"""What a producer may do while it works, as plain data: ask the server, pause, nudge.

What producers do is written as generators of these steps, without any I/O of their own. The sync and
the async client carry the same steps out, each in its way.
"""

import math
import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

import redis

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
"""Seconds between two looks at what is waited for: the first pause, and what they grow to."""

T = TypeVar("T")


class Ask(NamedTuple):
    """One round trip: send packed commands in one go, and read an answer for each.

    Attributes:
        commands: what is sent; empty to read what an earlier question left.
        answers: how many answers to read.
        patience: seconds until the last of them must be there; None for the connection's own time.
        keep: hold on to the connection, because the next question belongs to the same one.
    """

    commands: bytes
    answers: int
    timeout: float | None
    keep_connection: bool = False


class Pause(NamedTuple):
    """Wait so many seconds."""

    seconds: float


class Nudge(NamedTuple):
    """Ask the workers to drain a shard."""

    shard: int


class Answers(NamedTuple):
    """What came of an `Ask`.

    Attributes:
        given: the answers that came, in order; errors of the server are among them.
        lost: why the others did not come.
        sent: false if nothing was sent, so that the server certainly did nothing.
    """

    received: list[Any]
    error: redis.RedisError | None = None
    sent: bool = True


Step: TypeAlias = Ask | Pause | Nudge

Steps: TypeAlias = Generator[Step, Any, T]
"""Is sent the `Answers` to each `Ask`, and returns what the caller gets."""


def pauses(timeout: float | None) -> Iterator[float]:
    """Growing pauses, in seconds, which end when the time is over; without a timeout they never do."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, LONGEST_PAUSE)
