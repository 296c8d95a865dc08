"""The clocks of workers in `status` and `doctor`; a stand-in for a worker has a wrong one."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from orderworks.core.settings import Settings
from worker.clock_report import COMMAND


@pytest.fixture(autouse=True)
def without_old_connections(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's app without connections of earlier tests, which may have had another broker."""
    from worker.celery import app  # noqa: PLC0415 - reads the environment

    monkeypatch.setattr(app, "_pool", None)
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    assert app.conf.broker_url == settings.broker


@contextmanager
def replying_worker(name: str, ahead: float) -> Iterator[None]:
    """Answer the command in place of a worker whose clock is `ahead` seconds ahead."""
    from worker.celery import app  # noqa: PLC0415 - reads the environment

    control: Any = app.control
    ended = threading.Event()

    def listen() -> None:
        with app.connection_for_read() as connection:
            node = control.mailbox(connection).Node(
                name,
                channel=connection.default_channel,
                handlers={
                    COMMAND: lambda _state: {"time": time.time() + ahead},
                    "active_queues": lambda _state: [],
                },
            )
            with node.listen():
                listening.set()
                while not ended.is_set():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.05)

    listening, thread = threading.Event(), threading.Thread(target=listen)
    thread.start()
    try:
        assert listening.wait(10)
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(("ahead", "agrees"), [(0.0, True), (3600.0, False), (-60.0, False)])
def test_status_and_doctor_show_the_clock_of_each_worker(
    settings: Settings,
    ahead: float,
    agrees: bool,  # noqa: FBT001 - a parameter
) -> None:
    from orderworks_app.observability import doctor, status  # noqa: PLC0415 - read the environment

    with replying_worker("other@host", ahead):
        parts = {part.name: part for part in status.StatusReader(settings).status().parts}
        findings = {each.check: each for each in doctor.run_checks(settings)}
    part, finding = parts["clocks of workers"], findings["the clocks of workers and Redis agree"]
    assert part.healthy is finding.ok is agrees
    for shown in (part.detail, finding.observed):
        (found,) = re.findall(r"other@host ([+-][0-9.]+) s", shown)
        assert float(found) == pytest.approx(ahead, abs=1)


def test_without_workers_no_clock_is_wrong(settings: Settings) -> None:
    from orderworks_app.observability import doctor, status  # noqa: PLC0415 - as above

    assert "clocks of workers" not in {
        part.name for part in status.StatusReader(settings).status().parts
    }
    findings = {each.check: each for each in doctor.run_checks(settings)}
    finding = findings["the clocks of workers and Redis agree"]
    assert (finding.ok, finding.observed) == (True, "no worker answers")
