"""Runs the parts of a stack: up in order, up again when they die, down in reverse order."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from orderworks_app.embedded.home import Home
from orderworks_app.embedded.logs import rotate_if_large
from orderworks_app.embedded.runner import ServiceRunner, ServiceState
from orderworks_app.embedded.service import Service, StartStage
from orderworks_app.embedded.state import write_state

START_INTERVAL, WATCH_INTERVAL, LOG_INTERVAL = 0.03, 0.2, 10.0
"""Seconds between two looks: while starting and stopping, while running, and at the logs."""


class Watcher(Protocol):
    """Someone who follows what happens to the parts."""

    def changed(self, runner: ServiceRunner, /) -> None:
        """A part has a new state."""

    def tick(self, runners: Sequence[ServiceRunner], /) -> None:
        """Some time has passed."""


@dataclass
class StopRequest:
    """Word left for a supervisor, by another thread or a signal handler: neither may do more."""

    asked: bool = False


class Supervisor:
    """Runs parts until it is asked to stop. `run` does all of it, in the thread that calls it."""

    def __init__(
        self,
        home: Home,
        services: Iterable[Service],
        environment: Mapping[str, str],
        watcher: Watcher,
        request: StopRequest,
    ) -> None:
        self._home = home
        self._environment = environment
        self._watcher = watcher
        self._runners = [ServiceRunner(part, home.logs, self._changed) for part in services]
        self._request = request
        self._is_up = False
        self._logs_due = 0.0

    @property
    def is_up(self) -> bool:
        """Whether all parts came up. It stays true when one dies later, and is started again."""
        return self._is_up

    def run(self) -> None:
        """Start the parts, keep them running until asked to stop, end them. Leaves nothing behind.

        Raises:
            StartFailed: a part did not come up; those before it were ended again.
        """
        try:
            self._start()
            while not self._request.asked:
                self._poll(self._runners, WATCH_INTERVAL)
                self._keep_logs_small()
        finally:
            self._end()

    def _start(self) -> None:
        for stage in StartStage:
            runners = [runner for runner in self._runners if runner.service.stage is stage]
            for runner in runners:
                runner.start()
            while not self._request.asked and not all(runner.settled for runner in runners):
                self._poll(self._runners, START_INTERVAL)
            if self._request.asked:
                return
        self._is_up = True

    def _poll(self, runners: Sequence[ServiceRunner], interval: float) -> None:
        for runner in runners:
            runner.poll()
        self._watcher.tick(self._runners)
        time.sleep(interval)

    def _end(self) -> None:
        """Stop the parts, last stage first. Whatever goes wrong, none is left running."""
        try:
            for stage in reversed(StartStage):
                self._end_stage([r for r in self._runners if r.service.stage is stage])
        finally:
            for runner in self._runners:
                runner.kill()
            self._home.state_file.unlink(missing_ok=True)

    def _end_stage(self, runners: Sequence[ServiceRunner]) -> None:
        for runner in runners:
            runner.ask_to_stop()
        while not all([runner.has_stopped() for runner in runners]):  # noqa: C419 - ask every one
            self._watcher.tick(self._runners)
            time.sleep(START_INTERVAL)

    def _changed(self, runner: ServiceRunner) -> None:
        """Write down the processes before anything else can happen, then tell the watcher.

        A full disk must not end what runs: a process that is not written down is found by its mark.
        """
        if runner.state in (ServiceState.STARTING, ServiceState.RESTARTING):
            running = [(r.service, r.identity) for r in self._runners if r.identity]
            with suppress(OSError):
                write_state(self._home, self._environment, running)
        self._watcher.changed(runner)

    def _keep_logs_small(self) -> None:
        if time.monotonic() >= self._logs_due:
            self._logs_due = time.monotonic() + LOG_INTERVAL
            for runner in self._runners:
                with suppress(OSError):
                    rotate_if_large(self._home.logs / f"{runner.service.name}.log")
