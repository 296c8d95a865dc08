"""Connections to the server of the update stream: one a call, kept for the next call.

redis-py's own pool and client do more than an append needs, at twice its price. What they leave open is
answered here: whether anything was sent, and which answers came before a connection was lost.
"""

import os
import time
from typing import Any, TypeAlias

import redis

from orderworks.core.redis import Redis
from producer.effects import Replies, RoundTrip

RedisConnection: TypeAlias = Any
"""A `redis.Connection`, whose methods have no types."""


class Connections:
    """Opens connections as they are needed, as many as there are calls at a time.

    Threads may share it; a forked process leaves the connections that it inherits alone.
    """

    def __init__(self, client: Redis) -> None:
        """`client` says how to connect; its own connections are not used."""
        self._pool = client.connection_pool
        self._idle: list[RedisConnection] = []
        self._owner = os.getpid()
        self._closed = False

    def exchange(
        self, request: RoundTrip, held: RedisConnection | None = None
    ) -> tuple[Replies, RedisConnection | None]:
        """Carry out a question over `kept`, or any connection; the answers, and what is kept.

        A connection that was lost is never used again, nor one whose answers were not all read.
        """
        if held is None:
            try:
                held = self._check_out()
            except redis.RedisError as error:
                return Replies([], error, sent=False), None
        answers = _exchange(held, request)
        if answers.error:
            return answers, None
        if request.keep_connection:
            return answers, held
        self._check_in(held)
        return answers, None

    def discard(self, held: RedisConnection) -> None:
        """Give up a connection that was kept."""
        held.disconnect()

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self._closed = True
        self._drop_idle()

    def _check_out(self) -> RedisConnection:
        """A connection over which nothing is on its way.

        Raises:
            redis.RedisError: the server cannot be reached.
        """
        if self._owner != os.getpid():
            # In this order: no other thread may meet an inherited connection in between.
            self._idle = []
            self._owner = os.getpid()
        while self._idle:
            try:
                line = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if _is_usable(line):
                return line
            # What ended this connection has probably ended the others too: a health check each would
            # take as many timeouts.
            line.disconnect()
            self._drop_idle()
        return self._connect()

    def _connect(self) -> RedisConnection:
        line = self._pool.connection_class(**self._pool.connection_kwargs)
        line.connect()
        return line

    def _check_in(self, connection: RedisConnection) -> None:
        self._idle.append(connection)
        if self._closed:
            self._drop_idle()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            line.disconnect()


def _is_usable(connection: RedisConnection) -> bool:
    """Whether the server has neither closed it nor, where it was idle for long, lost it."""
    try:
        if connection.can_read():
            return False
        connection.check_health()
    except (redis.RedisError, OSError):
        return False
    return True


def _exchange(connection: RedisConnection, request: RoundTrip) -> Replies:
    """Send and read; whatever interrupts that ends the connection."""
    given: list[Any] = []
    try:
        if request.commands:
            connection.send_packed_command([request.commands], check_health=False)
        deadline = request.timeout and time.monotonic() + request.timeout
        # Where one does not come, those before it are in the list already.
        given.extend(_read(connection, deadline) for _ in range(request.replies))
    except redis.RedisError as error:
        connection.disconnect()
        return Replies(given, error)
    except BaseException:
        connection.disconnect()
        raise
    return Replies(given)


def _read(connection: RedisConnection, deadline: float | None) -> object:
    """An answer of the server, which may be its error."""
    # A timeout that is given costs two more calls of the system.
    left = {"timeout": max(deadline - time.monotonic(), 0.001)} if deadline else {}
    try:
        return connection.read_response(**left)
    except redis.ResponseError as error:
        return error
