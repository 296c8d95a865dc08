"""Sessions of others that hold locks are named by status, doctor and the metrics."""

import pytest
import sqlalchemy as sa
from prometheus_client import generate_latest

from orderworks.core import lock_holders
from orderworks.core.lock_holders import blocking_sessions
from orderworks.core.settings import Settings
from orderworks_app.observability.metrics import Metrics
from orderworks_app.observability.snapshot import read_database
from tests.support.chunk_locks import held_by


@pytest.fixture(autouse=True)
def idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session counts as idle at once."""
    monkeypatch.setattr(lock_holders, "IDLE_SECONDS", 0)


def test_an_idle_session_with_locks_is_named(
    engine: sa.Engine, other: sa.Engine, settings: Settings
) -> None:
    from orderworks_app.observability.doctor import run_checks  # noqa: PLC0415 - reads the settings

    with held_by(other, "UPDATE orders SET status = 'lunch' WHERE id = 2") as holder:
        pid = holder.scalar(sa.text("SELECT pg_backend_pid()"))
        with engine.connect() as connection:
            (session,) = read_database(connection).blocking
        assert (session.pid, session.application) == (pid, "psql-lunch")
        assert "orders" in session.tables
        assert session.since is not None
        (finding,) = [
            each for each in run_checks(settings) if each.check.startswith("no other session")
        ]
        assert not finding.ok
        assert f"session {pid} (application psql-lunch" in finding.observed
        assert f"pg_terminate_backend({pid})" in finding.remedy
        metrics = generate_latest(Metrics.from_settings(settings)).decode()
        assert "orderworks_blocking_sessions 1.0" in metrics
    with engine.connect() as connection:
        assert not blocking_sessions(connection)


def test_a_session_that_only_reads_blocks_nothing(engine: sa.Engine, other: sa.Engine) -> None:
    with held_by(other, "SELECT FROM orders"), engine.connect() as connection:
        assert not blocking_sessions(connection)
