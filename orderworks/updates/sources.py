"""What waits for a drain: accepted updates in the order of acceptance, taken by one drain at a time.

There is one backlog a shard of the stream. It knows how its updates are read and how they are
forgotten; what is done with them is the drain's.
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
    """Updates that wait.

    Attributes:
        shard: the number under which they are locked and counted.
        can_wait: whether `take` can wait for updates to come.
    """

    shard: int
    can_wait: bool

    def fetch(self, connection: sa.Connection, count: int, timeout: float) -> list[RawEntry]:
        """The oldest `count` updates, within the transaction that applies them; needs no nudge now.

        If there is none, it waits for up to `patience` seconds until there is, if it can.
        """

    def acknowledge(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:
        """Drop what was taken last, which is committed; whether the outcomes are told."""

    def release(self, connection: sa.Connection) -> bool:
        """Ask for nudges again; whether nothing is to be taken. What came before is seen here."""


class StreamSource:
    """A shard of the stream of accepted updates."""

    can_wait = True

    def __init__(self, stream: UpdateStream, shard: int, verdict_ttl: int) -> None:
        self.shard = shard
        self._stream = stream
        self._verdict_ttl = verdict_ttl
        self._taken: Sequence[StreamEntry] = ()

    def fetch(
        self,
        connection: sa.Connection,  # noqa: ARG002 - it is the outbox that is in the database
        count: int,
        timeout: float,
    ) -> list[RawEntry]:
        """The head of the stream, which stays there until it is forgotten."""
        self._taken = self._stream.fetch(self.shard, count, timeout)
        return [(each.version, each.payload, each.tracked) for each in self._taken]

    def acknowledge(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:
        """Cut off what was taken, after its outcomes are told: killed in between, it comes again.

        A server whose memory is full tells nothing, but to cut off is what makes room.
        """
        try:
            self._stream.publish_outcomes(self.shard, outcomes, self._verdict_ttl)
        except redis.ResponseError as error:
            log.warning("verdicts_not_told", shard=self.shard, error=str(error))
            return False
        finally:
            self._stream.trim(self.shard, self._taken)
        return True

    def release(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - as in `take`
        """Let producers nudge again, and only then look."""
        return self._stream.release_nudge(self.shard) == 0
