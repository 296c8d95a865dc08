"""Writes of one order apply in any order, in any batches and any number of times: the table is the same.

Each order of a test has a set of partial writes with distinct versions. They go through the stream, the
outbox and files, shuffled, some twice; some become dead letters and are replayed; processes are killed
between the steps.
"""

import csv
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from orderworks import outbox
from orderworks.core.redis import Redis
from orderworks.core.schema import customers, dead_updates, orders
from orderworks.core.settings import Settings
from orderworks.imports.chunk_attempt import ChunkAttempt
from orderworks.imports.finisher import Finisher
from orderworks.imports.importer import Importer
from orderworks.updates import parking
from orderworks.updates.dead_letters import DeadLetterFilter
from orderworks.updates.drain import Drain
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.outbox import OutboxSource
from orderworks.updates.replay import Replay
from orderworks.updates.stream import UpdateStream
from producer.imports.accept import accept_import
from producer.imports.options import ImportOptions
from tests.support.field_fold import FieldFold
from tests.support.parked import make_parked_due
from tests.support.processes import crash
from tests.support.types import AcceptUpdates, DrainAll

SETS_OF_WRITES = 50
"""Orders of a test; each has a set of its own."""

COLUMNS = ("id", "customer_id", "total", "status", "created_at", "version")

KILLED_AT: dict[str, list[tuple[object, str]]] = {
    "stream": [(parking, "settle_parked"), (Drain, "_invalidate"), (UpdateStream, "trim")],
    "outbox": [(parking, "settle_parked"), (Drain, "_invalidate")],
    "csv": [(ChunkAttempt, "finish"), (Finisher, "finish")],
    "jsonl": [(ChunkAttempt, "finish"), (Finisher, "finish")],
}
"""Functions in which a process is killed: before its commit, or between it and what follows."""


class Write(NamedTuple):
    """A write of one order: the fields that it gives, and how it is sent."""

    order_id: int
    version: int
    given: dict[str, Any]
    sent_by: str


def random_writes(dice: random.Random, order_id: int) -> list[Write]:
    """Between two and seven writes of an order; the first one is a row of a file, which creates it."""
    versions = dice.sample(range(1, 60), dice.randint(2, 7))
    ways = [
        "csv",
        *dice.choices(["stream", "stream", "outbox", "csv", "jsonl"], k=len(versions) - 1),
    ]
    return [
        Write(order_id, version, random_fields(dice, is_row=way in ("csv", "jsonl")), way)
        for version, way in zip(versions, ways, strict=True)
    ]


def random_fields(dice: random.Random, *, is_row: bool) -> dict[str, Any]:
    fields = {
        "customer_id": dice.randint(1, 4),
        "total": Decimal(dice.randrange(10_000)) / 100,
        "status": dice.choice(["paid", "shipped", "cancelled"]),
    }
    if is_row:
        fields["created_at"] = datetime(2026, 1, dice.randint(1, 28), tzinfo=UTC)
        left_out = [name for name in ("status", "created_at") if dice.random() < 0.5]
    else:
        left_out = dice.sample(sorted(fields), dice.randint(0, 2))
    return {name: value for name, value in fields.items() if name not in left_out}


class Shop:
    """Sends writes and applies them, with processes that are killed at times."""

    def __init__(
        self,
        dice: random.Random,
        engine: sa.Engine,
        importer: Importer,
        append: AcceptUpdates,
        drain: DrainAll,
        drain_outbox: Callable[[], object],
    ) -> None:
        self._dice, self._engine, self._importer = dice, engine, importer
        self._append, self._drain, self._drain_outbox = append, drain, drain_outbox
        self.killed = 0

    def send(self, way: str, writes: Sequence[Write], patch: pytest.MonkeyPatch) -> None:
        """Send the writes and apply them; the process may be killed once meanwhile."""
        apply = getattr(self, f"_by_{way}")(writes)
        if self._dice.random() < 0.4:
            place, name = self._dice.choice(KILLED_AT[way])
            with patch.context() as killing, suppress(KeyboardInterrupt):
                killing.setattr(place, name, crash)
                apply()
                self.killed -= 1
            self.killed += 1
        apply()

    def _by_stream(self, writes: Sequence[Write]) -> Callable[[], object]:
        self._append([_update(each) for each in writes])
        patience = self._dice.choice([0, 300])
        if self._dice.random() < 0.5:
            make_parked_due(self._engine)
        return lambda: self._drain(unknown_order_patience=patience)

    def _by_outbox(self, writes: Sequence[Write]) -> Callable[[], object]:
        with self._engine.begin() as connection:
            outbox.enqueue(connection, [_update(each) for each in writes])
        return self._drain_outbox

    def _by_csv(self, writes: Sequence[Write]) -> Callable[[], object]:
        content = io.StringIO()
        sheet = csv.DictWriter(content, COLUMNS)
        sheet.writeheader()
        sheet.writerows(_row(each) for each in writes)
        return self._import(content.getvalue().encode())

    def _by_jsonl(self, writes: Sequence[Write]) -> Callable[[], object]:
        lines = (json.dumps(_row(each), default=str) for each in writes)
        return self._import("\n".join(lines).encode())

    def _import(self, content: bytes) -> Callable[[], object]:
        importer = self._importer
        job = accept_import(
            content,
            ImportOptions(kind="orders", again=True),
            spool=importer.spool,
            stream=importer.stream,
            settings=importer.settings,
        )
        chunks = list(importer.plan(job.id))
        self._dice.shuffle(chunks)

        def load() -> None:
            waiting = list(chunks)
            for number in waiting:
                step = importer.load_chunk(job.id, number)
                waiting += step.chunks_to_nudge if step else []
            importer.finish(job.id)

        return load


def _update(write: Write) -> OrderUpdate:
    return OrderUpdate(order_id=write.order_id, version=write.version, **write.given)


def _row(write: Write) -> dict[str, Any]:
    given = {name: str(value) for name, value in write.given.items()}
    return {"id": write.order_id, "version": write.version, **given}


def steps(dice: random.Random, writes: Sequence[Write]) -> Iterator[tuple[str, list[Write]]]:
    """The writes, some of them twice, in random order and batches, each sent in one way."""
    shuffled = [*writes, *dice.sample(list(writes), len(writes) // 5)]
    dice.shuffle(shuffled)
    while shuffled:
        batch = [shuffled.pop() for _ in range(min(len(shuffled), dice.randint(1, 60)))]
        ways = sorted({each.sent_by for each in batch})
        dice.shuffle(ways)
        for way in ways:
            yield way, [each for each in batch if each.sent_by == way]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_table_is_the_fold_of_all_writes_by_field(
    seed: int,
    engine: sa.Engine,
    importer: Importer,
    updates: UpdateStream,
    cache: Redis,
    settings: Settings,
    accept: AcceptUpdates,
    drain: DrainAll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(seed)
    with engine.begin() as connection:
        connection.execute(sa.insert(customers), [{"id": key, "name": "x"} for key in range(1, 5)])
    writes = [
        each for order_id in range(1, SETS_OF_WRITES + 1) for each in random_writes(dice, order_id)
    ]
    drain_outbox = Drain(engine, OutboxSource(updates), cache, settings).run
    larger = settings.model_copy(update={"import_chunk_rows": 12})
    shop = Shop(dice, engine, replace(importer, settings=larger), accept, drain, drain_outbox)
    _dead_letter(engine, accept, drain, writes)
    for way, batch in steps(dice, writes):
        shop.send(way, batch, monkeypatch)
    _apply_what_waits(engine, updates, drain, drain_outbox)

    assert shop.killed > 0, "no process was killed"
    assert _table(engine) == {
        key: _folded([each for each in writes if each.order_id == key])
        for key in range(1, SETS_OF_WRITES + 1)
    }


def _dead_letter(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll, writes: Sequence[Write]
) -> None:
    """Send the updates of some orders before the orders exist, until they become dead letters."""
    accept(
        [_update(each) for each in writes if each.sent_by == "stream" and each.order_id % 5 == 0]
    )
    drain(unknown_order_patience=0)
    make_parked_due(engine)
    drain(unknown_order_patience=0)


def _apply_what_waits(
    engine: sa.Engine, updates: UpdateStream, drain: DrainAll, drain_outbox: Callable[[], object]
) -> None:
    """Replay the dead letters, and apply the parked updates: all orders exist by now."""
    with engine.connect() as connection:
        dead = connection.scalar(sa.select(sa.func.count()).select_from(dead_updates))
    assert dead, "no update waited for its order until it was dead-lettered"
    Replay(engine, updates, lambda _shard: None, rate=100_000).run(DeadLetterFilter())
    make_parked_due(engine)
    drain()
    drain_outbox()


def _folded(writes: Sequence[Write]) -> dict[str, Any]:
    fold = FieldFold({"status": "new"})
    for each in writes:
        fold.take(each.version, each.given)
    return {**fold.values, "version": fold.version}


def _table(engine: sa.Engine) -> dict[int, dict[str, Any]]:
    """The orders by id; without `created_at` where no write has given it."""
    names = [name for name in COLUMNS if name != "id"]
    query = sa.select(orders.c.id, *orders.c[tuple(names)], orders.c.field_versions[1])
    with engine.connect() as connection:
        table = {}
        for order_id, *values, given in connection.execute(query):
            table[order_id] = dict(zip(names, values, strict=True))
            if given == -1:
                del table[order_id]["created_at"]
        return table
