"""The counters of a shard: how far its updates are counted, and the number of each verdict.

They are read and written under the shard's lock, in the transaction that gives the verdicts. So they are
consistent after any crash: accepted = applied + superseded + stale + duplicate + dead + parked.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import parked_updates, tracked_verdicts, update_outbox, update_shards
from orderworks.updates.entries import Cause
from orderworks.updates.messages import Verdict

FINAL_VERDICTS = [verdict for verdict in Verdict if verdict is not Verdict.PARKED]


class ShardCounters(NamedTuple):
    """The state of a shard when a batch begins.

    Attributes:
        last_entry: the latest position in the order of acceptance that a committed batch has counted.
        has_parked: whether updates of the shard are parked.
        has_failed: whether updates of the shard are to be tried alone now.
        has_unpublished: whether the shard has unpublished verdicts.
    """

    last_entry: int
    has_parked: bool
    has_failed: bool
    has_unpublished: bool


_shard = sa.bindparam("of_shard", type_=sa.Integer)
_last_entry = sa.select(update_shards.c.last_entry).where(update_shards.c.shard == _shard)
_READ = sa.select(
    sa.func.coalesce(_last_entry.scalar_subquery(), 0),
    sa.exists().where(parked_updates.c.shard == _shard),
    sa.exists().where(
        parked_updates.c.shard == _shard,
        parked_updates.c.cause == Cause.ERROR,
        parked_updates.c.next_attempt_at <= sa.func.now(),
    ),
    sa.exists().where(tracked_verdicts.c.shard == _shard),
)


def read_counters(connection: sa.Connection, shard: int) -> ShardCounters:
    """Return the state of the shard.

    Call it after acquiring the lock, in a separate statement, so that the previous batch is visible.
    """
    return ShardCounters(*connection.execute(_READ, {"of_shard": shard}).one())


def read_totals(connection: sa.Connection) -> dict[str, int]:
    """Return the sums of all shards' counters, and the number of parked and of outbox updates."""
    names = ("accepted", *(verdict.value for verdict in FINAL_VERDICTS))
    sums = [sa.func.coalesce(sa.func.sum(update_shards.c[name]), 0).label(name) for name in names]
    rows = [
        sa.select(sa.func.count()).select_from(table).scalar_subquery().label(name)
        for name, table in (("parked", parked_updates), ("outbox", update_outbox))
    ]
    counted = connection.execute(sa.select(*sums, *rows)).one()
    return {name: int(value) for name, value in counted._mapping.items()}  # noqa: SLF001 - public


def read_mixed(connection: sa.Connection) -> tuple[int, list[int]]:
    """Read the number of updates that mix versions, and the last order of each shard that has one."""
    counters = sa.select(update_shards.c.mixed, update_shards.c.mixed_order_id)
    rows = connection.execute(counters.where(update_shards.c.mixed > 0)).all()
    return sum(row.mixed for row in rows), [row.mixed_order_id for row in rows]


_insert = insert(update_shards)
_ADD = _insert.on_conflict_do_update(
    index_elements=["shard"],
    set_={
        "last_entry": sa.func.greatest(update_shards.c.last_entry, _insert.excluded.last_entry),
        **{
            name: update_shards.c[name] + _insert.excluded[name]
            for name in ("accepted", *(verdict.value for verdict in FINAL_VERDICTS), "mixed")
        },
        "mixed_order_id": sa.func.coalesce(
            _insert.excluded.mixed_order_id, update_shards.c.mixed_order_id
        ),
    },
)


def add_to_counters(
    connection: sa.Connection,
    shard: int,
    *,
    accepted: int,
    last_entry: int,
    verdicts: Mapping[Verdict, int],
    mixed_order_ids: Sequence[int] = (),
) -> None:
    """Count `accepted` new updates, up to the position `last_entry`, and the verdicts given.

    `mixed_order_ids` are the orders of updates that mix a counter with the order of acceptance.
    """
    counts = {verdict.value: verdicts.get(verdict, 0) for verdict in FINAL_VERDICTS}
    new = {"shard": shard, "last_entry": last_entry, "accepted": accepted}
    mixed = {
        "mixed": len(mixed_order_ids),
        "mixed_order_id": mixed_order_ids[-1] if mixed_order_ids else None,
    }
    connection.execute(_ADD, {**new, **counts, **mixed})
