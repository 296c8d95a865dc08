"""Verdicts of tracked updates: stored in the transaction that gives them, published after it.

So a crash between commit and publication only delays a verdict, and an entry that is delivered again
afterwards has its first verdict published.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import tracked_verdicts
from orderworks.updates.entries import AcceptedUpdate
from orderworks.updates.messages import UpdateOutcome, Verdict

OVERDUE_SECONDS = 5
"""Seconds after which an unpublished verdict is left by a crashed drain."""


def store(connection: sa.Connection, shard: int, settled: Sequence[AcceptedUpdate]) -> None:
    """Store the verdicts of tracked updates. The first final verdict of an update stays."""
    rows = [
        {"shard": shard, "entry": each.entry, "verdict": each.verdict, "reason": each.reason}
        for each in settled
        if each.tracked and each.verdict is not Verdict.PARKED
    ]
    if rows:
        connection.execute(insert(tracked_verdicts).values(rows).on_conflict_do_nothing())


def read_unpublished(connection: sa.Connection, shard: int) -> dict[int, UpdateOutcome]:
    """Return all stored verdicts of the shard, by position in the order of acceptance."""
    query = sa.select(*tracked_verdicts.c["entry", "verdict", "reason"]).where(
        tracked_verdicts.c.shard == shard
    )
    return {
        entry: UpdateOutcome(Verdict(verdict), reason)
        for entry, verdict, reason in connection.execute(query)
    }


def delete_published(connection: sa.Connection, shard: int, entries: Collection[int]) -> None:
    """Delete verdicts that are published, of entries that cannot be delivered again."""
    of_shard = tracked_verdicts.c.shard == shard
    published = of_shard & (tracked_verdicts.c.entry.in_(entries))
    connection.execute(sa.delete(tracked_verdicts).where(published))


def shards_with_overdue(connection: sa.Connection) -> set[int]:
    """Return the shards with verdicts left unpublished by a crashed drain."""
    overdue = tracked_verdicts.c.given_at < sa.func.now() - sa.func.make_interval(
        0, 0, 0, 0, 0, 0, OVERDUE_SECONDS
    )
    return set(connection.scalars(sa.select(tracked_verdicts.c.shard).distinct().where(overdue)))
