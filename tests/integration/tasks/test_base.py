"""Claims of beat's slots by tasks."""

from collections.abc import Iterator

import pytest

from orderworks.core.settings import Settings
from tasks.base import claim_slot
from tests.support.read_only import fill_pool_with_read_only_sessions
from worker import lifecycle
from worker.beat.schedule import Slot
from worker.resources import WorkerResources


@pytest.fixture
def resources(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerResources]:
    """The resources of this process, as those of a worker's child."""
    made = WorkerResources.start(settings)
    monkeypatch.setattr(lifecycle, "_process", made)
    yield made
    made.stop()


def test_slot_is_claimed_with_read_only_sessions(resources: WorkerResources) -> None:
    fill_pool_with_read_only_sessions(resources.engine)
    assert claim_slot(Slot("sweep", 60), "tasks.upkeep.sweep", "message")
