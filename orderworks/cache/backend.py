"""Commands to the cache's Redis server, as steps; none for a while after it did not reply."""

import logging
import time
from collections.abc import Callable
from hashlib import sha1
from typing import Any

import redis

from orderworks.cache.effects import CacheSteps, RedisCommand

AVOID_SECONDS = 1.0
"""Seconds without commands after the server did not reply: so not every read waits for a timeout."""

log = logging.getLogger(__name__)


class Script:
    """A server-side script, which the server identifies by the digest of its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode()).hexdigest()  # noqa: S324 - the server's name of a script


class CacheBackend:
    """Sends commands unless the server failed just now. Threads and event loops share it."""

    def __init__(self) -> None:
        self._avoided_until = 0.0

    def execute(self, *command: Any) -> CacheSteps[Any]:  # noqa: ANN401 - any type that commands take
        """Return the reply; None if the server is unavailable or returns an error."""
        if time.monotonic() < self._avoided_until:
            return None
        return (yield from self._force_execute(*command))

    def run_script(
        self, script: Script, keys: tuple[str, ...], *args: str | int | bytes
    ) -> CacheSteps[Any]:
        """Return a script's reply, or None likewise. Its text is sent only if the server lacks it."""
        return _run(self.execute, script, keys, args)

    def force_script(
        self, script: Script, keys: tuple[str, ...], *args: str | int | bytes
    ) -> CacheSteps[Any]:
        """Do the same even if the server failed just now: a lease not released blocks other readers."""
        return _run(self._force_execute, script, keys, args)

    def _force_execute(self, *command: Any) -> CacheSteps[Any]:  # noqa: ANN401 - likewise
        try:
            return (yield RedisCommand(command))
        except redis.exceptions.NoScriptError:
            raise
        except redis.RedisError as error:
            self._note_failure(error)
            return None

    def _note_failure(self, error: redis.RedisError) -> None:
        """Avoid the server for a while, unless it replied: with an error, as when its memory is full."""
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            self._avoided_until = time.monotonic() + AVOID_SECONDS
        log.warning("cache_unavailable error=%s", error)


def _run(
    execute: Callable[..., CacheSteps[Any]],
    script: Script,
    keys: tuple[str, ...],
    args: tuple[str | int | bytes, ...],
) -> CacheSteps[Any]:
    arguments = (len(keys), *keys, *args)
    try:
        return (yield from execute("EVALSHA", script.digest, *arguments))
    except redis.exceptions.NoScriptError:
        return (yield from execute("EVAL", script.text, *arguments))
