"""The expected orders table, computed without SQL or any code of the drain and the import.

It is a plain dictionary: a file's row replaces the order, an update changes it if its version is higher.
"""

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import polars as pl

from orderworks.updates.messages import OrderUpdate

STALE_VERSION = 1
"""A version older than those of any import, which are derived from the time."""


class OrderFields(NamedTuple):
    """The columns of an order that the demo compares."""

    customer_id: int
    status: str
    total: Decimal


@dataclass
class ExpectedOrders:
    """Orders by id, and the explicit versions that updates gave them."""

    orders: dict[int, OrderFields]
    versions: dict[int, int] = field(default_factory=dict)

    def add_file(self, rows: pl.DataFrame) -> None:
        """Replace the orders that the file names: its rows are newer than any before."""
        for order_id, customer_id, total, status, _created_at in rows.iter_rows():
            self.orders[order_id] = OrderFields(customer_id, status, total)

    def apply_update(self, update: OrderUpdate) -> None:
        """Change the order if the update has no version or a higher one than the last."""
        version = update.own_version
        if version is not None and version <= self.versions.get(update.order_id, STALE_VERSION):
            return
        if version is not None:
            self.versions[update.order_id] = version
        old = self.orders[update.order_id]
        self.orders[update.order_id] = OrderFields(
            update.customer_id or old.customer_id,
            update.status or old.status,
            old.total if update.total is None else Decimal(update.total),
        )


def make_updates(order_ids: list[int], count: int, newest: int) -> list[OrderUpdate]:
    """Updates as a shop sends them: most without a version; some twice, late, or many of one order.

    `newest` is a version above those in the table. Orders get either explicit versions only, or none.
    """
    dice = random.Random(count)  # noqa: S311 - repeatable, not secret
    versioned, plain = order_ids[: len(order_ids) // 4], order_ids[len(order_ids) // 4 :]
    hot = dice.sample(plain, min(50, len(plain)))
    updates: list[OrderUpdate] = []
    while len(updates) < count:
        kind = dice.random()
        if kind < 0.1:  # noqa: PLR2004 - a tenth arrives twice
            twice = _update(dice, dice.choice(versioned), newest + len(updates))
            updates += [twice, twice]
        elif kind < 0.2:  # noqa: PLR2004 - a tenth arrives late
            updates.append(_update(dice, dice.choice(versioned), STALE_VERSION))
        else:
            is_hot = kind < 0.3  # noqa: PLR2004 - a tenth is for a few popular orders
            updates.append(_update(dice, dice.choice(hot if is_hot else plain), None))
    return updates[:count]


def _update(dice: random.Random, order_id: int, version: int | None) -> OrderUpdate:
    total = Decimal(dice.randrange(100, 50_000_000)) / 100
    status = dice.choice(["paid", "shipped", "cancelled", None])
    return OrderUpdate(order_id=order_id, total=total, status=status, version=version)
