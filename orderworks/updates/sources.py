"""Sources of a drain: accepted updates in the order of acceptance, read by one drain at a time.

There is one source for each shard of the stream, and one for the outbox. A source knows how its updates
are read and removed; the drain applies them.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import redis
import sqlalchemy as sa
import structlog

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.schema import update_shards
from orderworks.core.versions import entry_id, version_at
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

    def publish(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:
        """Publish outcomes after their commit; return false if that was refused."""

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
        # The ids of the last batch that are no possible versions, by the positions given instead.
        self._ids: dict[int, str] = {}

    def fetch(
        self,
        connection: sa.Connection,
        count: int,
        timeout: float,
    ) -> list[RawEntry]:
        """Return the oldest entries of the stream. They stay there until they are acknowledged."""
        self._fetched = self._stream.fetch(self.shard, count, timeout)
        self._ids = {}
        if self._fetched and self._fetched[-1].version > MAX_BIGINT:
            return self._with_positions(connection)
        return [(each.version, each.payload, each.tracked) for each in self._fetched]

    def _with_positions(self, connection: sa.Connection) -> list[RawEntry]:
        """Return the entries, with positions by the clock for those whose id is no possible version.

        A client that appends may choose any id, and the server gives all later entries higher ones.
        """
        position, raw_entries = _newest_position(connection, self.shard), list[RawEntry]()
        for each in self._fetched:
            if each.version <= MAX_BIGINT:
                version = each.version
                position = max(position, version)
            else:
                version = position = min(position + 1, MAX_BIGINT)
                self._ids[version] = each.id.decode()
            raw_entries.append((version, each.payload, each.tracked))
        log.warning("stream_ids_out_of_range", shard=self.shard, entries=len(self._ids))
        return raw_entries

    def publish(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:
        """Publish outcomes; return false if the server refuses that, because its memory is full."""
        try:
            by_id = {
                self._ids.get(each, entry_id(each)): outcome for each, outcome in outcomes.items()
            }
            self._stream.publish_outcomes(self.shard, by_id, self._verdict_ttl)
        except redis.ResponseError as error:
            log.warning("verdict_publish_failed", shard=self.shard, error=str(error))
            return False
        return True

    def acknowledge(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:
        """Publish the outcomes, and then trim the stream; a crash in between redelivers the batch.

        If publishing is refused the stream is trimmed, too: that makes room.
        """
        try:
            return self.publish(outcomes)
        finally:
            self._stream.trim(self.shard, self._fetched)
            if self._ids and self._stream.restart_ids(self.shard):
                log.warning("stream_ids_restarted", shard=self.shard)

    def release(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - a method of each source
        """Request nudges from producers again, and then return whether the stream is empty."""
        return self._stream.release_nudge(self.shard) == 0


def _newest_position(connection: sa.Connection, shard: int) -> int:
    """Return the shard's newest position, or that of now, by the database's clock, if it is newer."""
    last = sa.select(update_shards.c.last_entry).where(update_shards.c.shard == shard)
    query = sa.select(sa.func.coalesce(last.scalar_subquery(), 0), sa.func.clock_timestamp())
    last_entry, now = connection.execute(query).one()
    return max(int(last_entry), version_at(now))
