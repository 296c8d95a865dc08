"""`orderworks beat`: the schedule as people see it, and their changes to it."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.locks import Lock, try_lock
from tests.support.commands import RunCommand
from tests.support.processes import CeleryProcess, eventually
from worker.beat import entries
from worker.beat.entries import BeatEntry

SOON = 8
"""Seconds in which a change takes effect: a poll and a tick of 2 s each, and a worker."""


def configured() -> list[str]:
    """Return the names of the configured entries."""
    from celeryconfig import beat_schedule  # noqa: PLC0415 - reads the environment

    return sorted(beat_schedule)


@pytest.fixture(autouse=True)
def _beat_registered(engine: sa.Engine, worker_with_beat: CeleryProcess) -> None:
    """A worker, and a beat that has registered its entries."""
    assert not worker_with_beat.has_ended()

    def is_known() -> bool:
        with engine.connect() as connection:
            return len(entries.read_entries(connection)) >= len(configured())

    eventually(is_known, 10, "beat registers nothing")


def entry(engine: sa.Engine, name: str) -> BeatEntry:
    """Return an entry with its state."""
    with engine.connect() as connection:
        return entries.read_entry(connection, name)


def wait_for_runs(engine: sa.Engine, name: str, more: int, within: float = SOON) -> None:
    """Wait until it was run this many more times."""
    wanted = entry(engine, name).runs + more
    eventually(lambda: entry(engine, name).runs >= wanted, within, f"{name} is not run")


def json_of(run: RunCommand, *arguments: str) -> Any:  # noqa: ANN401 - of any shape
    """Return the JSON output of a command."""
    done = run("beat", *arguments, "--json")
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_entries_are_listed_with_their_task_and_period(run: RunCommand) -> None:
    shown = run("beat").out
    assert all(name in shown for name in configured())
    assert "tasks.upkeep.sweep" in shown
    listed = {each["entry"]: each["every"] for each in json_of(run)}
    assert sorted(listed) == configured()
    assert (listed["sweep"], listed["purge-expired"]) == (1, 86400)


def test_changed_period_takes_effect_within_seconds_and_default_restores_it(
    run: RunCommand, engine: sa.Engine
) -> None:
    assert json_of(run, "set", "purge-expired", "--every", "1")["every"] == 1
    wait_for_runs(engine, "purge-expired", 3)
    changed = json_of(run, "set", "purge-expired", "--default")
    assert (changed["every"], changed["configured"]) == (86400, 86400)
    before = entry(engine, "purge-expired").runs
    wait_for_runs(engine, "sweep", SOON, within=3 * SOON)
    assert entry(engine, "purge-expired").runs <= before + 1


def test_paused_entry_runs_only_by_explicit_command_until_resumed(
    run: RunCommand, engine: sa.Engine
) -> None:
    assert json_of(run, "pause", "refresh-top-customers")["paused"] is True
    assert "paused" in run("beat").out
    before = entry(engine, "refresh-top-customers").runs
    wait_for_runs(engine, "sweep", 5)
    assert entry(engine, "refresh-top-customers").runs == before
    assert json_of(run, "run", "refresh-top-customers")["entry"] == "refresh-top-customers"
    eventually(lambda: entry(engine, "refresh-top-customers").runs == before + 1, SOON)
    json_of(run, "resume", "refresh-top-customers")
    wait_for_runs(engine, "refresh-top-customers", 2)


def test_status_reports_each_entry(run: RunCommand, engine: sa.Engine) -> None:
    wait_for_runs(engine, "sweep", 1)
    json_of(run, "pause", "refresh-top-customers")
    parts = {each["name"]: each for each in json.loads(run("status", "--json").out)["parts"]}
    json_of(run, "resume", "refresh-top-customers")
    assert all(parts[f"beat {name}"]["healthy"] for name in configured())
    assert "every 1 s" in parts["beat sweep"]["detail"]
    assert "paused" in parts["beat refresh-top-customers"]["detail"]


def test_status_shows_error_of_failed_entry(run: RunCommand, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE update_shards RENAME TO renamed"))
    try:
        eventually(lambda: entry(engine, "sweep").has_failed, SOON, "it does not fail")
        parts = {each["name"]: each for each in json.loads(run("status", "--json").out)["parts"]}
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE renamed RENAME TO update_shards"))
    assert "failed since: ProgrammingError" in parts["beat sweep"]["detail"]
    eventually(lambda: not entry(engine, "sweep").has_failed, SOON, "it does not succeed again")


def test_run_that_finds_the_lock_taken_is_not_recorded_as_success(engine: sa.Engine) -> None:
    with engine.begin() as other:
        assert eventually(lambda: try_lock(other, Lock.SWEEP), SOON)
        wait_for_runs(engine, "sweep", 2)
        before = entry(engine, "sweep").succeeded_at
        wait_for_runs(engine, "sweep", 2)
        assert entry(engine, "sweep").succeeded_at == before
    eventually(lambda: entry(engine, "sweep").succeeded_at != before, SOON, "none succeeds")


@pytest.mark.parametrize(
    "arguments", [("pause",), ("resume",), ("run",), ("set", "--every", "5"), ("set", "--default")]
)
def test_unknown_entry_error_is_one_line_listing_known_entries(
    run: RunCommand, arguments: tuple[str, ...]
) -> None:
    done = run("beat", arguments[0], "sweeep", *arguments[1:])
    assert (done.status, done.out) == (2, "")
    assert done.err == f"orderworks: beat has no entry 'sweeep'; it has {', '.join(configured())}\n"


@pytest.mark.parametrize(
    "arguments", [(), ("--every", "0"), ("--every", "-1"), ("--every", "5", "--default")]
)
def test_invalid_period_is_a_usage_error(run: RunCommand, arguments: tuple[str, ...]) -> None:
    assert run("beat", "set", "sweep", *arguments).status == 2


def test_run_reports_failure_when_broker_is_unavailable() -> None:
    command = [sys.executable, "-m", "orderworks_app", "beat", "run", "sweep"]
    environment = {**os.environ, "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the broker accepted no message" in done.stderr
