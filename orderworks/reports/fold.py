"""The fold: entries of the change log are taken out and added to the rollups."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderworks.core.schema import change_log, customer_changes
from orderworks.core.sql import ctid
from orderworks.reports import rollups

MAX_FOLD_ENTRIES = 50_000
"""Entries of the log folded in one transaction, with the rest of the last row's: so no fold holds row
locks for longer than a moment."""


_ARRAYS = ("customer_ids", "days", "orders", "totals")


_ENTRY = ("customer_id", "day", "orders", "total")


@dataclass(frozen=True)
class FoldPass:
    """What one pass took from the log.

    Attributes:
        entries: entries of the log, now part of the rollups.
        customers: whose they were.
        stale_since: for each of them whom nobody has made disappear from the cache yet, since when.
        as_of: the pass saw whatever was committed before this moment,
        watermark: and of the transactions, exactly those that this snapshot shows (`pg_snapshot`).
        number: higher than that of every pass before, whatever clocks do.
    """

    entries: int
    customers: list[int]
    stale_since: list[datetime]
    as_of: datetime
    watermark: str
    number: int

    @property
    def is_last(self) -> bool:
        """Whether it took all that it could see."""
        return self.entries < MAX_FOLD_ENTRIES


def fold_batch(connection: sa.Connection) -> FoldPass:
    """Take the oldest rows, some `MAX_FOLD_ENTRIES`, out of the log and add them to the rollups.

    The caller holds `Lock.FOLD`, and commits only after the customers' cached reads are gone: then with
    the cache away the log stays, and a later fold catches up.
    """
    return FoldPass(*connection.execute(_FOLD_PASS, {"most": MAX_FOLD_ENTRIES}).one())


def _fold_pass() -> sa.Select[Any]:
    """One statement, hence one snapshot: take rows out, add them up, say whose they were.

    The log has no key; its rows are found by their place (ctid), which nobody else changes: only a
    fold, one at a time, takes rows out.
    """
    taken = _taken_entries()
    stale = (
        sa.select(sa.func.min(taken.c.stale_since))
        .where(taken.c.stale_since.is_not(None))
        .group_by(taken.c.customer_id)
    )
    return sa.select(
        sa.select(sa.func.count()).select_from(taken).scalar_subquery(),
        # An array, because a row a customer takes the client longer than the server.
        sa.func.array(sa.select(taken.c.customer_id).distinct().scalar_subquery()),
        sa.func.array(stale.scalar_subquery()),
        sa.func.statement_timestamp(),
        sa.cast(sa.func.pg_current_snapshot(), sa.Text),
        # Given under the lock, so passes have rising ones.
        sa.cast(sa.cast(sa.func.pg_current_xact_id(), sa.Text), sa.BigInteger),
    ).add_cte(*rollups.upsert_statements(taken))


def _taken_entries() -> sa.CTE:
    """The entries of the oldest rows, which are taken out of the log."""
    packed = (
        sa.delete(change_log)
        .where(ctid == sa.func.any(sa.func.array(_oldest_rows().scalar_subquery())))
        .returning(*change_log.c["stale_since", *_ARRAYS])
        .cte("packed")
    )
    columns = [sa.column(each.name, each.type) for each in customer_changes.c[_ENTRY]]
    unpacked = sa.func.unnest(*packed.c[_ARRAYS]).table_valued(*columns)
    entries = unpacked.render_derived(name="entry")
    entry = [entries.c[name] for name in _ENTRY]
    return (
        sa.select(*entry, packed.c.stale_since).join_from(packed, entries, sa.true()).cte("taken")
    )


def _oldest_rows() -> sa.Select[Any]:
    """Where the oldest rows are: as many as it takes for so many entries. Each row has one at least."""
    oldest = sa.select(ctid.label("place"), change_log.c.xact, change_log.c.entries)
    ordered = oldest.order_by(change_log.c.xact).limit(sa.bindparam("most")).subquery("oldest")
    entries, order = ordered.c.entries, (ordered.c.xact, ordered.c.place)
    before = sa.func.sum(entries).over(order_by=order, rows=(None, 0)) - entries
    counted = sa.select(ordered.c.place, before.label("before")).subquery("counted")
    return sa.select(counted.c.place).where(counted.c.before < sa.bindparam("most"))


_FOLD_PASS = _fold_pass()
