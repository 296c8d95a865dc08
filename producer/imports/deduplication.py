"""The first import of a content, so that the same file is not imported twice by mistake.

It is no guarantee: if Redis loses its data, the same content is imported again, which changes no row.
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
"""Seconds that a claim is valid while its import is being accepted."""

POLL_INTERVAL = 0.05
"""Seconds between two reads of another import's claim."""

FAILED_STATUSES = ("failed", "cancelled")


class ContentClaim:
    """The claim of one import to its content with its options."""

    def __init__(self, stream: Redis, manifest: Manifest) -> None:
        self._stream = stream
        self._id = manifest.id
        self._key = import_content(fingerprint(manifest))

    def claim(self) -> str | None:
        """Claim the content; return None, or the id of the import that has claimed it before.

        An import that failed, was cancelled or is no longer known does not count.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            while not self._stream.set(self._key, self._id, nx=True, ex=CLAIM_TTL):
                claimer = self._counted_claimer()
                if claimer:
                    return claimer
        except redis.RedisError as error:
            raise redis_unavailable(error) from error
        return None

    def take_over(self) -> None:
        """Claim the content whether or not another import has claimed it.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            self._stream.set(self._key, self._id, ex=CLAIM_TTL)
        except redis.RedisError as error:
            raise redis_unavailable(error) from error

    def extend(self) -> None:
        """Extend the claim to the time for which the import's progress is known.

        Raises:
            redis.RedisError: Redis did not answer; the claim expires after `CLAIM_TTL`.
        """
        if self._claimer() == self._id:
            self._stream.expire(self._key, PROGRESS_TTL)

    def release(self) -> None:
        """Release the claim of an import that is not accepted; if that fails, it expires."""
        with suppress(redis.RedisError):
            if self._claimer() == self._id:
                self._stream.delete(self._key)

    def _counted_claimer(self) -> str | None:
        """Return the import with the claim, if it counts; else delete the claim, or wait a moment."""
        # The TTL is read first: if it is long already, the summary was published before.
        ttl = self._stream.ttl(self._key)
        claimer = self._claimer()
        summary = None if claimer is None else read_progress(self._stream, claimer)
        if summary is not None and summary["status"] not in FAILED_STATUSES:
            return claimer
        if summary is None and 0 < ttl <= CLAIM_TTL:
            # Its producer is about to publish the summary.
            time.sleep(POLL_INTERVAL)
        else:
            self._stream.delete(self._key)
        return None

    def _claimer(self) -> str | None:
        # The reply is bytes; the client's types do not state that.
        claimed: Any = self._stream.get(self._key)
        return None if claimed is None else bytes(claimed).decode()


def fingerprint(manifest: Manifest) -> str:
    """Return a digest that is equal for equal content imported with equal options."""
    identity = [
        manifest.sha256,
        manifest.kind,
        sorted(manifest.mapping.items()),
        manifest.format,
        manifest.delimiter,
        manifest.strict,
        manifest.create_customers,
        manifest.parent,
    ]
    if manifest.as_of is not None:
        identity.append(manifest.version)
    if manifest.empty != "keeps":
        identity.append(manifest.empty)
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()
