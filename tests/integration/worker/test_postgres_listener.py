"""The listener of a worker: which sessions it keeps."""

import threading

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from tests.support.processes import eventually
from tests.support.read_only import new_sessions_are_read_only
from worker import postgres_listener
from worker.postgres_listener import ListenerNudges, listen

_LISTENERS = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'orderworks-listener:%'"
)
_KEPT = f"{_LISTENERS} AND backend_start < clock_timestamp() - interval '1 s'"


def test_listener_replaces_a_session_that_is_read_only(
    engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_listener, "RECONNECT_PAUSE", 0.05)

    def pids(query: str) -> set[int]:
        with engine.connect() as connection:
            return set(connection.scalars(sa.text(query)))

    stopped = threading.Event()
    nudges = ListenerNudges(lambda: None, None)
    thread = threading.Thread(target=listen, args=(settings, nudges, stopped), daemon=True)
    try:
        with new_sessions_are_read_only(engine):
            thread.start()
            first = eventually(lambda: pids(_LISTENERS), 10, "it does not connect")
            eventually(lambda: pids(_LISTENERS) - first, 10, "it keeps a read-only session")
        eventually(lambda: pids(_KEPT) - first, 10, "it keeps no session that may write")
    finally:
        stopped.set()
        thread.join(10)
