"""An accepted import, for its producer to follow."""

import time
from collections.abc import Callable
from contextlib import suppress

import redis

from orderworks.core.errors import (
    Unavailable,
    WaitTimeout,
)
from orderworks.core.redis import Redis, redis_unavailable
from orderworks.imports.progress import ENDED, Summary, read_progress
from producer.effects import pauses


class ImportJob:
    """An accepted import. It does not depend on a caller that waits for it.

    Attributes:
        id: the import's id.
        repeated: whether this is an earlier import of the same content.
    """

    def __init__(self, import_id: str, stream: Redis, *, repeated: bool = False) -> None:
        self.id = import_id
        self.repeated = repeated
        self._stream = stream

    def __repr__(self) -> str:
        return f"ImportJob({self.id!r})"

    def progress(self) -> Summary | None:
        """Return the import's progress: `status`, `rows`, `applied` and so on; None if it is not known.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            return read_progress(self._stream, self.id)
        except redis.RedisError as error:
            raise redis_unavailable(error) from error

    def wait(
        self, timeout: float | None = None, on_progress: Callable[[Summary], None] | None = None
    ) -> Summary:
        """Wait for the import to end; return its last summary, whose `status` is one of `ENDED`.

        `timeout` is in seconds; `on_progress` is called with every summary that differs from the
        one before. While Redis does not answer, it continues to wait.

        Raises:
            WaitTimeout: it has not ended within `timeout`; the import continues.
        """
        waits = pauses(timeout)
        last: Summary | None = None
        while True:
            with suppress(Unavailable):
                summary = self.progress()
                if on_progress and summary and summary != last:
                    on_progress(summary)
                last = summary or last
            if last and last["status"] in ENDED:
                return last
            pause = next(waits, None)
            if pause is None:
                raise WaitTimeout(
                    f"import {self.id} has not ended within {timeout:g} s; it continues"
                )
            time.sleep(pause)
