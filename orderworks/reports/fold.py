"""The fold: moves entries of the change log into the rollups, in one statement.

How the rollups add entries up is in `rollups`; what follows a fold, in `refresh`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderworks.core.schema import change_log, customer_changes
from orderworks.core.sql import ctid
from orderworks.reports import rollups

MAX_FOLD_ENTRIES = 50_000
"""Entries of the log after which a pass takes no further row: so each transaction is short, and holds
its row locks only for a moment."""


_ARRAYS = ("customer_ids", "days", "orders", "totals")
"""The columns of a row of the log, one array element for each entry."""

_ENTRY = ("customer_id", "day", "orders", "total")
"""The columns of an entry."""


@dataclass(frozen=True)
class FoldPass:
    """The result of one pass of the fold.

    Attributes:
        entries: number of entries moved from the log into the rollups.
        customers: ids of the customers of these entries.
        stale_since: time of the change, for each customer whose cached reads no writer invalidated.
        as_of: all transactions committed before this moment were visible to the pass.
        watermark: the pass's snapshot (`pg_snapshot`), which states exactly what was visible.
        number: higher than that of every earlier pass, independently of clocks.
    """

    entries: int
    customers: list[int]
    stale_since: list[datetime]
    as_of: datetime
    watermark: str
    number: int

    @property
    def is_last(self) -> bool:
        """Return whether the pass took all entries that it could see."""
        return self.entries < MAX_FOLD_ENTRIES


def fold_batch(connection: sa.Connection) -> FoldPass:
    """Move the oldest rows, of about `MAX_FOLD_ENTRIES` entries, from the log into the rollups.

    The caller holds `Lock.FOLD` and commits only after it has invalidated the customers' cached reads:
    so while the cache is unavailable the log keeps the entries, and a later fold takes them.
    """
    return FoldPass(*connection.execute(_FOLD_PASS, {"limit": MAX_FOLD_ENTRIES}).one())


def _fold_pass() -> sa.Select[Any]:
    """Return one statement, hence one snapshot: delete rows, add their entries, return a `FoldPass`.

    The log has no key; its rows are addressed by ctid, which cannot change meanwhile: no statement
    updates rows, and only one fold at a time deletes them.
    """
    taken = _taken_entries()
    stale = (
        sa.select(sa.func.min(taken.c.stale_since))
        .where(taken.c.stale_since.is_not(None))
        .group_by(taken.c.customer_id)
    )
    return sa.select(
        sa.select(sa.func.count()).select_from(taken).scalar_subquery(),
        # An array: a row per customer would take the client longer than the server.
        sa.func.array(sa.select(taken.c.customer_id).distinct().scalar_subquery()),
        sa.func.array(stale.scalar_subquery()),
        sa.func.statement_timestamp(),
        sa.cast(sa.func.pg_current_snapshot(), sa.Text),
        # Assigned while `Lock.FOLD` is held, so the numbers of passes ascend.
        sa.cast(sa.cast(sa.func.pg_current_xact_id(), sa.Text), sa.BigInteger),
    ).add_cte(*rollups.upsert_statements(taken))


def _taken_entries() -> sa.CTE:
    """Return the CTE that deletes the oldest rows from the log and has their entries as rows."""
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
    """Return the ctids of the oldest rows, up to the one that reaches `limit` entries.

    Each row has one entry at least, so `limit` rows suffice.
    """
    oldest = sa.select(ctid.label("row_address"), change_log.c.xact, change_log.c.entries)
    ordered = oldest.order_by(change_log.c.xact).limit(sa.bindparam("limit")).subquery("oldest")
    entries, order = ordered.c.entries, (ordered.c.xact, ordered.c.row_address)
    before = sa.func.sum(entries).over(order_by=order, rows=(None, 0)) - entries
    counted = sa.select(ordered.c.row_address, before.label("before")).subquery("counted")
    return sa.select(counted.c.row_address).where(counted.c.before < sa.bindparam("limit"))


_FOLD_PASS = _fold_pass()
