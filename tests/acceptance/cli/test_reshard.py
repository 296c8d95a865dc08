"""`orderworks reshard` with real workers, and the errors of processes with another number of shards."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.locks import Lock, try_lock
from orderworks.core.settings import Settings
from tests.support.commands import RunCommand
from tests.support.oracle import read_orders, write_orders
from tests.support.processes import CeleryProcess, eventually


@pytest.fixture(autouse=True)
def _worker_running(worker_with_beat: CeleryProcess) -> None:
    """A worker and beat, with the number of shards that is the default."""


def test_running_system_is_resharded_up_and_down(
    run: RunCommand, engine: sa.Engine, settings: Settings, worker_with_beat: CeleryProcess
) -> None:
    write_orders(engine, {key: (1, "new", Decimal(1), 0) for key in range(1, 9)})
    assert settings.update_shards == 2
    assert run("update", "3", "--total", "2").status == 0
    done = run("reshard", "4")
    assert (done.status, done.err) == (0, "")
    assert "has 4 shards now; it had 2" in done.out
    assert "Set UPDATE_SHARDS=4 on every host" in done.out
    refused = run("update", "3", "--total", "3")
    assert (refused.status, "set UPDATE_SHARDS=4" in refused.err) == (2, True)
    assert run("doctor").status == 1
    assert run("doctor", UPDATE_SHARDS="4").status == 0
    assert run("update", "3", "--total", "4", UPDATE_SHARDS="4").status == 0
    eventually(lambda: read_orders(engine)[3][2] == 4, 20, "workers do not see the new shard")
    eventually(
        lambda: "shard_count_mismatch" in worker_with_beat.said(), 20, "the worker did not log it"
    )
    assert run("reshard", "2", UPDATE_SHARDS="4").status == 0
    assert run("update", "3", "--total", "5").status == 0
    eventually(lambda: read_orders(engine)[3][2] == 5, 20)


def test_impossible_reshard_prints_its_reason(run: RunCommand, engine: sa.Engine) -> None:
    with engine.begin() as other:
        assert try_lock(other, Lock.RESHARD)
        done = run("reshard", "3")
    assert done.status == 1
    assert done.err == "orderworks: another `orderworks reshard` is running\n"
    assert run("reshard", "0").status == 2
