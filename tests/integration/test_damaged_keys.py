"""Damaged values in Redis: each is replaced, passed over, or named with a remedy."""

from collections.abc import Collection
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.errors import ConfigurationError, OrderworksError, WaitTimeout
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.maintenance.sweep import find_lost_work
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import TopCustomers, compute, published_report
from orderworks.reports.windows import Window
from orderworks.updates.messages import OrderUpdate, Verdict
from orderworks.updates.shard_layout import read_layout
from orderworks.updates.stream import UpdateStream
from producer import Producer
from producer.imports.accept import accept_import
from producer.imports.job import ImportJob
from producer.imports.options import ImportOptions
from tests.support.imports import SEVEN, summary_of
from tests.support.types import WriteRows

NO_LAYOUTS = [b"banana", b"", b"-1", b"0", b"2>", b"2>x", b"9999", b"1" * 40, b"\xff"]


@pytest.mark.parametrize("shard", [0, 1])
@pytest.mark.parametrize("stored", NO_LAYOUTS)
def test_damaged_layout_is_named_to_the_producer(
    producer: Producer, stream: Redis, stored: bytes, shard: int
) -> None:
    producer.update(OrderUpdate(order_id=2, total=1))
    producer.update(OrderUpdate(order_id=3, total=1))
    stream.set(keys.update_layout(shard), stored)
    with pytest.raises(ConfigurationError, match="not a number of shards: delete that key"):
        producer.update(OrderUpdate(order_id=2 + shard, total=1))
    stream.delete(keys.update_layout(shard))
    producer.update(OrderUpdate(order_id=2 + shard, total=1))


def test_workers_go_on_with_a_damaged_layout(
    importer: Importer, updates: UpdateStream, stream: Redis
) -> None:
    updates.append(0, [OrderUpdate(order_id=2, total="1").encode()])
    import_id = accept_seven(importer)
    for is_text in (True, False):
        stream.delete(LAYOUT)
        if is_text:
            stream.set(LAYOUT, b"banana")
        else:
            stream.rpush(LAYOUT, b"x")
        with pytest.raises(ConfigurationError, match="not a number of shards"):
            read_layout(stream)
        assert not importer.must_yield()
        assert find_lost_work(importer.engine, updates, importer)
    assert importer.load_chunk(import_id, importer.plan(import_id)[0])


LAYOUT = keys.update_layout(0)


def accept_seven(importer: Importer) -> str:
    """Accept a file of seven customers; the id of the import."""
    options = ImportOptions(kind="customers", again=True)
    return accept_import(
        SEVEN, options, spool=importer.spool, stream=importer.stream, settings=importer.settings
    ).id


def test_damaged_verdict_is_an_error_of_its_receipt(producer: Producer, stream: Redis) -> None:
    receipt = producer.update(OrderUpdate(order_id=2, total=1), track=True)
    stream.set(keys.update_verdict(0, receipt.entry), b"{")
    with pytest.raises(OrderworksError, match="the verdict of update .* cannot be read"):
        receipt.wait(timeout=5)
    stream.set(keys.update_verdict(0, receipt.entry), b'{"verdict":"applied"}')
    assert receipt.wait(timeout=5) is Verdict.APPLIED


@pytest.mark.parametrize("damage", ["body", "fence", "large fence", "type"])
def test_damaged_progress_is_replaced_by_the_next_step(importer: Importer, damage: str) -> None:
    import_id = accept_seven(importer)
    numbers, key = importer.plan(import_id), keys.import_progress(import_id)
    if damage == "type":
        importer.stream.delete(key)
        importer.stream.set(key, b"x")
    elif damage == "body":
        importer.stream.hset(key, "body", b'{"status":')
    else:
        importer.stream.hset(key, "fence", b"zzz" if damage == "fence" else b"9" * 30)
    job = ImportJob(import_id, importer.stream)
    if damage in ("body", "type"):
        assert job.progress() is None
        with pytest.raises(WaitTimeout):
            job.wait(timeout=0.1)
    for number in numbers:
        importer.load_chunk(import_id, number)
    ended = job.wait(timeout=1)
    assert (ended["status"], ended["applied"]) == ("done", 7)
    assert ended == summary_of(importer, import_id)


LINES = ("lines", "lines:10", "lines:100")

FIELDS: dict[str, dict[str, bytes]] = {
    "pass": {"pass": b"zzz"},
    "large pass": {"pass": b"1" + b"0" * 30},
    "head": {"head": b"\xff{"},
    "head without a zone": {
        "head": b'{"as_of":"2026-01-01T00:00:00","watermark":"","seconds":1,"lines":1,"complete":true}'
    },
    "lines": dict.fromkeys(LINES, b"[1]"),
}
"""Damaged fields of a published report."""


@pytest.mark.parametrize("damage", ["another type", *FIELDS])
def test_damaged_report_is_computed_until_the_next_refresh_publishes_it(
    engine: sa.Engine, cache: Redis, settings: Settings, seed: WriteRows, damage: str
) -> None:
    seed({1: (7, "new", Decimal(10), 1), 2: (8, "new", Decimal(20), 1)})
    refresh(engine, cache, no_invalidation, 10)
    published = published_report(cache, Window.ALL)
    assert published
    key = keys.top_customers_report(Window.ALL)
    if damage in FIELDS:
        for field, value in FIELDS[damage].items():
            cache.hset(key, field, value)
    else:
        cache.delete(key)
        cache.rpush(key, b"x")
    rows = compute(engine, Window.ALL, 2).rows
    assert TopCustomers.from_settings(settings).read(Window.ALL, 2).rows == rows
    seed({3: (9, "new", Decimal(30), 1)})
    for _time in range(2):
        refresh(engine, cache, no_invalidation, 10)
        healed = published_report(cache, Window.ALL)
        assert healed
        assert healed.rows == compute(engine, Window.ALL, 10).rows
        assert healed.as_of > published.as_of


def no_invalidation(_customers: Collection[int]) -> None:
    """Leave cached reads as they are."""
