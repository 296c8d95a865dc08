"""Connections to the server of the update stream: one a call, kept for the next call.

redis-py's own pool and client do more than an append needs, at twice its price. What they leave open is
answered here: whether anything was sent, and which answers came before a connection was lost.
"""

import os
import time
from typing import Any, TypeAlias

import redis

from orderworks.core.redis import Redis
from producer.effects import Answers, Ask

Line: TypeAlias = Any
"""A `redis.Connection`, whose methods have no types."""


class Lines:
    """Opens connections as they are needed, as many as there are calls at a time.

    Threads may share it; a forked process leaves the connections that it inherits alone.
    """

    def __init__(self, client: Redis) -> None:
        """`client` says how to connect; its own connections are not used."""
        self._pool = client.connection_pool
        self._idle: list[Line] = []
        self._owner = os.getpid()
        self._closed = False

    def ask(self, question: Ask, kept: Line | None = None) -> tuple[Answers, Line | None]:
        """Carry out a question over `kept`, or any connection; the answers, and what is kept.

        A connection that was lost is never used again, nor one whose answers were not all read.
        """
        if kept is None:
            try:
                kept = self._take()
            except redis.RedisError as error:
                return Answers([], error, sent=False), None
        answers = _exchange(kept, question)
        if answers.lost:
            return answers, None
        if question.keep:
            return answers, kept
        self._put_back(kept)
        return answers, None

    def drop(self, kept: Line) -> None:
        """Give up a connection that was kept."""
        kept.disconnect()

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self._closed = True
        self._drop_idle()

    def _take(self) -> Line:
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

    def _connect(self) -> Line:
        line = self._pool.connection_class(**self._pool.connection_kwargs)
        line.connect()
        return line

    def _put_back(self, line: Line) -> None:
        self._idle.append(line)
        if self._closed:
            self._drop_idle()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            line.disconnect()


def _is_usable(line: Line) -> bool:
    """Whether the server has neither closed it nor, where it was idle for long, lost it."""
    try:
        if line.can_read():
            return False
        line.check_health()
    except (redis.RedisError, OSError):
        return False
    return True


def _exchange(line: Line, question: Ask) -> Answers:
    """Send and read; whatever interrupts that ends the connection."""
    given: list[Any] = []
    try:
        if question.commands:
            line.send_packed_command([question.commands], check_health=False)
        deadline = question.patience and time.monotonic() + question.patience
        # Where one does not come, those before it are in the list already.
        given.extend(_read(line, deadline) for _ in range(question.answers))
    except redis.RedisError as error:
        line.disconnect()
        return Answers(given, error)
    except BaseException:
        line.disconnect()
        raise
    return Answers(given)


def _read(line: Line, deadline: float | None) -> object:
    """An answer of the server, which may be its error."""
    # A timeout that is given costs two more calls of the system.
    left = {"timeout": max(deadline - time.monotonic(), 0.001)} if deadline else {}
    try:
        return line.read_response(**left)
    except redis.ResponseError as error:
        return error
