"""Connections to the server of the update stream: one for each call, kept for the next one.

redis-py's own pool and client do more than an append needs, and double its cost (`bench enqueue`
measures it). Nor do they report whether anything was sent, and the replies before a connection was lost.
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
    """Opens connections on demand, one for each concurrent call.

    Threads may share it. A forked process does not use the connections that it inherits.
    """

    def __init__(self, client: Redis) -> None:
        """`client` has the options of connections; its own connections are not used."""
        self._pool = client.connection_pool
        self._idle: list[RedisConnection] = []
        self._owner = os.getpid()
        self._closed = False

    def exchange(
        self, request: RoundTrip, held: RedisConnection | None = None
    ) -> tuple[Replies, RedisConnection | None]:
        """Make a round trip over the connection `held`, or any; return the replies, and what is held.

        A connection is not used again after an error, nor if replies were left unread.
        """
        if held is None:
            try:
                held = self._check_out()
            except redis.RedisError as error:
                return Replies([], error, sent=False), None
        replies = _exchange(held, request)
        if replies.error:
            return replies, None
        if request.keep_connection:
            return replies, held
        self._check_in(held)
        return replies, None

    def discard(self, held: RedisConnection) -> None:
        """Close a connection that is held."""
        held.disconnect()

    def close(self) -> None:
        """Close idle connections now, and the others when their calls end."""
        self._closed = True
        self._drop_idle()

    def _check_out(self) -> RedisConnection:
        """Return a connection without unread replies.

        Raises:
            redis.RedisError: the server cannot be reached.
        """
        if self._owner != os.getpid():
            # In this order, so that no other thread gets an inherited connection in between.
            self._idle = []
            self._owner = os.getpid()
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if _is_usable(connection):
                return connection
            # The others are probably lost, too, and the health check of each may take a timeout.
            connection.disconnect()
            self._drop_idle()
        return self._connect()

    def _connect(self) -> RedisConnection:
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.connect()
        return connection

    def _check_in(self, connection: RedisConnection) -> None:
        self._idle.append(connection)
        if self._closed:
            self._drop_idle()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()


def _is_usable(connection: RedisConnection) -> bool:
    """Return whether the connection is open; one that was idle for long is checked by a PING."""
    try:
        if connection.can_read():
            return False
        connection.check_health()
    except (redis.RedisError, OSError):
        return False
    return True


def _exchange(connection: RedisConnection, request: RoundTrip) -> Replies:
    """Send the commands and read the replies; any interruption closes the connection."""
    received: list[Any] = []
    try:
        if request.commands:
            connection.send_packed_command([request.commands], check_health=False)
        deadline = request.timeout and time.monotonic() + request.timeout
        # If one does not come, those before it are in the list already.
        received.extend(_read(connection, deadline) for _ in range(request.replies))
    except redis.RedisError as error:
        connection.disconnect()
        return Replies(received, error)
    except BaseException:
        connection.disconnect()
        raise
    return Replies(received)


def _read(connection: RedisConnection, deadline: float | None) -> object:
    """Return a reply of the server, which may be an error."""
    # A timeout argument costs two more system calls.
    remaining = {"timeout": max(deadline - time.monotonic(), 0.001)} if deadline else {}
    try:
        return connection.read_response(**remaining)
    except redis.ResponseError as error:
        return error
