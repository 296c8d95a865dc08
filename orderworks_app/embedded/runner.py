"""The life of one part under supervision: started, healthy, dead, started again, stopped."""

import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from orderworks.core.errors import OrderworksError
from orderworks_app.embedded.process import Identity, ServiceProcess
from orderworks_app.embedded.service import Service

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds before a dead part is started again; each death in a row doubles them."""

STABLE_AFTER = 30.0
"""Seconds of health after which earlier deaths are forgotten."""


class StartFailed(OrderworksError):
    """A part did not come up, so nothing did."""


class ServiceState(StrEnum):
    """Where a part stands, in the words that people see."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ServiceRunner:
    """Keeps one part running. `look` moves it on; nothing happens between two looks.

    Attributes:
        part: what is run.
        state: where it stands.
        reason: why it is not ready, for people.
        restarts: how often it was started again.
        since: the monotonic time of its last change to ready.
    """

    def __init__(
        self, service: Service, logs: Path, changed: Callable[["ServiceRunner"], None]
    ) -> None:
        self.service = service
        self.state = ServiceState.WAITING
        self.reason = ""
        self.restarts = 0
        self.since: float | None = None
        self._logs = logs
        self._changed = changed
        self._child: ServiceProcess | None = None
        self._was_ready = False
        self._delay = FIRST_DELAY
        self._due = 0.0

    @property
    def identity(self) -> Identity | None:
        """The process that runs now."""
        return self._child.identity if self._child else None

    @property
    def settled(self) -> bool:
        """Whether the next stage need not wait for it."""
        return self.state is ServiceState.DONE or self._was_ready

    def start(self) -> None:
        """Start the process.

        Raises:
            StartFailed: it cannot be run at all, and it is its first start.
        """
        self._due = time.monotonic() + self.service.deadline
        try:
            self._child = ServiceProcess.start(self.service, self._logs)
        except OSError as error:
            self._failed(f"it cannot be run: {error.strerror or error}")
            return
        self._change(ServiceState.STARTING)

    def poll(self) -> None:
        """See what became of the process, and act on it.

        Raises:
            StartFailed: it did not come up at its first start.
        """
        if self.state is ServiceState.STARTING:
            self._poll_starting()
        elif self.state is ServiceState.READY:
            self._poll_ready()
        elif self.state is ServiceState.RESTARTING and time.monotonic() >= self._due:
            self.restarts += 1
            self.start()

    def ask_to_stop(self) -> None:
        """Begin its end."""
        if self._child:
            self._due = time.monotonic() + self.service.stop_timeout
            self._change(ServiceState.STOPPING)
            self._child.ask_to_stop()

    def has_stopped(self) -> bool:
        """Whether it ended in time, or its time is over and it was killed. Nothing is left then."""
        if self._child and not self._child.has_exited() and time.monotonic() < self._due:
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """End the process and all it spawned, at once."""
        child, self._child = self._child, None
        if child:
            child.reap()
            self._change(ServiceState.STOPPED)

    def _poll_starting(self) -> None:
        child = self._running()
        if child.has_exited():
            self._exited(child)
        elif child.is_healthy():
            self._was_ready = True
            self.since = time.monotonic()
            self._change(ServiceState.READY)
        elif time.monotonic() >= self._due:
            child.reap()
            self._failed(f"it was not ready within {self.service.deadline:g} s")

    def _poll_ready(self) -> None:
        child = self._running()
        if child.has_exited():
            self._exited(child)
        elif self.since is not None and time.monotonic() - self.since > STABLE_AFTER:
            self._delay = FIRST_DELAY

    def _running(self) -> ServiceProcess:
        if self._child is None:  # A start that failed leaves no process, and another state.
            raise AssertionError(self.service.name)
        return self._child

    def _exited(self, child: ServiceProcess) -> None:
        status = child.reap()
        if self.service.one_shot and status == 0:
            self._child = None
            self._change(ServiceState.DONE)
        else:
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            self._failed(f"it ended: {how}")

    def _failed(self, reason: str) -> None:
        """Try again later. What never worked is not tried again: someone has to mend it."""
        child, self._child, self.since = self._child, None, None
        self.reason = reason
        if not self._was_ready:
            lines = child.log.last_lines() if child else ""
            said = f"; the last it said, in {child.log.path}:\n{lines}" if child and lines else ""
            raise StartFailed(f"{self.service.name} did not start: {reason}{said}")
        self._due = time.monotonic() + self._delay
        self._delay = min(self._delay * 2, LONGEST_DELAY)
        self._change(ServiceState.RESTARTING)

    def _change(self, state: ServiceState) -> None:
        self.state = state
        self._changed(self)
