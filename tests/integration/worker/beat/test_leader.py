"""Leadership among beats: one leads, and another one takes over when the leader's session ends."""

import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from orderworks.core.database import make_engine
from orderworks.core.settings import Settings
from tests.support.processes import eventually
from worker.beat import leader
from worker.beat.leader import LeaderLock

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"

SESSIONS = """
SELECT backend_xid IS NULL AND backend_xmin IS NULL FROM pg_stat_activity
 WHERE application_name LIKE 'orderworks-beat:%' AND state = 'idle in transaction'
   AND datname = current_database()
"""

CUT_OFF = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name LIKE 'orderworks-beat:%' AND state = 'idle in transaction'
   AND datname = current_database()
"""


@pytest.fixture
def new_lock(settings: Settings) -> Iterator[Callable[[], LeaderLock]]:
    """Make the lock of one more beat."""
    engines = list[sa.Engine]()

    def make() -> LeaderLock:
        engines.append(make_engine(settings, "orderworks-beat"))
        return LeaderLock(engines[-1])

    yield make
    for each in engines:
        each.dispose()


def test_one_of_two_beats_leads_until_it_releases(new_lock: Callable[[], LeaderLock]) -> None:
    first, second = new_lock(), new_lock()
    assert [first.acquire_or_renew(), second.acquire_or_renew()] == [True, False]
    assert [first.acquire_or_renew(), second.acquire_or_renew()] == [True, False], "it renews"
    assert (first.is_held(), second.is_held()) == (True, False)
    first.release()
    first.release()
    assert not first.is_held()
    assert second.acquire_or_renew()
    assert not first.acquire_or_renew()
    second.release()


def test_leader_whose_session_was_ended_is_succeeded_and_follows(
    new_lock: Callable[[], LeaderLock], engine: sa.Engine
) -> None:
    first, second = new_lock(), new_lock()
    first.acquire_or_renew()
    with engine.connect() as connection:
        assert connection.scalar(sa.text(CUT_OFF)) == 1
    assert eventually(second.acquire_or_renew, 5, "the lock is not released")
    assert not first.acquire_or_renew()
    assert not first.is_held()
    second.release()
    assert first.acquire_or_renew(), "it can lead again"
    first.release()


def test_silent_leader_loses_the_lock_and_stops_leading_before(
    new_lock: Callable[[], LeaderLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = sa.text("SET LOCAL idle_in_transaction_session_timeout = '1s'")
    monkeypatch.setattr(leader, "MAX_IDLE", 1)
    monkeypatch.setattr(leader, "_BOUND_IDLE", bound)
    first, second = new_lock(), new_lock()
    first.acquire_or_renew()
    assert first.is_held()
    started = time.monotonic()
    eventually(second.acquire_or_renew, 5, "no takeover")
    assert time.monotonic() - started > 0.9
    assert not first.is_held(), "by its own clock, without asking the server"
    second.release()


def test_leader_session_holds_back_no_vacuum(
    new_lock: Callable[[], LeaderLock], engine: sa.Engine
) -> None:
    lock = new_lock()
    lock.acquire_or_renew()
    lock.acquire_or_renew()
    with engine.connect() as connection:
        assert connection.scalars(sa.text(SESSIONS)).all() == [True]
    lock.release()


def test_lock_is_not_held_while_postgresql_is_unavailable(settings: Settings) -> None:
    engine = make_engine(settings.model_copy(update={"database_url": NOWHERE}), "orderworks-beat")
    lock = LeaderLock(engine)
    with pytest.raises(sa.exc.OperationalError):
        lock.acquire_or_renew()
    assert not lock.is_held()
