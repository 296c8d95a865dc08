"""The account of a shard: which updates are counted, and how many got which verdict.

It is read and written under the shard's lock, in the transaction that gives the verdicts. So it adds up
whatever is killed: accepted = applied + superseded + stale + duplicate + dead + those that are parked.
"""

from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import parked_updates, tracked_verdicts, update_outbox, update_shards
from orderworks.updates.messages import Verdict

FINAL_VERDICTS = [verdict for verdict in Verdict if verdict is not Verdict.PARKED]


class ShardCounters(NamedTuple):
    """What is known of a shard when a batch begins.

    Attributes:
        last_entry: the newest place in the order of acceptance that a committed batch has counted.
        parked: whether updates of the shard are parked.
        untold: whether verdicts of the shard are not told yet.
    """

    last_entry: int
    has_parked: bool
    has_unpublished: bool


_shard = sa.bindparam("of_shard", type_=sa.Integer)
_last_entry = sa.select(update_shards.c.last_entry).where(update_shards.c.shard == _shard)
_READ = sa.select(
    sa.func.coalesce(_last_entry.scalar_subquery(), 0),
    sa.exists().where(parked_updates.c.shard == _shard),
    sa.exists().where(tracked_verdicts.c.shard == _shard),
)


def read_counters(connection: sa.Connection, shard: int) -> ShardCounters:
    """Ask after the lock is taken, not in one statement with it: the last batch has to be seen."""
    return ShardCounters(*connection.execute(_READ, {"of_shard": shard}).one())


def read_totals(connection: sa.Connection) -> dict[str, int]:
    """The accounts of all shards together, what is parked, and what waits in the outbox."""
    names = ("accepted", *(verdict.value for verdict in FINAL_VERDICTS))
    sums = [sa.func.coalesce(sa.func.sum(update_shards.c[name]), 0).label(name) for name in names]
    rows = [
        sa.select(sa.func.count()).select_from(table).scalar_subquery().label(name)
        for name, table in (("parked", parked_updates), ("outbox", update_outbox))
    ]
    counted = connection.execute(sa.select(*sums, *rows)).one()
    return {name: int(value) for name, value in counted._mapping.items()}  # noqa: SLF001 - public


_insert = insert(update_shards)
_ADD = _insert.on_conflict_do_update(
    index_elements=["shard"],
    set_={
        "last_entry": sa.func.greatest(update_shards.c.last_entry, _insert.excluded.last_entry),
        **{
            name: update_shards.c[name] + _insert.excluded[name]
            for name in ("accepted", *(verdict.value for verdict in FINAL_VERDICTS))
        },
    },
)


def add_to_counters(
    connection: sa.Connection,
    shard: int,
    *,
    accepted: int,
    last_entry: int,
    verdicts: Mapping[Verdict, int],
) -> None:
    """Count updates that came, up to the place `last_entry`, and verdicts that were given."""
    account = {"shard": shard, "last_entry": last_entry, "accepted": accepted}
    counts = {verdict.value: verdicts.get(verdict, 0) for verdict in FINAL_VERDICTS}
    connection.execute(_ADD, {**account, **counts})
