"""The verdicts of tracked updates, from the transaction that gives them to whoever waits for them.

They are kept in that transaction and told after it. So a drain that is killed in between has not told
nobody for ever, and an update that comes again afterwards is told what became of it the first time.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import tracked_verdicts
from orderworks.updates.entries import AcceptedUpdate
from orderworks.updates.messages import UpdateOutcome, Verdict

OVERDUE_SECONDS = 5
"""Seconds after which a verdict that is not told yet has lost its drain."""


def store(connection: sa.Connection, shard: int, settled: Sequence[AcceptedUpdate]) -> None:
    """Keep the verdicts of those that are tracked. The first verdict of an update stays."""
    rows = [
        {"shard": shard, "entry": each.entry, "verdict": each.verdict, "reason": each.reason}
        for each in settled
        if each.tracked and each.verdict is not Verdict.PARKED
    ]
    if rows:
        connection.execute(insert(tracked_verdicts).values(rows).on_conflict_do_nothing())


def read_unpublished(connection: sa.Connection, shard: int) -> dict[int, UpdateOutcome]:
    """All verdicts of the shard that are to be told, by place in the order of acceptance."""
    query = sa.select(*tracked_verdicts.c["entry", "verdict", "reason"]).where(
        tracked_verdicts.c.shard == shard
    )
    return {
        entry: UpdateOutcome(Verdict(verdict), reason)
        for entry, verdict, reason in connection.execute(query)
    }


def delete_published(connection: sa.Connection, shard: int, entries: Collection[int]) -> None:
    """Forget verdicts that are told, of updates that cannot come again."""
    of_shard = tracked_verdicts.c.shard == shard
    told = of_shard & (tracked_verdicts.c.entry.in_(entries))
    connection.execute(sa.delete(tracked_verdicts).where(told))


def shards_with_overdue(connection: sa.Connection) -> set[int]:
    """The shards in which a verdict was given by a drain that did not live to tell it."""
    overdue = tracked_verdicts.c.given_at < sa.func.now() - sa.func.make_interval(
        0, 0, 0, 0, 0, 0, OVERDUE_SECONDS
    )
    return set(connection.scalars(sa.select(tracked_verdicts.c.shard).distinct().where(overdue)))
