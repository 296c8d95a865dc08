"""The supervisor of a stack: starts services in order, restarts those that exit, stops in reverse."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from orderworks_app.embedded.home import Home
from orderworks_app.embedded.logs import rotate_if_large
from orderworks_app.embedded.service import Service, StartStage
from orderworks_app.embedded.service_runner import ServiceRunner, ServiceState
from orderworks_app.embedded.state import write_state

START_INTERVAL, WATCH_INTERVAL, LOG_INTERVAL = 0.03, 0.2, 10.0
"""Seconds between two polls: while starting and stopping, while running, and of the logs' sizes."""


class Watcher(Protocol):
    """An observer of the services' states."""

    def changed(self, runner: ServiceRunner, /) -> None:
        """Called after a service changed its state."""

    def tick(self, runners: Sequence[ServiceRunner], /) -> None:
        """Called at each poll."""


@dataclass
class StopRequest:
    """A request to stop, set by another thread or a signal handler, which may do no more than that."""

    requested: bool = False


class Supervisor:
    """Runs services until it is asked to stop. `run` does all of it, in the thread that calls it."""

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
        self._runners = [ServiceRunner(each, home.logs, self._changed) for each in services]
        self._request = request
        self._is_up = False
        self._logs_due = 0.0

    @property
    def is_up(self) -> bool:
        """True once all services have started. It stays true when one exits later and is restarted."""
        return self._is_up

    def run(self) -> None:
        """Start the services, keep them running until asked to stop, then stop all of them.

        Raises:
            StartFailed: a service did not start; those before it were stopped.
        """
        try:
            self._start()
            while not self._request.requested:
                self._poll(self._runners, WATCH_INTERVAL)
                self._keep_logs_small()
        finally:
            self._stop()

    def _start(self) -> None:
        for stage in StartStage:
            runners = [runner for runner in self._runners if runner.service.stage is stage]
            for runner in runners:
                runner.start()
            while not self._request.requested and not all(runner.settled for runner in runners):
                self._poll(self._runners, START_INTERVAL)
            if self._request.requested:
                return
        self._is_up = True

    def _poll(self, runners: Sequence[ServiceRunner], interval: float) -> None:
        for runner in runners:
            runner.poll()
        self._watcher.tick(self._runners)
        time.sleep(interval)

    def _stop(self) -> None:
        """Stop the services, last stage first. After any error, the remaining ones are killed."""
        try:
            for stage in reversed(StartStage):
                self._stop_stage([r for r in self._runners if r.service.stage is stage])
        finally:
            for runner in self._runners:
                runner.kill()
            self._home.state_file.unlink(missing_ok=True)

    def _stop_stage(self, runners: Sequence[ServiceRunner]) -> None:
        for runner in runners:
            runner.ask_to_stop()
        while not all([runner.has_stopped() for runner in runners]):  # noqa: C419 - ask every one
            self._watcher.tick(self._runners)
            time.sleep(START_INTERVAL)

    def _changed(self, runner: ServiceRunner) -> None:
        """Record the processes in the state file at once, then notify the watcher.

        A full disk must not stop the services: a process that is not recorded is found by its
        environment.
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
