"""The cache's server as one process sees it: asked in steps, left alone for a while if it is away."""

import logging
import time
from collections.abc import Callable
from hashlib import sha1
from typing import Any

import redis

from orderworks.cache.effects import CacheSteps, RedisCommand

AVOID_SECONDS = 1.0
"""Seconds for which a server that did not answer is not asked: not every read waits for it in vain."""

log = logging.getLogger(__name__)


class Script:
    """A server-side script, known to the server by the digest of its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode()).hexdigest()  # noqa: S324 - so does the server name it


class CacheBackend:
    """Whether the server is worth asking. Threads and event loops share it."""

    def __init__(self) -> None:
        self._avoided_until = 0.0

    def execute(self, *command: Any) -> CacheSteps[Any]:  # noqa: ANN401 - whatever commands take
        """The answer; None if there is none, because the server is away or refuses."""
        if time.monotonic() < self._avoided_until:
            return None
        return (yield from self._force_execute(*command))

    def run_script(
        self, script: Script, keys: tuple[str, ...], *args: str | int | bytes
    ) -> CacheSteps[Any]:
        """Likewise the answer of a script, which is sent whole only if the server does not know it."""
        return _run(self.execute, script, keys, args)

    def force_script(
        self, script: Script, keys: tuple[str, ...], *args: str | int | bytes
    ) -> CacheSteps[Any]:
        """The same, also of a server that is left alone: where one holds a lease, all others wait."""
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
        """A server that answers with an error, because its memory is full say, may be asked on."""
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            self._avoided_until = time.monotonic() + AVOID_SECONDS
        log.warning("cache_not_used error=%s", error)


def _run(
    ask: Callable[..., CacheSteps[Any]],
    script: Script,
    keys: tuple[str, ...],
    args: tuple[str | int | bytes, ...],
) -> CacheSteps[Any]:
    rest = (len(keys), *keys, *args)
    try:
        return (yield from ask("EVALSHA", script.digest, *rest))
    except redis.exceptions.NoScriptError:
        return (yield from ask("EVAL", script.text, *rest))
