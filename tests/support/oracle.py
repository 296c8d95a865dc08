"""The expected content of the orders table, computed independently, and its comparison with it."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import sqlalchemy as sa

from orderworks.core.database import make_engine
from orderworks.core.schema import customers, orders, parked_updates, update_shards
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from tests.support.field_fold import FieldFold

ExpectedRows = dict[int, tuple[int, str, Decimal, int | None]]
"""Orders by id: customer, status, total, and the version if a producer gave it."""

FIELDS = ("customer_id", "status", "total")

BY_CLOCK = 1 << 60
"""Versions from here on are places in the order of acceptance, not a producer's own."""


class Oracle:
    """Applies updates one by one in order of acceptance, and of each the fields that are newer.

    Attributes:
        verdicts: what must be counted; `effective` are the applied and the superseded.
    """

    def __init__(self, rows: ExpectedRows) -> None:
        self._rows = {
            key: FieldFold(dict(zip(FIELDS, row, strict=False)), row[3] or 0)
            for key, row in rows.items()
        }
        self._clock = BY_CLOCK
        self.verdicts: Counter[str] = Counter()

    @property
    def rows(self) -> ExpectedRows:
        """The table as `read_orders` must find it."""
        return {
            key: (
                row["customer_id"],
                row["status"],
                row["total"],
                None if row.version >= BY_CLOCK else row.version,
            )
            for key, row in self._rows.items()
        }

    def take(self, updates: Iterable[OrderUpdate]) -> None:
        """Apply updates to orders that exist."""
        for update in updates:
            self._clock += 1
            self.verdicts["accepted"] += 1
            self.verdicts[self._apply(update)] += 1

    def _apply(self, update: OrderUpdate) -> str:
        version = self._clock if update.own_version is None else update.own_version
        return self._rows[update.order_id].take(version, given_fields(update))


def given_fields(update: OrderUpdate) -> dict[str, object]:
    """The fields that an update gives, with their values in the table."""
    values = {name: getattr(update, name) for name in FIELDS}
    return {name: value for name, value in values.items() if value is not None}


def make_rows(count: int, people: int = 500) -> ExpectedRows:
    """Orders 1 to `count`, dealt out to customers."""
    return {
        key: (key % people + 1, "new", Decimal(key % 1000) + Decimal("0.25"), 100)
        for key in range(1, count + 1)
    }


def make_updates(rows: ExpectedRows, count: int, seed: int) -> list[OrderUpdate]:
    """Updates as shops send them: most plain; some twice, some old, some piled up on one order."""
    dice = random.Random(seed)
    ids = sorted(rows)
    versioned, plain = ids[: len(ids) // 3], ids[len(ids) // 3 :]
    updates: list[OrderUpdate] = []
    while len(updates) < count:
        kind, version = dice.random(), 100 + len(updates)
        if kind < 0.15:
            updates += [_update(dice, dice.choice(versioned), version)] * 2
        elif kind < 0.25:
            updates.append(_update(dice, dice.choice(versioned), dice.randrange(version)))
        else:
            updates.append(_update(dice, dice.choice(plain[:20] if kind < 0.4 else plain), None))
    return updates[:count]


def _update(dice: random.Random, order_id: int, version: int | None) -> OrderUpdate:
    total = Decimal(dice.randrange(10_000_000)) / 100
    return OrderUpdate(
        order_id=order_id,
        total=dice.choice([total, None]),
        status=dice.choice(["paid", "shipped", "cancelled"]),
        customer_id=dice.choice([None] * 9 + [dice.randrange(1, 100)]),
        version=version,
    )


def write_orders(engine: sa.Engine, rows: ExpectedRows) -> None:
    """Put orders, and the customers that they name, into the empty tables."""
    people = sorted({row[0] for row in rows.values()})
    names = ("id", "customer_id", "status", "total", "version")
    with engine.begin() as connection:
        connection.execute(
            sa.insert(customers), [{"id": each, "name": f"Customer {each}"} for each in people]
        )
        lines = [dict(zip(names, (key, *row), strict=True)) for key, row in rows.items()]
        connection.execute(sa.insert(orders), lines)


def seed_orders(settings: Settings, rows: ExpectedRows) -> None:
    """Write orders like `write_orders`, with an engine of its own: for fixtures of a whole module."""
    engine = make_engine(settings, "orderworks-test")
    write_orders(engine, rows)
    engine.dispose()


def read_orders(engine: sa.Engine) -> ExpectedRows:
    """The whole orders table."""
    query = sa.select(*orders.c["id", "customer_id", "status", "total", "version"])
    with engine.connect() as connection:
        return {
            key: (who, how, what, None if when >= BY_CLOCK else when)
            for key, who, how, what, when in connection.execute(query)
        }


def differences(found: ExpectedRows, expected: ExpectedRows, shown: int = 5) -> list[str]:
    """The first orders that differ, for people."""
    keys: Sequence[int] = sorted(found.keys() | expected.keys())
    wrong = [key for key in keys if found.get(key) != expected.get(key)]
    lines = [f"{key}: {found.get(key)} instead of {expected.get(key)}" for key in wrong[:shown]]
    return [f"{len(wrong)} orders differ", *lines] if wrong else []


def read_verdicts(engine: sa.Engine) -> Counter[str]:
    """The verdicts that were counted, by the oracle's names; zeros are left out."""
    names = ("accepted", "applied", "superseded", "stale", "duplicate", "dead")
    sums = [sa.func.coalesce(sa.func.sum(update_shards.c[name]), 0) for name in names]
    parked = sa.select(sa.func.count()).select_from(parked_updates)
    with engine.connect() as connection:
        counted = dict(zip(names, connection.execute(sa.select(*sums)).one(), strict=True))
        counted["parked"] = connection.scalar(parked) or 0
    counted["effective"] = counted.pop("applied") + counted.pop("superseded")
    return Counter({name: int(number) for name, number in counted.items() if number})
