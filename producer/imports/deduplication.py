"""Which import brought a content first, so that the same file is not imported twice by mistake.

A help, no guarantee: with Redis' memory gone, the same content is imported again, which changes no row.
"""

import hashlib
import time
from contextlib import suppress
from typing import Any

import msgspec
import redis

from orderworks.core.keys import import_content
from orderworks.core.redis import Redis, redis_unavailable
from orderworks.imports.manifest import Manifest
from orderworks.imports.progress import PROGRESS_TTL, read_progress

CLAIM_TTL = 10
"""Seconds that a claim holds while its import is being announced."""

POLL_INTERVAL = 0.05
"""Seconds between two looks at another one's claim."""

FAILED_STATUSES = ("failed", "cancelled")


class ContentClaim:
    """The content of one import, as it was asked for."""

    def __init__(self, stream: Redis, manifest: Manifest) -> None:
        self._stream = stream
        self._id = manifest.id
        self._key = import_content(fingerprint(manifest))

    def claim(self) -> str | None:
        """None if this import is the first to bring the content, else the id of the one that was.

        One that failed or was cancelled, or of which nothing is known any more, does not count.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            while not self._stream.set(self._key, self._id, nx=True, ex=CLAIM_TTL):
                first = self._counted_claimer()
                if first:
                    return first
        except redis.RedisError as error:
            raise redis_unavailable(error) from error
        return None

    def take_over(self) -> None:
        """Be the import that counts as the first from now on.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            self._stream.set(self._key, self._id, ex=CLAIM_TTL)
        except redis.RedisError as error:
            raise redis_unavailable(error) from error

    def extend(self) -> None:
        """Keep a claim of this import as long as its progress is known.

        Raises:
            redis.RedisError: Redis did not answer; the claim ends soon.
        """
        if self._claimer() == self._id:
            self._stream.expire(self._key, PROGRESS_TTL)

    def release(self) -> None:
        """Give a claim up: the import is none. If that fails, the claim ends soon by itself."""
        with suppress(redis.RedisError):
            if self._claimer() == self._id:
                self._stream.delete(self._key)

    def _counted_claimer(self) -> str | None:
        """The import that has the claim, if it counts; else the claim is gone, or worth another look."""
        # Asked first: an import that was kept before is announced, so it has a summary by now.
        left = self._stream.ttl(self._key)
        first = self._claimer()
        summary = None if first is None else read_progress(self._stream, first)
        if summary is not None and summary["status"] not in FAILED_STATUSES:
            return first
        if summary is None and 0 < left <= CLAIM_TTL:
            # Its producer is about to announce it.
            time.sleep(POLL_INTERVAL)
        else:
            self._stream.delete(self._key)
        return None

    def _claimer(self) -> str | None:
        # Answers are bytes, which the client's types do not tell.
        claimed: Any = self._stream.get(self._key)
        return None if claimed is None else bytes(claimed).decode()


def fingerprint(manifest: Manifest) -> str:
    """The same for the same content, asked for in the same way."""
    asked = [
        manifest.sha256,
        manifest.kind,
        sorted(manifest.mapping.items()),
        manifest.format,
        manifest.delimiter,
        manifest.strict,
        manifest.create_customers,
        manifest.parent,
    ]
    return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
