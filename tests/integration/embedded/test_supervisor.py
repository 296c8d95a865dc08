"""The supervisor with small real processes: order, health, restarts, stops, one-shots."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orderworks_app.embedded import health, service_runner
from orderworks_app.embedded.home import Home, open_home
from orderworks_app.embedded.process import is_alive
from orderworks_app.embedded.service import Service, StartStage
from orderworks_app.embedded.service_runner import ServiceRunner, ServiceState, StartFailed
from orderworks_app.embedded.supervisor import StopRequest, Supervisor
from tests.support.processes import eventually

READY_UNTIL_STOPPED = "echo ready; exec sleep 600"


class Record:
    """A watcher that records all changes of state, with the pid at that time."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ServiceState, float]] = []
        self.pids: dict[str, int] = {}

    def changed(self, runner: ServiceRunner, /) -> None:
        """Record the state."""
        self.events.append((runner.service.name, runner.state, time.monotonic()))
        if runner.identity:
            self.pids[runner.service.name] = runner.identity.pid

    def tick(self, _runners: Sequence[ServiceRunner], /) -> None:
        """Do nothing."""

    def times(self, name: str, state: ServiceState) -> list[float]:
        """Times at which the service entered that state."""
        return [at for *entry, at in list(self.events) if entry == [name, state]]

    def order(self, *states: ServiceState) -> list[str]:
        """The services in the order in which they entered any of these states."""
        return [name for name, entered, _ in self.events if entered in states]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


def service(
    home: Home,
    name: str,
    script: str,
    stage: StartStage = StartStage.SERVERS,
    **fields: Any,  # noqa: ANN401 - of Service
) -> Service:
    """A service that runs a shell script, healthy once that has printed `ready`."""
    defaults = {"is_healthy": health.logs_phrase("ready"), "stop_timeout": 5.0, **fields}
    return Service(
        name=name,
        stage=stage,
        command=("/bin/sh", "-c", script),
        command_mark="",
        environment={"PATH": os.defpath},
        folder=home.folder,
        **defaults,
    )


@contextmanager
def supervised(home: Home, *services: Service) -> Iterator[Record]:
    """The services under a supervisor in a thread, all ready when the block begins."""
    record, request = Record(), StopRequest()
    supervisor = Supervisor(home, services, {}, record, request)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        eventually(lambda: supervisor.is_up or not thread.is_alive(), 10)
        yield record
    finally:
        request.requested = True
        thread.join(timeout=30)
    assert not thread.is_alive()


def run_to_its_end(home: Home, *services: Service) -> Record:
    """Run a supervisor whose start is expected to fail."""
    record = Record()
    Supervisor(home, services, {}, record, StopRequest()).run()
    return record


def test_stage_starts_after_the_previous_is_ready_and_stops_before_it(home: Home) -> None:
    slow = service(home, "slow", "sleep 0.3; " + READY_UNTIL_STOPPED)
    with supervised(
        home, slow, service(home, "late", READY_UNTIL_STOPPED, StartStage.SERVICES)
    ) as record:
        assert (
            record.times("late", ServiceState.STARTING)[0]
            >= record.times("slow", ServiceState.READY)[0]
        )
    assert record.order(ServiceState.STOPPED) == ["late", "slow"]


def test_a_one_shot_ends_before_the_next_stage_starts(home: Home) -> None:
    once = service(
        home, "once", "sleep 0.2", StartStage.MIGRATIONS, is_healthy=health.never, one_shot=True
    )
    with supervised(
        home, once, service(home, "late", READY_UNTIL_STOPPED, StartStage.SERVICES)
    ) as record:
        assert (
            record.times("late", ServiceState.STARTING)[0]
            >= record.times("once", ServiceState.DONE)[0]
        )
    assert record.order(ServiceState.STARTING).count("once") == 1


def test_failed_one_shot_reports_output_and_stops_others(home: Home) -> None:
    once = service(home, "once", "echo because; exit 3", StartStage.MIGRATIONS, one_shot=True)
    server = service(home, "server", READY_UNTIL_STOPPED)
    with pytest.raises(
        StartFailed, match=r"(?s)once did not start: .*exited with status 3.*because"
    ):
        run_to_its_end(home, server, once)
    assert not home.state_file.exists()


def test_service_that_cannot_be_started_is_named(home: Home) -> None:
    absent = Service(
        name="absent",
        stage=StartStage.SERVERS,
        command=("/nowhere/program",),
        command_mark="",
        is_healthy=health.never,
        environment={},
        folder=home.folder,
    )
    with pytest.raises(
        StartFailed, match="absent did not start: its command cannot be run: No such"
    ):
        run_to_its_end(home, absent)


def test_service_killed_before_it_is_ready_is_started_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "FIRST_DELAY", 0.05)
    script = "echo x >>starts; test $(wc -l <starts) -gt 2 || kill -9 $$; " + READY_UNTIL_STOPPED
    with supervised(home, service(home, "unlucky", script)) as record:
        assert len(record.times("unlucky", ServiceState.RESTARTING)) == 2
        assert len(record.times("unlucky", ServiceState.READY)) == 1


def test_service_killed_at_each_of_its_first_starts_is_given_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "FIRST_DELAY", 0.05)
    doomed = service(home, "doomed", "echo x >>starts; kill -9 $$")
    with pytest.raises(StartFailed, match="doomed did not start: it was killed by signal 9"):
        run_to_its_end(home, doomed)
    assert len((home.folder / "starts").read_text("utf-8").split()) == service_runner.FIRST_STARTS


def test_service_never_ready_fails_after_its_deadline(home: Home) -> None:
    silent = service(home, "silent", "echo hm; exec sleep 600", deadline=0.3)
    with pytest.raises(StartFailed, match=r"silent did not start: it was not ready within 0\.3 s"):
        run_to_its_end(home, silent)


def test_killed_service_is_restarted_and_its_children_are_killed(home: Home) -> None:
    with supervised(home, service(home, "parent", "sleep 600 & echo ready; wait")) as record:
        leader = psutil.Process(record.pids["parent"])
        eventually(lambda: len(leader.children()) == 1, 5)
        child = leader.children()[0]
        leader.kill()
        eventually(lambda: len(record.times("parent", ServiceState.READY)) == 2, 5)
        eventually(lambda: not is_alive(child), 1)
        assert record.pids["parent"] != leader.pid


@pytest.mark.slow
def test_restart_delay_grows(home: Home) -> None:
    with supervised(home, service(home, "dying", "echo ready; sleep 0.3; exit 1")) as record:
        eventually(lambda: len(record.times("dying", ServiceState.STARTING)) == 4, 20)
    ends = record.times("dying", ServiceState.RESTARTING)
    starts = record.times("dying", ServiceState.STARTING)[1:]
    waits = [start - end for start, end in zip(starts, ends, strict=False)]
    assert [round(wait * 2) / 2 for wait in waits] == [0.5, 1, 2]
    assert service_runner.LONGEST_DELAY == 10


def test_service_ignoring_sigterm_is_killed_with_its_children(home: Home) -> None:
    script = "trap '' TERM; sleep 600 & echo ready; while :; do sleep 600; done"
    with supervised(home, service(home, "stubborn", script, stop_timeout=0.3)) as record:
        leader = psutil.Process(record.pids["stubborn"])
        eventually(lambda: len(leader.children()) == 2, 5)
        family = [leader, *leader.children()]
        leader.send_signal(signal.SIGTERM)
        assert is_alive(leader)
    eventually(lambda: not any(is_alive(process) for process in family), 1)


def test_stop_does_not_wait_for_a_starting_service(home: Home) -> None:
    record, request = Record(), StopRequest()
    silent = service(home, "silent", "exec sleep 600")
    thread = threading.Thread(target=Supervisor(home, [silent], {}, record, request).run)
    thread.start()
    eventually(lambda: bool(record.times("silent", ServiceState.STARTING)), 5)
    request.requested = True
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert record.order(ServiceState.STOPPED) == ["silent"]


def test_service_gets_only_its_own_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    with supervised(home, service(home, "server", "env; " + READY_UNTIL_STOPPED)):
        assert "PGPORT" not in (home.logs / "server.log").read_text("utf-8")
