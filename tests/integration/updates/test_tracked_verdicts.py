"""Verdicts of tracked updates: the first one is published after its commit, also after a crash."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.keys import update_nudge, update_verdict
from orderworks.core.redis import Redis
from orderworks.core.schema import tracked_verdicts
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.imports.spool import Spool
from orderworks.maintenance.sweep import find_lost_work
from orderworks.updates.messages import OrderUpdate, UpdateOutcome, Verdict
from orderworks.updates.stream import UpdateStream
from tests.support.parked import make_parked_due
from tests.support.processes import crash
from tests.support.types import DrainAll, WriteRows

Track = Callable[[OrderUpdate], str]
ReadOutcome = Callable[[str], UpdateOutcome | None]


@pytest.fixture(autouse=True)
def order_two(seed: WriteRows) -> None:
    """Order 2, with version 5."""
    seed({2: (1, "new", Decimal("1.00"), 5)})


@pytest.fixture
def track(updates: UpdateStream) -> Track:
    """Append a tracked update to shard 0; return its entry id."""
    return lambda update: updates.append(0, [update.encode()], tracked=True).ids[0]


@pytest.fixture
def published(stream: Redis) -> ReadOutcome:
    """Return the published outcome of an entry."""

    def read(entry_id: str) -> UpdateOutcome | None:
        kept = stream.get(update_verdict(0, entry_id))
        return None if kept is None else UpdateOutcome.decode(bytes(kept))  # type: ignore[arg-type]

    return read


def count_unpublished(engine: sa.Engine) -> int:
    """Return the number of unpublished verdicts."""
    with engine.connect() as connection:
        query = sa.select(sa.func.count()).select_from(tracked_verdicts)
        return connection.execute(query).scalar_one()


def test_each_tracked_update_gets_its_own_verdict(
    track: Track, published: ReadOutcome, drain: DrainAll, engine: sa.Engine, stream: Redis
) -> None:
    ids = [track(OrderUpdate(order_id=2, total=1, version=version)) for version in (4, 5, 6, 7, 7)]
    ids.append(track(OrderUpdate(order_id=4, status="paid")))
    drain(unknown_order_patience=0)
    verdicts = [outcome and outcome.verdict for outcome in map(published, ids)]
    assert verdicts == ["stale", "duplicate", "superseded", "applied", "duplicate", None]
    make_parked_due(engine)
    drain(unknown_order_patience=0)
    assert published(ids[-1]) == UpdateOutcome(Verdict.DEAD, "order 4 does not exist")
    assert count_unpublished(engine) == 0
    assert 0 < stream.ttl(update_verdict(0, ids[0])) <= 60


def test_untracked_update_leaves_no_verdict(
    updates: UpdateStream, drain: DrainAll, stream: Redis
) -> None:
    updates.append(0, [OrderUpdate(order_id=2, total=1).encode()])
    assert drain()[0].verdicts == {"applied": 1}
    assert list(stream.scan_iter("orders:verdict:*")) == []


@pytest.mark.parametrize("fatal", ["publish_outcomes", "trim"])
def test_verdict_of_drain_killed_after_commit_is_published_later(
    track: Track,
    published: ReadOutcome,
    drain: DrainAll,
    engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    fatal: str,
) -> None:
    entry = track(OrderUpdate(order_id=2, total=9))
    with monkeypatch.context() as patch:
        patch.setattr(UpdateStream, fatal, crash)
        with pytest.raises(KeyboardInterrupt):
            drain()
    assert count_unpublished(engine) == 1, "the fault happened: it is committed, and may come again"
    drain()
    assert published(entry) == UpdateOutcome(Verdict.APPLIED), "not the duplicate that it is by now"
    assert count_unpublished(engine) == 0


def test_sweep_finds_unpublished_verdict_of_a_parked_update(
    track: Track,
    published: ReadOutcome,
    drain: DrainAll,
    engine: sa.Engine,
    updates: UpdateStream,
    stream: Redis,
    cache: Redis,
    settings: Settings,
    seed: WriteRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = track(OrderUpdate(order_id=4, status="paid"))
    drain()
    seed({4: (2, "new", Decimal("1.00"), 0)})
    make_parked_due(engine)
    with monkeypatch.context() as patch:
        patch.setattr(UpdateStream, "publish_outcomes", crash)
        with pytest.raises(KeyboardInterrupt):
            drain()
    assert count_unpublished(engine) == 1, (
        "the fault happened: it is applied, and its verdict is not published"
    )
    with engine.begin() as connection:
        past = tracked_verdicts.c.given_at - timedelta(minutes=1)
        connection.execute(sa.update(tracked_verdicts).values(given_at=past))
    stream.delete(update_nudge(0))
    importer = Importer(engine, Spool(settings.spool), stream, cache, settings)
    forgotten = find_lost_work(engine, updates, importer)
    assert forgotten
    assert forgotten.shards == [0]
    drain()
    assert published(entry) == UpdateOutcome(Verdict.APPLIED)
