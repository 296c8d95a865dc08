"""Sources of a drain: accepted updates in the order of acceptance, read by one drain at a time.

There is one source for each shard of the stream, and one for the outbox. A source knows how its updates
are read and removed; the drain applies them.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import redis
import sqlalchemy as sa
import structlog

from orderworks.updates.entries import RawEntry
from orderworks.updates.messages import UpdateOutcome
from orderworks.updates.stream import StreamEntry, UpdateStream

log = structlog.get_logger()


class UpdateSource(Protocol):
    """Accepted updates that are not applied yet.

    Attributes:
        shard: the number under which they are locked and counted.
        can_wait: whether `fetch` can wait for new updates.
    """

    shard: int
    can_wait: bool

    def fetch(self, connection: sa.Connection, count: int, timeout: float) -> list[RawEntry]:
        """Return the oldest updates, at most `count`, within the transaction that applies them.

        No nudge is needed meanwhile. If there is no update, it waits for one for up to `timeout`
        seconds, if it can.
        """

    def acknowledge(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:
        """Remove the last batch after its commit; return whether the outcomes are published."""

    def release(self, connection: sa.Connection) -> bool:
        """Request nudges again, and then return whether the source is empty."""


class StreamSource:
    """A shard of the stream of accepted updates."""

    can_wait = True

    def __init__(self, stream: UpdateStream, shard: int, verdict_ttl: int) -> None:
        self.shard = shard
        self._stream = stream
        self._verdict_ttl = verdict_ttl
        self._fetched: Sequence[StreamEntry] = ()

    def fetch(
        self,
        connection: sa.Connection,  # noqa: ARG002 - it is the outbox that is in the database
        count: int,
        timeout: float,
    ) -> list[RawEntry]:
        """Return the oldest entries of the stream. They stay there until they are acknowledged."""
        self._fetched = self._stream.fetch(self.shard, count, timeout)
        return [(each.version, each.payload, each.tracked) for each in self._fetched]

    def acknowledge(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:
        """Publish the outcomes, and then trim the stream; a crash in between redelivers the batch.

        A server whose memory is full refuses to publish. The stream is trimmed then, too: that makes
        room.
        """
        try:
            self._stream.publish_outcomes(self.shard, outcomes, self._verdict_ttl)
        except redis.ResponseError as error:
            log.warning("verdict_publish_failed", shard=self.shard, error=str(error))
            return False
        finally:
            self._stream.trim(self.shard, self._fetched)
        return True

    def release(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - as in `fetch`
        """Request nudges from producers again, and then return whether the stream is empty."""
        return self._stream.release_nudge(self.shard) == 0
