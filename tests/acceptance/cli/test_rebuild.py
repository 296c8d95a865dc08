"""`orderworks rebuild`, the check that beat starts, and their results in other commands."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks import cache as cached
from orderworks.core.redis import Redis
from orderworks.core.routing import QUEUE_OF, TaskName
from orderworks.core.schema import rollup_checks
from orderworks.core.settings import Settings
from orderworks.reports.refresh import refresh
from tests.support.celery_inspection import run as run_sql
from tests.support.commands import RunCommand
from tests.support.oracle import ExpectedRows, seed_orders
from tests.support.processes import CeleryProcess, eventually

STATUSES = ("new", "paid", "refunded", "cancelled")
ROWS: ExpectedRows = {
    key: (1 + key % 7, STATUSES[key % 4], Decimal(key), 0) for key in range(1, 81)
}
COUNTED = {"customer_daily": 0, "customer_totals": 0, "customer_windows": 0}

Checks = list[sa.Row[Any]]


@pytest.fixture(scope="module", autouse=True)
def _orders(settings: Settings) -> None:
    seed_orders(settings, ROWS)


@pytest.fixture
def right(run: RunCommand, engine: sa.Engine, cache: Redis) -> None:
    """Correct rollups, with `cancelled` uncounted and the log folded."""
    # A refresh of the worker may be running.
    eventually(
        lambda: refresh(engine, cache, lambda ids: cached.invalidate(cache, ids), depth=10), 10
    )
    assert run("rebuild").status == 0
    run_sql(engine, "DELETE FROM rollup_checks")


@pytest.fixture
def checks(engine: sa.Engine) -> Callable[[], Checks]:
    """The recorded checks."""

    def read() -> Checks:
        with engine.connect() as connection:
            query = sa.select(rollup_checks).order_by(rollup_checks.c.id)
            return list(connection.execute(query))

    return read


def part(run: RunCommand, name: str, **environment: str) -> dict[str, Any]:
    """A part in the output of `orderworks status`."""
    parts = json.loads(run("status", "--json", **environment).out)["parts"]
    found: dict[str, Any] = next(each for each in parts if each["name"] == name)
    return found


def test_rebuild_reports_no_drift(run: RunCommand, right: None) -> None:
    done = run("rebuild")
    assert (done.status, done.err) == (0, "")
    assert "Compared 60 orders of 7 customers: no drift." in done.out
    assert "no drift" in part(run, "rollups")["detail"]


def test_rebuild_counts_and_corrects_drifted_rows(
    run: RunCommand, right: None, engine: sa.Engine
) -> None:
    run_sql(engine, "UPDATE customer_daily SET total = total + 1 WHERE customer_id < 3")
    for _twice in range(2):
        found = run("rebuild", "--check")
        assert found.status == 1
        assert "2 rows of customer_daily had drifted" in found.out
        assert "Nothing was changed: run `orderworks rebuild` to correct these rows." in found.out
    assert json.loads(run("rebuild", "--check", "--json").out)["drift"]["customer_daily"] == 2
    done = run("rebuild", "--json")
    document = json.loads(done.out)
    assert document.pop("seconds") > 0
    assert document == {
        "orders": 60,
        "customers": 7,
        "drift": COUNTED | {"customer_daily": 2},
        "recounted_for": [],
        "recounted": None,
        "uncounted_statuses": {"in_force": ["cancelled"], "wanted": ["cancelled"]},
    }
    assert (done.status, done.err) == (0, "")
    assert run("rebuild", "--check").status == 0
    rollups = part(run, "rollups")
    assert rollups["healthy"]
    assert "2 rows had drifted and were corrected" in rollups["detail"]


def test_changed_excluded_statuses_are_reported_and_applied_by_rebuild(
    run: RunCommand, right: None, engine: sa.Engine
) -> None:
    other = {"UNCOUNTED_STATUSES": "cancelled,refunded"}
    rollups = part(run, "rollups", **other)
    assert not rollups["healthy"]
    assert rollups["detail"] == (
        "reports exclude cancelled; UNCOUNTED_STATUSES is cancelled, refunded: "
        "run `orderworks rebuild`"
    )
    assert run("doctor", **other).status == 1
    checked = run("rebuild", "--check", **other)
    assert checked.status == 1
    assert "run `orderworks rebuild` to apply it" in checked.out
    done = run("rebuild", **other)
    assert done.status == 0
    assert "no drift" in done.out
    assert "Recounted 40 orders of 7 customers for refunded" in done.out
    assert part(run, "rollups", **other)["healthy"]
    assert run("doctor", **other).status == 0
    everything = run("rebuild", "--json", UNCOUNTED_STATUSES="")
    assert json.loads(everything.out)["orders"] == len(ROWS)


def test_impossible_excluded_status_is_a_configuration_error(run: RunCommand) -> None:
    done = run("rebuild", UNCOUNTED_STATUSES="cancelled,,refunded")
    assert done.status == 2
    assert done.err.startswith("orderworks: UNCOUNTED_STATUSES: give statuses of 1 to 64")


def test_scheduled_check_runs_once_and_records_its_result(
    right: None,
    settings: Settings,
    engine: sa.Engine,
    worker: CeleryProcess,
    checks: Callable[[], Checks],
) -> None:
    run_sql(engine, "UPDATE customer_totals SET total = total + 1 WHERE customer_id > 4")
    send(settings)
    eventually(lambda: "rollups_checked" in worker.said(), 20, "the check did not finish")
    [found] = checks()
    assert (found.orders, found.customers, found.customer_totals) == (60, 7, 3)
    sent = [send(settings), send(settings, found.id, 5), send(settings, found.id + 1, 5)]
    eventually(lambda: all(f"[{each}] succeeded" in worker.said() for each in sent), 20)
    assert checks() == [found]


def send(settings: Settings, *arguments: int) -> str:
    """Send the message of a check as beat does, or of a slice of one; the message's id."""
    queue = QUEUE_OF[TaskName.CHECK_ROLLUPS].value
    with Celery(broker=settings.broker, set_as_current=False) as sender:
        sent = sender.send_task(TaskName.CHECK_ROLLUPS.value, args=arguments, queue=queue)
    return str(sent.id)
